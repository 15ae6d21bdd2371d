"""SIP user agent for applications that place and receive calls."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from gateway.net.config import UserAgentConfig
from gateway.net.endpoint import Bound
from gateway.net.outbound import FlowKeeper, Outbound, OutboundRegistration, answers
from gateway.net.registration import Registration, RegistrationPolicy
from gateway.net.shell import Answer, Hooks, Shell
from gateway.net.tap import Taps
from gateway.net.texts import address_of, uri_of
from gateway.net.tls import Tls
from gateway.net.ws import SocketOwner, WebSocketConnection, send_away_idle
from gateway.sip.auth.account import Authenticator, Credentials
from gateway.sip.flow import WEBSOCKET, Flow
from gateway.sip.invite.farewell import Farewell
from gateway.sip.invite.outgoing import OutgoingSession
from gateway.sip.invite.resumed import ResumedSession
from gateway.sip.locate import likely_flow
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request, Response
from gateway.sip.message.uri import Uri
from gateway.sip.requests.client import ClientRequest
from gateway.sip.subscription.incoming import IncomingSubscription
from gateway.sip.subscription.subscriber import Subscriber, SubscriberEvent
from gateway.sip.transactions.admission import AdmissionLimits
from gateway.sip.transactions.peers import Peers

logger = logging.getLogger(__name__)

_BACK_IN = 5
"""Seconds before subscribers subscribe again, at the successor of this process."""


class UserAgent:
    """Places and receives calls. All methods belong to the event loop's thread.

    `start` binds; `close` ends every call. Methods that place calls return at once.
    """

    def __init__(self, config: UserAgentConfig, hooks: Hooks) -> None:
        self.config = config
        self._shell = Shell(config, hooks)
        self._core = self._shell.core
        self._registrations: list[Registration | OutboundRegistration] = []
        is_alive = partial(answers, self._shell.endpoint.is_alive, self.options, config.streams.pong)
        self._keeper = FlowKeeper(is_alive, self._core.random)

    # ---- life cycle

    async def start(self, prepare: Callable[[], None] = lambda: None) -> None:
        """Bind the listening addresses after `prepare`, which resumes calls; raises OSError."""
        await self._shell.open(prepare)

    async def close(self) -> None:
        """End every call by BYE, CANCEL or 480, answer new calls 503, and close after at most `close_timeout`."""
        if not self._shell.is_open:
            return
        self._core.refusing = True
        self._core.absences.close()
        self._core.subscriptions.end(f"probation;retry-after={_BACK_IN}")
        for session in list(self._core.sessions):
            session.hangup('SIP;cause=503;text="Shutting down"')
        try:
            async with asyncio.timeout(self.config.close_timeout):
                await asyncio.gather(*[one.unregister() for one in self._registrations])
                await self._shell.quiet()
        except TimeoutError:
            logger.warning("closing without an answer to every BYE, CANCEL and REGISTER")
        for registration in self._registrations:
            registration.stop()
        await self._keeper.close()
        await self._shell.close()

    def change(self, *, admission: AdmissionLimits, longest_ringing: float, flow_grace: float) -> None:
        """Adopt new settings; raises ValueError for a `trusted` entry that is no network."""
        self._core.stack.admission.change(admission)
        self._core.config = replace(self._core.config, longest_ringing=longest_ringing, flow_grace=flow_grace)

    def drain(self, retry_after: int) -> None:
        """Answer OPTIONS with a hint to place new calls elsewhere, or here after `retry_after` seconds."""
        self._core.draining_for = retry_after

    def send_away_idle(self) -> None:
        """Close WebSockets of clients without a call (1012), so that the clients connect again."""
        send_away_idle(self._shell.endpoint.connections, self._core.sessions)

    @property
    def listening(self) -> tuple[Bound, ...]:
        """Transport, host and port of every bound socket, with real ports."""
        return self._shell.endpoint.listening

    def share(self, is_ours: Callable[[], bool], waits: Callable[[], bool]) -> Callable[[], None]:
        """Leave shared dialogs alone while `is_ours` returns False (see `Handover`), and send nothing while `waits`
        returns True. Returns a function to call when `waits` returns False again.
        """
        self._core.handover.is_ours, self._shell.waits = is_ours, waits
        return self._shell.go_on

    def leave(self, call_ids: Collection[str]) -> None:
        """Drop the calls of these Call-IDs without a message, because a second process continues them."""
        self._core.handover.leave(call_ids)

    @property
    def counts(self) -> dict[str, int]:
        """Dropped, refused and unusual messages by name, for metrics."""
        return {**self._core.counts, "datagram not sent": self._shell.endpoint.dropped}

    def waited(self) -> float:
        """Return the longest time (s) that a datagram waited to be read since the last call."""
        return self._shell.endpoint.waited()

    @property
    def timers(self) -> int:
        """Number of armed SIP timers, counted on each access."""
        return self._core.timers

    @property
    def calls(self) -> int:
        """Number of INVITE sessions."""
        return len(self._core.sessions)

    @property
    def taps(self) -> Taps:
        """Observers of every SIP message in and out."""
        return self._shell.taps

    def own_place(self, flow: Flow) -> tuple[str, int | None]:
        """Return our (host, port) as known to peers on `flow`."""
        return self._shell.endpoint.sent_by(flow)

    def websocket(
        self, transport: str, peer: tuple[str, int], here: tuple[str, int] | None, socket: SocketOwner
    ) -> WebSocketConnection | None:
        """Register a WebSocket accepted at `here` (see `WebSocketConnection`); return None beyond the limits."""
        connections = self._shell.endpoint.connections
        if not connections.may_add(peer[0]):
            return None
        flow = Flow(transport, peer[0], peer[1], connections.name())
        return WebSocketConnection(connections, flow, here, self._shell.datagram, socket, self._shell.now)

    @property
    def tls(self) -> Tls:
        """Certificates; `load` reads the files again."""
        return self._shell.endpoint.tls

    def when_lost(self, listener: Callable[[Flow], None]) -> None:
        """Call `listener` with the flow of every lost connection and of every failed send."""
        self._shell.loss_listeners.append(listener)

    async def keep_alive(self, flows: Sequence[Flow]) -> None:
        """Send a CRLF keep-alive to the peer of these flows (RFC 5626 3.5.1).

        A TCP, TLS or WebSocket connection is closed if its peer answered earlier keep-alives but not the current one;
        `when_lost` reports the loss.
        """
        await self._shell.endpoint.keep_alive(flows)

    def drop_silent(self, flows: Sequence[Flow], since: float) -> None:
        """Close outgoing connections of these flows without received data since `since` (loop time, seconds)."""
        self._shell.endpoint.drop_silent(flows, since)

    def is_reachable(self, flow: Flow, *, is_flow: bool = False) -> bool:
        """Return True if `flow` can be reached; a WebSocket is lost for good with its connection.

        `is_flow` applies the rule to any connection, because the peer may not listen (RFC 5626).
        """
        if not (flow.reliable if is_flow else flow.transport in WEBSOCKET):
            return True
        return self._shell.endpoint.connections.find(flow) is not None

    def has_certificate(self, flow: Flow, host: str) -> bool:
        """Return True if the peer of a connection has shown a trusted certificate for `host`."""
        return (connection := self._shell.endpoint.connections.find(flow)) is not None and connection.serves(host)

    def expect_keep_alives(self, flow: Flow, seconds: int) -> None:
        """Expect data at least every `seconds` from the peer of a connection (Flow-Timer, RFC 5626).

        The connection is closed after a longer silence, once the peer has sent a first keep-alive.
        """
        self._shell.endpoint.connections.expect(flow, float(seconds))

    def know_peers(self, peers: Peers) -> None:
        """Set the table of known peers: whose responses count, and which address may act for a second one."""
        self._core.stack.peers = peers

    def sign_requests(self, sign: Callable[[Request, Flow], Request], vouched: Callable[[str], bool]) -> None:
        """Set `sign`, which signs each outgoing request to a flow; addresses accepted by `vouched` are admitted."""
        self._core.signer, self._core.stack.admission.vouched = sign, vouched

    def admit_calls(self, may_begin: Callable[[Request, Flow, bool], bool], limit: Callable[[], str]) -> None:
        """Let `may_begin` decide on each call-starting INVITE; a refusal is 503 with the name of `limit`.

        Its arguments are request, flow, and True for a trusted or authenticated source.
        """
        self._core.stack.admit_calls(may_begin, limit)

    def serve(self, method: str, answer: Answer) -> None:
        """Answer requests of `method` outside dialogs by `answer`: MESSAGE (RFC 3428), PUBLISH (RFC 3903)."""
        self._shell.serve(method, answer)

    def serve_packages(self, packages: Mapping[str, str], subscribed: Callable[[IncomingSubscription], None]) -> None:
        """Let `subscribed` accept or refuse subscriptions to `packages`, a map from event package to document type."""
        self._core.serve_packages(packages, subscribed)

    # ---- requests

    def invite(
        self,
        target: Uri | str,
        *,
        caller: NameAddr | str,
        callee: NameAddr | str | None = None,
        body: bytes = b"",
        content_type: str = "application/sdp",
        headers: Iterable[tuple[str, object]] = (),
        route: Iterable[NameAddr | str] = (),
        received: str | Flow | None = None,
        family: int = 0,
        credentials: Credentials | None = None,
        timeout: float = 0.0,
        max_forwards: int = build.MAX_FORWARDS,
        identity: str | None = None,
        by_flow: bool = False,
    ) -> OutgoingSession:
        """Call `target` (the Request-URI); outcomes are events of the session. Without `body` the callee offers.

        `received` ("udp:192.0.2.7:5060") forces the flow, for phones behind NAT. `family` is the IP version, 4 or 6, 0
        for any. `timeout` limits ringing in seconds, 0 for no limit. `max_forwards` is the rest of a forwarded call.
        `identity` is the callee as in `authenticate`: only the callee may continue the call from a new address.
        `by_flow` asks the edge proxy for requests on our flow (`ob`, RFC 5626 section 4.3). Raises SipSyntaxError or
        SipBuildError.
        """
        uri = uri_of(target)
        hops = tuple(address_of(hop) for hop in route)
        hop = self._hop(uri, hops, received)
        sender = self._sender(caller)
        fields = [*headers, *self._core.offered_capabilities(body)]
        contact = self._core.contact(
            likely_flow(hop, self.config.transports),
            sender.uri.user,
            secure="sips" in (uri.scheme, *[hop.uri.scheme for hop in hops[:1]]),
        )
        request = build.request(
            "INVITE",
            uri,
            from_=sender.with_tag(self.token()),
            to=address_of(callee).with_tag(None) if callee is not None else NameAddr(uri.without_headers()),
            call_id=self.token(),
            cseq=1,
            route=hops,
            contact=replace(contact, uri=contact.uri.with_param("ob")) if by_flow else contact,
            headers=[*fields, *self._core.request_fields()],
            body=body,
            content_type=content_type if body else None,
            max_forwards=max_forwards,
        )
        return self._core.invite(
            request, hop, family=family, credentials=credentials, timeout=timeout, identity=identity
        )

    def resume(self, values: Mapping[str, Any], elapsed: float) -> ResumedSession:
        """Resume an established call of a previous process from `session_values`, taken `elapsed` seconds ago.

        Raises SipError, LookupError, TypeError or ValueError for damaged values.
        """
        return self._core.resume(values, elapsed)

    def end_left(self, values: Mapping[str, Any], status: int, reason: str, farewell: Farewell) -> None:
        """End a call of a previous process (`UserAgentCore.end_left`); `status` answers the caller."""
        self._core.end_left(values, status, reason, farewell)

    def subscribe(
        self,
        target: Uri | str,
        package: str,
        events: Callable[[SubscriberEvent], None],
        *,
        caller: NameAddr | str,
        callee: NameAddr | None = None,
        expires: int = 3_600,
        accept: str = "",
        route: Iterable[NameAddr | str] = (),
        received: str | Flow | None = None,
        credentials: Credentials | None = None,
        identity: str | None = None,
        max_forwards: int = build.MAX_FORWARDS,
    ) -> Subscriber:
        """Subscribe to `package` of `target`; `expires` 0 asks for one NOTIFY. See `invite` for the rest.

        Raises SipSyntaxError for malformed text, SipBuildError for a URI that cannot be written.
        """
        uri = uri_of(target)
        hops = tuple(address_of(hop) for hop in route)
        hop = self._hop(uri, hops, received)
        sender = self._sender(caller)
        fields: list[tuple[str, object]] = [("Event", package), ("Expires", expires)]
        if accept:
            fields.append(("Accept", accept))
        subscribe = build.request(
            "SUBSCRIBE",
            uri,
            from_=sender.with_tag(self.token()),
            to=callee or NameAddr(uri.without_headers()),
            call_id=self.token(),
            cseq=1,
            route=hops,
            contact=self._core.contact(likely_flow(hop, self.config.transports), sender.uri.user),
            headers=[*fields, *self._core.request_fields()],
            max_forwards=max_forwards,
        )
        return self._core.subscribe(subscribe, hop, events, credentials=credentials, identity=identity)

    async def options(
        self,
        target: Uri | str,
        *,
        caller: NameAddr | str | None = None,
        route: Iterable[NameAddr | str] = (),
        received: str | Flow | None = None,
        credentials: Credentials | None = None,
        headers: Iterable[tuple[str, object]] = (),
    ) -> Response:
        """Send OPTIONS to `target`, for example as a trunk's health check; silence is a 408, an unreachable
        host a 503.
        """
        uri = uri_of(target)
        hops = tuple(address_of(hop) for hop in route)
        fields = tuple(headers)
        return await self.request(
            "OPTIONS",
            uri,
            caller=caller,
            route=hops,
            received=received,
            credentials=credentials,
            headers=(*fields, ("Accept", "application/sdp")),
        )

    async def request(
        self,
        method: str,
        target: Uri,
        *,
        caller: NameAddr | str | None = None,
        callee: NameAddr | None = None,
        route: tuple[NameAddr, ...] = (),
        received: str | Flow | None = None,
        credentials: Credentials | None = None,
        authenticator: Authenticator | None = None,
        headers: Iterable[tuple[str, object]] = (),
        body: bytes = b"",
        content_type: str | None = None,
        max_forwards: int = build.MAX_FORWARDS,
        call_id: str | None = None,
        cseq: Callable[[], int] | None = None,
        contact: Callable[[Flow], NameAddr] | None = None,
        answered_by: Callable[[Flow], None] | None = None,
    ) -> Response:
        """Send a request outside a dialog and wait for its final response; cancelling the wait stops retransmission.

        `contact` makes our Contact for the chosen flow; `answered_by` gets the source of a response.
        """
        sender = self._sender(caller).with_tag(self.token())
        number, identifier = cseq or _counter(), call_id or self.token()
        fields = (*headers, *self._core.request_fields())
        if authenticator is None and credentials is not None:
            authenticator = Authenticator(credentials, self.token)

        def make(flow: Flow) -> Request:
            return build.request(
                method,
                target,
                from_=sender,
                to=callee or NameAddr(target.without_headers()),
                call_id=identifier,
                cseq=number(),
                route=route,
                contact=contact(flow) if contact else None,
                headers=fields,
                body=body,
                content_type=content_type,
                max_forwards=max_forwards,
            )

        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        client: ClientRequest | None = None

        def done(response: Response) -> None:
            if not answer.done():
                answer.set_result(response)
            flow = client.flow if client is not None else None
            if answered_by is not None and flow is not None and response.status not in (408, 503):
                answered_by(flow)

        hop = self._hop(target, route, received)
        asked = client = self._core.request(make, hop, done, authenticator=authenticator)
        answer.add_done_callback(lambda done: asked.withdraw() if done.cancelled() else None)
        return await answer

    async def register(
        self,
        registrar: Uri | str,
        *others: Uri | str,
        aor: NameAddr | str,
        credentials: Credentials | None = None,
        policy: RegistrationPolicy | None = None,
        route: Iterable[NameAddr | str] = (),
        changed: Callable[[Registration], None] | None = None,
        answered: Callable[[Registration], None] | None = None,
        contact_user: str | None = None,
    ) -> Registration:
        """Register at an upstream registrar and keep registered; return after the first outcome (see `registered`).

        `registrar` is a URI without user ("sip:trunk.example.com"), `others` are fallbacks; `aor` is the account's
        address. See `Registration`.
        """
        make = self._maker((registrar, *others), aor, credentials, contact_user)
        hops = tuple(address_of(hop) for hop in route)
        registration = make(policy or RegistrationPolicy(), hops, changed, answered)
        self._registrations.append(registration)
        await registration.begin()
        return registration

    async def register_by_flows(
        self,
        outbound: Outbound,
        *registrars: Uri | str,
        aor: NameAddr | str,
        credentials: Credentials | None = None,
        policy: RegistrationPolicy | None = None,
        answered: Callable[[OutboundRegistration], None] | None = None,
        contact_user: str | None = None,
    ) -> OutboundRegistration:
        """Register over several flows (RFC 5626), as `register`; return once one is registered or all have failed."""
        make = self._maker(registrars, aor, credentials, contact_user)
        registration = OutboundRegistration(outbound, policy or RegistrationPolicy(), make, self._keeper, answered)
        self._registrations.append(registration)
        await registration.begin()
        return registration

    def _maker(
        self,
        registrars: Iterable[Uri | str],
        aor: NameAddr | str,
        credentials: Credentials | None,
        contact_user: str | None,
    ) -> partial[Registration]:
        return partial(
            Registration,
            self,
            [uri_of(one) for one in registrars],
            address_of(aor).with_tag(None),
            lambda: Authenticator(credentials, self.token) if credentials is not None else None,
            contact_user=contact_user,
        )

    async def unregister(self, registration: Registration | OutboundRegistration, *, is_others: bool = False) -> None:
        """Remove and forget a binding; `is_others` if a second gateway has the account (`Registration.leave`)."""
        if registration in self._registrations:
            self._registrations.remove(registration)
        await (registration.leave() if is_others else registration.unregister())

    async def resolve(self, uri: Uri) -> tuple[Flow, ...]:
        """Return the flows of a SIP URI, best first (RFC 3263); () for none."""
        return await self._shell.resolver.resolve(uri)

    def last_addresses(self, host: str) -> tuple[str, ...]:
        """Return the last IP addresses resolved for the host of a SIP URI; () for none."""
        return self._shell.resolver.last_addresses(host)

    async def address_of(self, name: str, version: int) -> str | None:
        """Return an IP address of a host in IP version `version`; None for an unknown name."""
        return await self._shell.resolver.address_of(name, version)

    def contact(self, flow: Flow, user: str | None, *, secure: bool = False) -> NameAddr:
        """Return our Contact for peers on `flow`, a sips URI if `secure`."""
        return self._core.contact(flow, user, secure=secure)

    def token(self) -> str:
        """Return a fresh random word."""
        return self._shell.token()

    def _sender(self, caller: NameAddr | str | None) -> NameAddr:
        if isinstance(caller, NameAddr):
            return caller.with_tag(None)
        domain = self.config.domains[0] if self.config.domains else self._own_host()
        if caller is None:
            return NameAddr(Uri.of(None, domain))
        if ":" in caller or "<" in caller:
            return address_of(caller).with_tag(None)
        return NameAddr(Uri.of(caller, domain))

    def _own_host(self) -> str:
        return self._shell.endpoint.sent_by(Flow("udp", "192.0.2.1", 5060))[0]

    def _hop(self, uri: Uri, route: tuple[NameAddr, ...], received: str | Flow | None) -> Uri | Flow:
        if received is not None:
            return received if isinstance(received, Flow) else Flow.parse(received)
        return route[0].uri if route else uri


def _counter() -> Callable[[], int]:
    numbers = iter(range(1, 1 << 30))
    return lambda: next(numbers)
