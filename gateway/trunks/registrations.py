"""Our registrations, of trunks and of users' own accounts, and from where calls come in as long as they stand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import structlog

from gateway.app import settings
from gateway.config.people import FlowsConfig, Trunk
from gateway.net.outbound import Outbound, OutboundRegistration
from gateway.net.registration import Registration, RegistrationPolicy
from gateway.sip.auth.account import Credentials
from gateway.sip.flow import Flow
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.uri import Uri
from gateway.sip.registration.client import FlowRecovery
from gateway.trunks.accounts import Account, Accounts
from gateway.trunks.known import Trunks

log = structlog.get_logger(__name__)

_PROBE = 30.0
"""Shortest seconds between questions to a registrar by the flow of a registration."""
_AT_ONCE = 20
"""First REGISTERs under way together: thousands of accounts do not come over a PBX in one moment."""
_BACK_A_SECOND = 50
"""Accounts registered anew a second where a PBX is back, on average: each is a REGISTER with its digest, twice where
the nonce is stale, while the PBX still starts. Five hundred are back in 10 s, thousands without overrunning it."""

_NOBODY_THERE = (408, 430)
_FLOW_FAILED = 60.0
"""Seconds within which who has registered is not made to register anew because its connection closed."""


Made = Registration | OutboundRegistration


class Registrant(Protocol):
    """What registers (gateway.net.user_agent.UserAgent)."""

    async def register(
        self,
        registrar: Uri | str,
        *others: Uri | str,
        aor: NameAddr | str,
        credentials: Credentials | None = None,
        policy: RegistrationPolicy | None = None,
        route: Iterable[NameAddr | str] = (),
        answered: Callable[[Registration], None] | None = None,
        contact_user: str | None = None,
    ) -> Registration: ...

    async def register_by_flows(
        self,
        outbound: Outbound,
        *registrars: Uri | str,
        aor: NameAddr | str,
        credentials: Credentials | None = None,
        policy: RegistrationPolicy | None = None,
        answered: Callable[[OutboundRegistration], None] | None = None,
        contact_user: str | None = None,
    ) -> OutboundRegistration: ...

    async def unregister(self, registration: Made, *, is_others: bool = False) -> None: ...

    async def resolve(self, uri: Uri) -> tuple[Flow, ...]: ...


@dataclass(eq=False, slots=True, kw_only=True)
class _Kept:
    """One registration that is to stand."""

    trunk: Trunk
    aor: NameAddr
    credentials: Credentials
    expires: int
    probe: float
    """Seconds between questions whether it is there; those of accounts leave that to the watch of trunks."""
    contact: str | None
    admit: Callable[[Iterable[str]], None]
    """Told from where calls come in now."""
    made: Made | None = None
    others: tuple[Flow, ...] = ()
    """Where the registrar's name led at the last REGISTER."""
    dropped: bool = False
    task: asyncio.Task[Any] | None = None
    """Its first REGISTER, or what takes it back."""


