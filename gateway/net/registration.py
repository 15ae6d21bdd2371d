"""Client registration: the table of `RegistrationClient` on the event loop (RFC 3261 section 10.2)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import SystemRandom
from typing import Protocol

from gateway.plain import plain_name
from gateway.sip.auth.account import Authenticator
from gateway.sip.flow import Flow
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Response
from gateway.sip.message.uri import Uri
from gateway.sip.registration.client import Outcome, RegistrationClient, RegistrationPolicy, Send, State

logger = logging.getLogger(__name__)

_RANDOM = SystemRandom()

_SUPPORTED = ("Supported", "outbound, path")
_SHORTEST_PAUSE, _LONGEST_PAUSE = 5, 3_600
"""Bounds of an accepted Flow-Timer, in seconds."""

__all__ = ["FlowId", "Registration", "RegistrationPolicy", "Requests"]


@dataclass(frozen=True, slots=True)
class FlowId:
    """Identifies one of an account's flows to the registrar (RFC 5626 section 4.2)."""

    instance: str
    """Instance URN of the gateway, kept across restarts."""
    number: int
    """reg-id, from 1."""


class Requests(Protocol):
    """User agent as a registration needs it."""

    def token(self) -> str:
        """Return a fresh random word."""

    def contact(self, flow: Flow, user: str | None) -> NameAddr:
        """Return our Contact for peers on `flow`."""

    async def request(
        self,
        method: str,
        target: Uri,
        *,
        caller: NameAddr | str | None = None,
        callee: NameAddr | None = None,
        route: tuple[NameAddr, ...] = (),
        authenticator: Authenticator | None = None,
        headers: tuple[tuple[str, object], ...] = (),
        call_id: str | None = None,
        cseq: Callable[[], int] | None = None,
        contact: Callable[[Flow], NameAddr] | None = None,
        answered_by: Callable[[Flow], None] | None = None,
    ) -> Response:
        """Send a request outside a dialog and wait for its final response."""


