"""The user agent core: which session or hook a message belongs to, and what is answered without them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

from gateway.sip.alarms import Alarm, Alarms
from gateway.sip.auth.account import Authenticator, Credentials
from gateway.sip.config import CoreConfig
from gateway.sip.dialogs.dialog import Dialog, DialogId
from gateway.sip.errors import DialogError, SipError, SipSyntaxError
from gateway.sip.flow import Flow, is_ip_address
from gateway.sip.invite.events import Refused, Reply, Verdict
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.invite.outgoing import OutgoingSession
from gateway.sip.invite.session import InviteSession
from gateway.sip.locate import contact_uri, direct_flow
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.build import Refusal
from gateway.sip.message.message import Request, Response
from gateway.sip.message.uri import Uri
from gateway.sip.requests.checks import Capabilities
from gateway.sip.requests.client import ClientRequest
from gateway.sip.requests.inspection import inspect_ack, inspect_credentials, inspect_request, inspect_response
from gateway.sip.requests.server import Pending
from gateway.sip.surroundings import Surroundings
from gateway.sip.transactions.layer import (
    AckReceived,
    CancelReceived,
    RequestReceived,
    ResponseReceived,
    Stack,
    StackEvent,
    StrayResponse,
    TransactionFailed,
)

logger = logging.getLogger(__name__)

Hop = Uri | Flow


class UserAgentCore:
    """Sans-IO: feed `receive` and `handle_timer`, then drain `datagrams`; everything else is callbacks.

    Counters of what was dropped or strange are in `counts`.
    """

    def __init__(self, config: CoreConfig, surroundings: Surroundings) -> None:
        self.config = config
        self.surroundings = surroundings
        self.allow = ", ".join(config.allow)
        self._can = Capabilities(methods=config.allow, extensions=config.supported, schemes=("sip", "sips", "tel"))
        self._capabilities = self._can.headers()
        self.stack = Stack(config.stack, token=surroundings.token, sent_by=surroundings.sent_by)
        self.counts: Counter[str] = self.stack.counts
        self.sessions: set[InviteSession] = set()
        """Sessions that are not over."""
        self.refusing = False
        """Whether new calls get 503 (the gateway is closing)."""
        self._alarms = Alarms()
        self._dialogs: dict[DialogId, tuple[InviteSession, Dialog]] = {}
        self._handlers: dict[str, Callable[[Pending, str | None], None]] = {
            "INVITE": self._invited,
            "OPTIONS": self._options,
            "REGISTER": self._register,
        }

    # ---- the shell's side

    def receive(self, data: bytes, flow: Flow) -> None:
        """Take one datagram."""
        self.stack.receive(data, flow, self.now())
        self._dispatch()

    def receive_message(self, message: Request | Response, flow: Flow, size: int) -> None:
        """Take one message of a stream, read from `size` bytes."""
        self.stack.receive_message(message, flow, self.now(), size)
        self._dispatch()

    def receive_broken(self, error: SipSyntaxError, flow: Flow, size: int) -> None:
        """Take a message of a stream that cannot be used."""
        self.stack.receive_broken(error, flow, self.now(), size)

    def handle_timer(self) -> None:
        """Do what is due."""
        now = self.now()
        self.stack.handle_timer(now)
        self._dispatch()
        self._alarms.run(now)
        self._dispatch()

    def deadline(self) -> float | None:
        """When `handle_timer` is to be called next, or None."""
        first, second = self.stack.deadline(), self._alarms.deadline()
        if first is None or second is None:
            return second if first is None else first
        return min(first, second)

    def transport_failed(self, flow: Flow) -> None:
        """A send to `flow` failed."""
        self.stack.transport_failed(flow, self.now())
        self._dispatch()

    def unreachable(self, data: bytes, flow: Flow) -> None:
        """The network says that a datagram to `flow`, which began with `data`, reached nobody."""
        self.stack.unreachable(data, flow, self.now())
        self._dispatch()

    def datagrams(self) -> list[tuple[bytes, Flow]]:
        """Drain what is to be sent."""
        return self.stack.datagrams()

    @property
    def is_idle(self) -> bool:
        """Whether no transaction, session or dialog is left."""
        return not len(self.stack) and not self.sessions and not self._dialogs

    @property
    def has_calls(self) -> bool:
        """Whether a session is alive or a BYE is not answered yet."""
        return bool(self.sessions or self._dialogs)

    # ---- what sessions need

    def now(self) -> float:
        """Monotonic seconds."""
        return self.surroundings.now()

    def token(self) -> str:
        """A fresh random word."""
        return self.surroundings.token()

    def random(self) -> float:
        """A number in [0, 1) made of a fresh random word."""
        return int.from_bytes(self.token().encode()[-6:], "big") % 9973 / 9973

    def wake(self) -> None:
        """Have the shell drain us."""
        self.surroundings.wake()

    def at(self, deadline: float, callback: Callable[[], None]) -> Alarm:
        """Have `callback` called at `deadline`."""
        return self._alarms.at(deadline, callback)

    def server_fields(self) -> build.Fields:
        """What every response of ours carries."""
        return (("Server", self.config.user_agent),) if self.config.user_agent else ()

    def common_fields(self) -> build.Fields:
        """What every request of ours carries."""
        return (("User-Agent", self.config.user_agent),) if self.config.user_agent else ()

    def capabilities(self) -> build.Fields:
        """Allow, Accept, Supported."""
        return self._capabilities

    def contact(self, flow: Flow, user: str | None) -> NameAddr:
        """Our Contact as a peer on `flow` is to use it; `user` is escaped text of a URI or None."""
        return NameAddr(contact_uri(user, self.surroundings.sent_by(flow), flow.transport))

    def hop_of(self, route: tuple[Uri, tuple[NameAddr, ...]]) -> Uri:
        """The URI that decides where a request with this Request-URI and Route goes (RFC 3261 8.1.2)."""
        uri, hops = route
        return hops[0].uri if hops and hops[0].uri.is_loose_router else uri

    def locate(self, hop: Hop, done: Callable[[tuple[Flow, ...]], None]) -> None:
        """The flows to a hop, at once where no name has to be looked up."""
        if isinstance(hop, Flow):
            done((hop,))
        elif not hop.is_sip:
            done(())
        elif is_ip_address(hop.param("maddr") or hop.host):
            flow = direct_flow(hop)
            done((flow,) if flow is not None else ())
        else:
            self.surroundings.resolve(hop, done)

    def begin_at(self, request: ClientRequest, hop: Hop) -> None:
        """Begin a request to a hop."""
        self.locate(hop, request.begin)

    def add_dialog(self, dialog: Dialog, session: InviteSession) -> None:
        """Have requests in `dialog` go to `session`."""
        self._dialogs[dialog.id] = (session, dialog)

    def forget_dialog(self, dialog: Dialog) -> None:
        """Answer 481 in `dialog` from now on."""
        self._dialogs.pop(dialog.id, None)

    def session_over(self, session: InviteSession) -> None:
        """A session has told its last event."""
        self.sessions.discard(session)

    def log_own_mistake(self, error: SipError) -> None:
        """A request of ours could not be built; it counts as not sent."""
        self.counts["request not built"] += 1
        logger.warning("request could not be built: %s", error)

    # ---- requests of ours

    def invite(
        self,
        invite: Request,
        target: Hop,
        *,
        credentials: Credentials | None = None,
        timeout: float = 0.0,
    ) -> OutgoingSession:
        """Begin a call with this INVITE (no Via, CSeq as it is to go out); events tell the rest."""
        authenticator = Authenticator(credentials, self.token) if credentials is not None else None
        session = OutgoingSession(self, invite, target, authenticator=authenticator, timeout=timeout)
        self.sessions.add(session)
        session.begin()
        self.wake()
        return session

    def request(
        self,
        make: Callable[[], Request],
        target: Hop,
        done: Callable[[Response], None],
        *,
        authenticator: Authenticator | None = None,
    ) -> ClientRequest:
        """Begin a request outside any dialog; `done` gets its final response."""
        request = ClientRequest(self, make, done, authenticator=authenticator)
        self.begin_at(request, target)
        self.wake()
        return request

    # ---- what the stack reports

    def _dispatch(self) -> None:
        while events := self.stack.events():
            for event in events:
                try:
                    self._on_event(event)
                except SipError as error:
                    self.counts["event not understood"] += 1
                    logger.info("%s: %s", type(event).__name__, error)

    def _on_event(self, event: StackEvent) -> None:
        if isinstance(event, RequestReceived):
            self._on_request(event)
        elif isinstance(event, ResponseReceived):
            if event.transaction.user is not None and self._is_usable(event.response):
                event.transaction.user.on_response(event.response, event.source)
        elif isinstance(event, AckReceived):
            self._count_absent(inspect_ack(event.request))
            found = self._dialogs.get(DialogId.of_request(event.request))
            if found is not None:
                found[0].on_ack(event.request)
            else:
                self.counts["stray ACK"] += 1
        elif isinstance(event, CancelReceived):
            if event.transaction.user is not None:
                event.transaction.user.on_cancel(event.transaction, event.request)
        elif isinstance(event, TransactionFailed):
            if event.transaction.user is not None:
                event.transaction.user.on_failed(event.reason)
        elif isinstance(event, StrayResponse):
            self.counts["stray 2xx"] += 1

    def _is_usable(self, response: Response) -> bool:
        try:
            self._count_absent(inspect_response(response))
        except SipSyntaxError as error:
            self.counts["malformed response"] += 1
            logger.info("response dropped: %s", error)
            return False
        return True

    def _count_absent(self, names: tuple[str, ...]) -> None:
        for name in names:
            self.counts[f"malformed {name}"] += 1

    def _on_request(self, event: RequestReceived) -> None:
        pending = Pending(self, event.transaction, event.request, event.source)
        try:
            if event.request.to_tag is not None:
                self._in_dialog(pending)
            else:
                self._outside_dialog(pending)
        except (SipSyntaxError, DialogError) as error:
            pending.refuse_for(error)

    def _in_dialog(self, pending: Pending) -> None:
        request = pending.request
        found = self._dialogs.get(DialogId.of_request(request))
        if found is None:
            self.counts["request in an unknown dialog"] += 1
            pending.refuse(Refused(481))
            return
        refusal = inspect_request(request, self._can)
        if refusal is not None:
            pending.refuse(Refused.of(refusal))
            return
        session, dialog = found
        session.on_request(pending.transaction, request, pending.source, dialog)

    def _outside_dialog(self, pending: Pending) -> None:
        request = pending.request
        unreadable = inspect_credentials(request)
        if unreadable is not None:
            pending.refuse(Refused.of(unreadable))
            return
        pending.transaction.user = pending

        # Who it is comes first: a stranger gets a challenge, whatever else its request may lack.
        def judged(verdict: Verdict) -> None:
            pending.judged(verdict, self._admitted)
            self.wake()

        self.surroundings.authenticate(request, pending.source, judged)

    def _admitted(self, pending: Pending, identity: str | None) -> None:
        if identity is not None:
            self.stack.proven(pending.transaction, self.now())
        request = pending.request
        refusal = inspect_request(request, self._can)
        if refusal is None and request.method not in self._handlers:
            refusal = Refusal(481)
        if refusal is not None:
            pending.refuse(Refused.of(refusal))
        else:
            self._handlers[request.method](pending, identity)

    def _invited(self, pending: Pending, identity: str | None) -> None:
        if self.refusing or len(self.sessions) >= self.config.sessions:
            self.counts["call over the limit"] += 1
            pending.respond(503, (("Retry-After", self.config.stack.retry_after),))
            return
        session = IncomingSession(self, pending.transaction, pending.request, pending.source, identity)
        try:
            session.timer.check(pending.request)
        except DialogError:
            session.reject(422, headers=session.timer.min_se_header())
            return
        self.sessions.add(session)
        self.surroundings.invited(session, identity)

    def _options(self, pending: Pending, identity: str | None) -> None:
        status = 503 if self.refusing else 200
        if identity is None:
            # Whoever asks without a name is answered once, as short as its question was.
            pending.refuse(Refused(status, headers=tuple((name, str(value)) for name, value in self.capabilities())))
        else:
            pending.respond(status, self.capabilities())

    def _register(self, pending: Pending, identity: str | None) -> None:
        def answered(reply: Reply) -> None:
            pending.respond(reply.status, reply.headers, reply.reason)
            self.wake()

        self.surroundings.register(pending.request, pending.source, identity, answered)