class Registrations:
    """Keeps trunks and accounts registered. Nothing waits for a registrar: one that is away holds nobody up."""

    def __init__(self, agent: Registrant, trunks: Iterable[Trunk], known: Trunks, accounts: Accounts) -> None:
        """`trunks` are all that there are, those of accounts too."""
        self._agent = agent
        self._trunks = {trunk.name: trunk for trunk in trunks}
        self._known = known
        self._accounts = accounts
        self._of_trunk: dict[str, _Kept] = {}
        self._of_user: dict[str, _Kept] = {}
        self._turns: dict[str, asyncio.Semaphore] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    def begin(self, expires: int = 300, flows: FlowsConfig | None = None) -> None:
        """Send the first REGISTER of each; `expires` is what accounts ask for, in seconds."""
        self._expires, self._flows = expires, flows or FlowsConfig()
        for trunk in self._trunks.values():
            if trunk.register_account:
                self._of_trunk[trunk.name] = self._keep(self._wanted_by(trunk))
        for account in self._accounts:
            self.put(account)

    def change(self, trunks: Iterable[Trunk], expires: int) -> None:
        """Register as these trunks want it: who is gone or wants it otherwise is taken back, who is new registers.

        Accounts at a trunk that is gone are taken back; their owner puts those that stay.
        """
        self._expires = expires
        before, self._trunks = self._trunks, {trunk.name: trunk for trunk in trunks}
        self._turns = {name: turn for name, turn in self._turns.items() if name in self._trunks}
        for name, trunk in self._trunks.items():
            kept = self._of_trunk.get(name)
            if kept is not None and _registers_alike(kept.trunk, trunk):
                kept.trunk = trunk
                continue
            taking_back = self._drop(self._of_trunk.pop(name)) if kept is not None else None
            if trunk.register_account:
                self._of_trunk[name] = self._keep(self._wanted_by(trunk), taking_back)
        for name in self._of_trunk.keys() - self._trunks.keys():
            self._drop(self._of_trunk.pop(name))
        moved = {
            name for name, trunk in self._trunks.items() if name in before and not _leads_alike(before[name], trunk)
        }
        for user, kept in list(self._of_user.items()):
            if kept.trunk.name not in self._trunks:
                self.drop(user)
            elif kept.trunk.name in moved and (account := self._accounts.of(user)) is not None:
                self.put(account)

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
        return frozenset(name for name, kept in self._of_trunk.items() if kept.made and kept.made.registered)

    def routes(self, trunk: Trunk, user: str | None) -> list[tuple[str, ...]]:
        """The route sets by which calls go to a trunk, best first: those whose flow stands before the others.

        `user` is whose own account calls; None: the trunk's does. Raises SipSyntaxError for a proxy that is no URI.
        """
        kept = self._of_user.get(user) if user is not None else self._of_trunk.get(trunk.name)
        made = kept.made if kept is not None else None
        if isinstance(made, OutboundRegistration) and kept is not None and kept.trunk.proxies == trunk.proxies:
            return [tuple(str(hop) for hop in route) for route in made.routes]
        return list(trunk.routes) or [()]

    def of_account(self, user: str) -> Made | None:
        """The registration of a user's own account; None before its first outcome."""
        kept = self._of_user.get(user)
        return kept.made if kept is not None else None

    def state(self, user: str) -> tuple[str, int]:
        """How a user's own account stands: registering, registered, refused or unreachable, and the latest status."""
        made = self.of_account(user)
        if made is None:
            return "registering", 0
        if made.registered:
            return "registered", made.status
        return "unreachable" if made.status in _NOBODY_THERE or made.status >= 500 else "refused", made.status

    def put(self, account: Account) -> None:
        """Register a user's own account, where that is ours to do; an older one of that user is taken back."""
        before = self.drop(account.user)
        if not self._accounts.is_ours(account.user):
            return
        trunk, contact = self._trunks[account.registrar], self._accounts.contact(account)
        self._of_user[account.user] = self._keep(
            _Kept(
                trunk=trunk,
                aor=account.address(Uri.parse(trunk.uri)),
                credentials=account.credentials,
                expires=self._expires,
                probe=0.0,
                contact=contact,
                admit=partial(self._known.account_registered, contact, trunk.name),
            ),
            before,
        )

    def drop(self, user: str, *, is_others: bool = False) -> asyncio.Task[Any] | None:
        """Take a user's own account back from its registrar; gives what does so.

        `is_others`: another gateway of the cluster registers it, so that its flows are that one's.
        """
        kept = self._of_user.pop(user, None)
        return None if kept is None else self._drop(kept, is_others=is_others)

    def leave(self, users: Iterable[str]) -> None:
        """Take no flow of these users' own accounts back at the end: other gateways are there to register by them."""
        for user in users:
            made = self.of_account(user)
            if isinstance(made, OutboundRegistration):
                made.is_others = True

    def _drop(self, kept: _Kept, *, is_others: bool = False) -> asyncio.Task[Any]:
        kept.dropped = True
        kept.admit(())
        return self._spawn(self._take_back(kept, kept.task, is_others))

    async def _take_back(self, kept: _Kept, registering: asyncio.Task[Any] | None, is_others: bool) -> None:
        if registering is not None:
            await asyncio.wait([registering])
        if kept.made is not None:
            await self._agent.unregister(kept.made, is_others=is_others)

    def hurry(self, trunk: str) -> None:
        """The trunk is there again: whoever is registered there registers anew, for it may have forgotten them.

        The trunk itself within a second, its accounts within as many as they take at the pace of `_BACK_A_SECOND`.
        """
        own = self._of_trunk.get(trunk)
        if own is not None and own.made is not None:
            own.made.hurry(1.0)
        self.hurry_accounts([user for user, kept in self._of_user.items() if kept.trunk.name == trunk])

    def hurry_accounts(self, users: Iterable[str]) -> None:
        """Have these users' own accounts registered anew, at the pace of `_BACK_A_SECOND`."""
        accounts = [made for user in users if (made := self.of_account(user)) is not None]
        for made in accounts:
            made.hurry(max(1.0, len(accounts) / _BACK_A_SECOND))

    def flow_lost(self, flow: Flow) -> None:
        """A connection is gone: who is registered by it registers anew, so that calls find a way in (RFC 5626 4.5).

        A registrar that closes its connections again at once is asked less often.
        """
        if not flow.dialled:
            return
        every = (*self._of_trunk.values(), *self._of_user.values())
        found = [kept.made for kept in every if kept.made is not None]
        alone = [one for one in found if isinstance(one, Registration) and one.stands_on(flow)]
        flows = [one for made in found if isinstance(made, OutboundRegistration) for one in made.standing_on(flow)]
        soon = max(1.0, (len(alone) + len(flows)) / _BACK_A_SECOND)
        for registration in alone:
            registration.hurry(max(soon, _FLOW_FAILED - registration.age))
        for registration in flows:
            registration.flow_failed(soon)

    def _wanted_by(self, trunk: Trunk) -> _Kept:
        place = Uri.parse(trunk.uri)
        assert trunk.username is not None
        return _Kept(
            trunk=trunk,
            aor=NameAddr(Uri.of(trunk.username, place.host, place.port)),
            credentials=Credentials(trunk.username, settings.secret(trunk.password)),
            expires=trunk.register_expires,
            probe=max(_PROBE, trunk.options_interval) if trunk.options_interval > 0 else 0.0,
            contact=None,
            admit=partial(self._known.registered, trunk.name),
        )

    def _keep(self, kept: _Kept, before: asyncio.Task[Any] | None = None) -> _Kept:
        kept.task = self._spawn(self._register(kept, before))
        return kept

    async def _register(self, kept: _Kept, before: asyncio.Task[Any] | None) -> None:
        trunk = kept.trunk
        if before is not None:
            # Else what takes the old binding back could take this one, which has the same Contact.
            await asyncio.wait([before])
        async with self._turns.setdefault(trunk.name, asyncio.Semaphore(_AT_ONCE)):
            if kept.dropped:
                return
            try:
                made = kept.made = await self._made(kept)
            except Exception as error:
                log.error("not registered", trunk=trunk.name, account=str(kept.aor.uri), reason=str(error))
                return
        said, account = made.said, str(kept.aor.uri)
        log.info("trunk", trunk=trunk.name, account=account, registered=made.registered, status=made.status, said=said)

    async def _made(self, kept: _Kept) -> Made:
        trunk, told = kept.trunk, partial(self._answered, kept)
        policy = RegistrationPolicy(expires=kept.expires, probe=kept.probe)
        if trunk.outbound_proxies:
            return await self._agent.register_by_flows(
                self._outbound(kept),
                *trunk.uris,
                aor=kept.aor,
                credentials=kept.credentials,
                policy=policy,
                answered=told,
                contact_user=kept.contact,
            )
        return await self._agent.register(
            *trunk.uris,
            aor=kept.aor,
            credentials=kept.credentials,
            policy=policy,
            route=trunk.route,
            answered=told,
            contact_user=kept.contact,
        )

    def _outbound(self, kept: _Kept) -> Outbound:
        trunk, times = kept.trunk, self._flows
        return Outbound(
            instance=self._accounts.instance if kept.contact is not None else self._accounts.gateway_instance,
            routes=tuple(tuple(NameAddr.parse(hop) for hop in route) for route in trunk.routes),
            recovery=FlowRecovery(
                all_failed=times.base_time_all_failed, not_all_failed=times.base_time, longest=times.max_time
            ),
            keep_alive=times.keep_alive,
        )

    def _answered(self, kept: _Kept, registration: Made) -> None:
        """A REGISTER had its outcome: the registrar's calls come in without digest, as long as we are registered."""
        kept.made = registration
        if kept.dropped:
            return
        self._admit(kept)
        if registration.registered:
            self._spawn(self._look_up(kept))

    async def _look_up(self, kept: _Kept) -> None:
        """A registrar of several addresses may call from each of them, not only from the one that answered us."""
        trunk = kept.trunk
        places = [Uri.parse(uri) for uri in (*trunk.uris, *trunk.proxies)]
        kept.others = tuple([flow for place in places for flow in await self._agent.resolve(place)])
        if not kept.dropped:
            self._admit(kept)

    def _admit(self, kept: _Kept) -> None:
        assert kept.made is not None
        kept.admit({flow.host for flow in (*kept.made.sources, *kept.others)} if kept.made.registered else ())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _leads_alike(one: Trunk, other: Trunk) -> bool:
    """Whether REGISTERs to both go to the same places by the same way."""
    return (one.uris, one.proxies, bool(one.outbound_proxies)) == (
        other.uris,
        other.proxies,
        bool(other.outbound_proxies),
    )


def _registers_alike(one: Trunk, other: Trunk) -> bool:
    """Whether a registration at one is the same at the other."""
    wanted = [
        (each.register_account, each.username, each.password, each.register_expires, each.options_interval)
        for each in (one, other)
    ]
    return wanted[0] == wanted[1] and _leads_alike(one, other)
