"""Our own registration at an upstream registrar: made, kept fresh, taken back (RFC 3261 section 10.2)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.sip.auth.account import Authenticator
from gateway.sip.errors import SipError
from gateway.sip.flow import Flow
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Response
from gateway.sip.message.uri import Uri

if TYPE_CHECKING:
    from gateway.net.user_agent import UserAgent

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RegistrationPolicy:
    """Times of a registration, in seconds."""

    expires: int = 3600
    """What we ask for."""
    retry_first: float = 5.0
    """Wait after the first failure; doubles up to `retry_longest`."""
    retry_longest: float = 300.0
    shortest_refresh: float = 1.0
    """However short the registrar's time is, never refresh more often."""


class Registration:
    """One binding of one account; made by `UserAgent.register`, alive until `unregister`.

    `status` is the last final response, 408 or 503 for none. `changed` is called with the Registration whenever
    `registered` or `status` changes.
    """

    def __init__(
        self,
        agent: UserAgent,
        registrar: Uri,
        aor: NameAddr,
        authenticator: Authenticator | None,
        policy: RegistrationPolicy,
        route: tuple[NameAddr, ...],
        changed: Callable[[Registration], None] | None,
    ) -> None:
        self._agent = agent
        self._registrar = registrar
        self._aor = aor
        self._authenticator = authenticator
        self._policy = policy
        self._route = route
        self._changed = changed
        self._call_id = agent.token()
        self._cseq = 0
        self._contact: NameAddr | None = None
        self._wanted = policy.expires
        self._failures = 0
        self._task: asyncio.Task[None] | None = None
        self.registered = False
        self.status = 0
        self.expires = 0
        """Seconds that the registrar granted last."""

    async def begin(self) -> None:
        """Send the first REGISTER and wait for its outcome; then keep it fresh."""
        wait = await self._once()
        self._task = asyncio.ensure_future(self._keep(wait))

    async def unregister(self) -> None:
        """Take the binding back and stop; a registrar that does not answer does not hold us up for ever."""
        self.stop()
        if self.registered:
            response = await self._send(0)
            self._tell(False, response.status)

    def stop(self) -> None:
        """Stop refreshing; the binding runs out by itself."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _keep(self, wait: float) -> None:
        while True:
            await asyncio.sleep(wait)
            wait = await self._once()

    async def _once(self) -> float:
        """One REGISTER; seconds until the next."""
        response = await self._send(self._wanted)
        if response.status == 423 and (shortest := _min_expires(response)) > self._wanted:
            self._wanted = shortest
            response = await self._send(self._wanted)
        if response.is_success:
            self._failures = 0
            self.expires = self._granted(response)
            self._tell(True, response.status)
            # Early enough for two more tries before the binding is gone.
            return max(self.expires * 0.85 - 2.0, self.expires / 2, self._policy.shortest_refresh)
        self._tell(False, response.status)
        wait = min(self._policy.retry_first * 2.0**self._failures, self._policy.retry_longest)
        self._failures = min(self._failures + 1, 16)
        asked = _retry_after(response)
        logger.warning("registration refused with %d; next try in %d s", response.status, max(wait, asked))
        return max(wait, asked)

    async def _send(self, expires: int) -> Response:
        return await self._agent.request(
            "REGISTER",
            self._registrar,
            caller=self._aor,
            callee=self._aor,
            route=self._route,
            authenticator=self._authenticator,
            headers=(("Expires", expires),),
            call_id=self._call_id,
            cseq=self._next_cseq,
            contact=self._our_contact,
        )

    def _next_cseq(self) -> int:
        self._cseq += 1
        return self._cseq

    def _our_contact(self, flow: Flow) -> NameAddr:
        if self._contact is None:
            self._contact = self._agent.contact(flow, self._aor.uri.user)
        return self._contact

    def _granted(self, response: Response) -> int:
        ours = self._contact
        try:
            for contact in response.contacts:
                if ours is not None and contact.uri.matches(ours.uri) and contact.expires is not None:
                    return contact.expires
            return response.expires if response.expires is not None else self._wanted
        except SipError:
            return self._wanted

    def _tell(self, registered: bool, status: int) -> None:
        if (registered, status) == (self.registered, self.status):
            return
        self.registered, self.status = registered, status
        if self._changed is not None:
            try:
                self._changed(self)
            except Exception:
                logger.exception("the listener of a registration failed")


def _min_expires(response: Response) -> int:
    try:
        return min(response.min_expires or 0, 86_400)
    except SipError:
        return 0


def _retry_after(response: Response) -> float:
    try:
        return min(float(response.retry_after or 0), 3600.0)
    except SipError:
        return 0.0
