"""Our registrations at trunks, and from where their calls come in as long as they stand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Protocol

import structlog

from gateway.accounts.trunks import Trunks
from gateway.app import settings
from gateway.config.people import Trunk
from gateway.net.registration import Registration, RegistrationPolicy
from gateway.sip.auth.account import Credentials
from gateway.sip.flow import Flow
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.uri import Uri

log = structlog.get_logger(__name__)


class Registrant(Protocol):
    """What registers (gateway.net.user_agent.UserAgent)."""

    async def register(
        self,
        registrar: Uri | str,
        *,
        aor: NameAddr | str,
        credentials: Credentials | None = None,
        policy: RegistrationPolicy | None = None,
        answered: Callable[[Registration], None] | None = None,
    ) -> Registration: ...

    async def resolve(self, uri: Uri) -> tuple[Flow, ...]: ...


class TrunkRegistrations:
    """Keeps every trunk registered that wants it. `begin` returns at once: a trunk that is away holds nobody up."""

    def __init__(self, agent: Registrant, trunks: Iterable[Trunk], known: Trunks) -> None:
        self._agent = agent
        self._trunks = tuple(trunk for trunk in trunks if trunk.register_account)
        self._known = known
        self._made: dict[str, Registration] = {}
        self._others: dict[str, tuple[Flow, ...]] = {}
        """Where each registrar's name led at the last REGISTER."""
        self._tasks: set[asyncio.Task[Any]] = set()

    def begin(self) -> None:
        """Send the first REGISTER to each."""
        for trunk in self._trunks:
            self._spawn(self._register(trunk))

    async def settled(self) -> None:
        """Wait for the outcome of what is under way."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Wait for nothing any more; the registrations themselves are the user agent's to take back."""
        for task in tuple(self._tasks):
            task.cancel()
        await self.settled()

    @property
    def standing(self) -> frozenset[str]:
        """Names of the trunks we are registered at now."""
        return frozenset(name for name, made in self._made.items() if made.registered)

    async def _register(self, trunk: Trunk) -> None:
        place = Uri.parse(trunk.uri)
        assert trunk.username is not None
        try:
            made = await self._agent.register(
                trunk.uri,
                aor=NameAddr(Uri.of(trunk.username, place.host, place.port)),
                credentials=Credentials(trunk.username, settings.secret(trunk.password)),
                policy=RegistrationPolicy(expires=trunk.register_expires),
                answered=partial(self._answered, trunk, place),
            )
        except Exception as error:
            log.error("trunk cannot be registered", trunk=trunk.name, reason=str(error))
            return
        log.info("trunk", trunk=trunk.name, registered=made.registered, status=made.status)

    def _answered(self, trunk: Trunk, place: Uri, registration: Registration) -> None:
        """A REGISTER had its outcome: the registrar's calls come in without digest, as long as we are registered."""
        self._made[trunk.name] = registration
        self._admit(trunk.name, registration)
        if registration.registered:
            self._spawn(self._look_up(trunk.name, place, registration))

    async def _look_up(self, trunk: str, place: Uri, registration: Registration) -> None:
        """A registrar of several addresses may call from each of them, not only from the one that answered us."""
        self._others[trunk] = await self._agent.resolve(place)
        self._admit(trunk, registration)

    def _admit(self, trunk: str, registration: Registration) -> None:
        flows = [flow for flow in (registration.source, *self._others.get(trunk, ())) if flow is not None]
        self._known.registered(trunk, {flow.host for flow in flows} if registration.registered else ())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