class Registration:
    """Binding of an account; made by `UserAgent.register`, alive until `unregister`.

    `status` is the last final response, 408 or 503 for none. `changed` is called when `registered` or `status` changes,
    `answered` after every REGISTER's outcome, refreshes included.
    """

    def __init__(
        self,
        agent: Requests,
        registrars: Sequence[Uri],
        aor: NameAddr,
        authenticator: Callable[[], Authenticator | None],
        policy: RegistrationPolicy,
        route: tuple[NameAddr, ...],
        changed: Callable[[Registration], None] | None,
        answered: Callable[[Registration], None] | None = None,
        contact_user: str | None = None,
        random: Callable[[], float] = _RANDOM.random,
        flow_id: FlowId | None = None,
        others_stand: Callable[[], bool] = lambda: False,
    ) -> None:
        """`registrars` are tried in turn. `authenticator` makes a new Authenticator for each, because signing is bound
        to a server's addresses. `contact_user` defaults to the user of `aor`. `flow_id` is set for outbound flows;
        `others_stand` returns True while a further flow is registered.
        """
        self._agent = agent
        self._registrars = tuple(registrars)
        self._registrar = self._registrars[0]
        self._aor = aor
        self._new_authenticator = authenticator
        self._authenticator = authenticator()
        self._contact_user = contact_user or aor.uri.user
        self._route = route
        self._changed = changed
        self._answered = answered
        self._call_id = agent.token()
        self._cseq = 0
        self._contact: NameAddr | None = None
        self._flow_id = flow_id
        self._client = RegistrationClient(policy, random, others_stand)
        self._reported = (False, 0)
        self._task: asyncio.Task[None] | None = None
        self._hurried = asyncio.Event()
        self._now = asyncio.get_running_loop().time
        self._answered_at = 0.0
        self.source: Flow | None = None
        """Source of the registrar's last response."""
        self.said = ""
        """Status, reason phrase and Warning of the last response; "" before the first."""
        self.is_outbound = False
        """True if the registrar supports outbound (RFC 5626)."""
        self.flow_timer = 0
        """Seconds between keep-alives requested by the registrar (Flow-Timer, RFC 5626 section 4.4); 0 for none."""

    @property
    def registered(self) -> bool:
        """True while the binding stands, as far as the gateway knows."""
        return self._client.registered

    @property
    def status(self) -> int:
        """Status of the last final response; 408 or 503 for none."""
        return self._client.status

    @property
    def registrar(self) -> Uri:
        """Registrar of the last REGISTER, or of the next after a failure."""
        return self._registrar

    @property
    def expires(self) -> int:
        """Seconds granted by the last 2xx."""
        return self._client.expires

    @property
    def sources(self) -> tuple[Flow, ...]:
        """Flow of the binding, as a tuple; () while unregistered."""
        return (self.source,) if self.source is not None and self.registered else ()

    @property
    def contact(self) -> Uri | None:
        """Contact URI of the last REGISTER; None before the first."""
        return self._contact.uri if self._contact is not None else None

    async def begin(self) -> None:
        """Send the first REGISTER and wait for its outcome; then refresh in the background."""
        await self._do(self._client.start(self._now()))
        self._task = asyncio.ensure_future(self._keep())

    async def unregister(self) -> None:
        """Remove the binding and stop; returns after a final response or time-out."""
        self._cancel()
        was_registered = self.registered
        send = self._client.stop(self._now())
        if was_registered:
            await self._do(send)

    async def leave(self) -> None:
        """Stop because a second gateway has the account; remove the binding unless the registrar keeps flows.

        Both gateways share one instance: removing our flow would remove the second gateway's (RFC 5626 section 6).
        """
        if self.is_outbound:
            self.stop()
        else:
            await self.unregister()

    def stop(self) -> None:
        """Stop refreshing; the binding expires."""
        self._cancel()
        self.source = None

    def hurry(self, seconds: float) -> None:
        """Register again within `seconds`."""
        self._client.hurry(seconds, self._now())
        self._hurried.set()

    def flow_failed(self, within: float) -> None:
        """Form a new flow after a loss, within `within` seconds if the flow had proved useful."""
        self._client.flow_failed(within, self._now())
        self._hurried.set()
        self._tell(False)

    def proven(self) -> None:
        """Note an answered keep-alive."""
        self._client.proven()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _keep(self) -> None:
        while (deadline := self._client.deadline) is not None:
            self._hurried.clear()
            try:
                async with asyncio.timeout(max(0.0, deadline - self._now())):
                    await self._hurried.wait()
            except TimeoutError:
                await self._do(self._client.due(self._now()))

    async def _do(self, send: Send | None) -> None:
        """Send a request and any immediate follow-up (for example after a 423)."""
        while send is not None:
            if send is Send.PROBE:
                response = await self._agent.request(
                    "OPTIONS",
                    self._registrar,
                    caller=self._aor,
                    route=self._route,
                    authenticator=self._authenticator,
                )
            else:
                response = await self._register(0 if send is Send.UNREGISTER else self._client.wanted)
            asked = send
            send = self._client.answered(self._outcome(response), self._now())
            if self._client.state is State.WAITING:
                self._try_the_next(response.status)
            self._tell(asked is not Send.PROBE)

    def _try_the_next(self, status: int) -> None:
        """Switch to the next registrar after 408 or 5xx; the name may resolve differently by then, too."""
        if status == 408 or status >= 500:
            tried = self._registrars.index(self._registrar)
            self._registrar = self._registrars[(tried + 1) % len(self._registrars)]
            self._authenticator = self._new_authenticator()

    async def _register(self, expires: int) -> Response:
        """Register our current Contact, and remove the binding of a previous address."""
        before = self._contact
        if before is None:
            return await self._send(expires, self._our_contact)
        response = await self._send(expires, self._our_contact if expires else lambda _: before)
        moved = self._contact is not None and before.uri != self._contact.uri
        if moved and 200 <= response.status < 300 and self._flow_id is None:
            await self._send(0, lambda _: before)
        return response

    async def _send(self, expires: int, contact: Callable[[Flow], NameAddr]) -> Response:
        return await self._agent.request(
            "REGISTER",
            self._registrar,
            caller=self._aor,
            callee=self._aor,
            route=self._route,
            authenticator=self._authenticator,
            headers=(("Expires", expires), *((_SUPPORTED,) if self._flow_id is not None else ())),
            call_id=self._call_id,
            cseq=self._next_cseq,
            contact=contact,
            answered_by=self._answered_by,
        )

    def _answered_by(self, flow: Flow) -> None:
        self.source, self._answered_at = flow, self._now()

    @property
    def age(self) -> float:
        """Seconds since the registrar's last response."""
        return self._now() - self._answered_at

    def stands_on(self, flow: Flow) -> bool:
        """Return True if the binding was made over the connection of `flow`."""
        mine = self.source
        if mine is None or not self.registered:
            return False
        return (mine.transport, mine.host, mine.port) == (flow.transport, flow.host, flow.port)

    def _next_cseq(self) -> int:
        self._cseq += 1
        return self._cseq

    def _our_contact(self, flow: Flow) -> NameAddr:
        """Return our Contact for a REGISTER on `flow`, with outbound parameters; our address may have changed."""
        contact = self._agent.contact(flow, self._contact_user)
        if self._flow_id is not None:
            contact = contact.with_param("+sip.instance", f"<{self._flow_id.instance}>")
            contact = contact.with_param("reg-id", str(self._flow_id.number))
        self._contact = contact
        return contact

    def _outcome(self, response: Response) -> Outcome:
        self.said = plain_name(" ".join([str(response.status), response.phrase, *response.headers.all("Warning")]))
        # Malformed header fields were removed when the response was received.
        if self._flow_id is not None and 200 <= response.status < 300:
            self.is_outbound = "outbound" in response.require
            self.flow_timer = _flow_timer(response)
        return Outcome(
            status=response.status,
            granted=self._granted(response),
            min_expires=response.min_expires or 0,
            retry_after=float(response.retry_after or 0),
        )

    def _granted(self, response: Response) -> int | None:
        ours = self._contact
        matching = [one for one in response.contacts if ours is not None and one.uri.matches(ours.uri)]
        # Several flows of an account may share a Contact URI.
        for contact in sorted(matching, key=lambda one: ours is not None and one.reg_id != ours.reg_id):
            if contact.expires is not None:
                return contact.expires
        return response.expires

    def _tell(self, of_register: bool) -> None:
        now = (self.registered, self.status)
        changed = now != self._reported
        self._reported = now
        if changed and not self.registered and self._client.state is not State.GONE:
            logger.warning("not registered: %s", self.said or self.status)
        for wanted, listener in ((changed, self._changed), (of_register, self._answered)):
            if wanted and listener is not None:
                try:
                    listener(self)
                except Exception:
                    logger.exception("the listener of a registration failed")


def _flow_timer(response: Response) -> int:
    """Return the Flow-Timer of a response in seconds (RFC 5626 section 10); 0 if missing, malformed or too short."""
    text = response.headers.get("Flow-Timer") or ""
    seconds = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    return min(seconds, _LONGEST_PAUSE) if seconds >= _SHORTEST_PAUSE else 0
