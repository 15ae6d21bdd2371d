"""User agent core: routes messages to dialog usages and hooks, and answers the rest."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from gateway.sip.auth.account import Authenticator, Credentials
from gateway.sip.config import CoreConfig
from gateway.sip.dialogs.dialog import Dialog
from gateway.sip.dialogs.ports import Hop
from gateway.sip.dialogs.table import Entry
from gateway.sip.dialogs.usage import DialogUsage
from gateway.sip.environment import Environment
from gateway.sip.errors import DialogError, SipSyntaxError
from gateway.sip.flow import Flow
from gateway.sip.invite.events import Refused, Reply, Verdict
from gateway.sip.invite.farewell import Farewell
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.invite.outgoing import OutgoingSession
from gateway.sip.invite.resumed import ResumedSession, end_left, session_values
from gateway.sip.invite.session import METHODS, InviteSession
from gateway.sip.invite.session_timer import SessionTimer
from gateway.sip.message import build
from gateway.sip.message.build import Refusal
from gateway.sip.message.message import Message, Request, Response
from gateway.sip.requests.client import ClientRequest
from gateway.sip.requests.inspection import (
    inspect_ack,
    inspect_credentials,
    inspect_request,
    inspect_response,
    set_aside,
)
from gateway.sip.requests.server import ServerRequest
from gateway.sip.services import Services
from gateway.sip.subscription.incoming import IncomingSubscription
from gateway.sip.subscription.service import SubscriptionServer
from gateway.sip.subscription.subscriber import Subscriber, SubscriberEvent
from gateway.sip.transactions.events import (
    AckReceived,
    CancelReceived,
    RequestReceived,
    ResponseReceived,
    StackEvent,
    StrayResponse,
    TransactionFailed,
)

logger = logging.getLogger(__name__)

_WHEN_CLOSING = 30
"""Retry-After of a closing gateway, in seconds."""
_OF_USAGES = METHODS | {"SUBSCRIBE", "NOTIFY"}
"""Methods that belong to one usage of a dialog."""

Handler = Callable[[ServerRequest, str | None], None]
"""Handler of an admitted request outside any dialog; the second argument is the sender's identity."""


_FULL: build.Fields = (("Reason", 'Q.850;cause=44;text="limit: sip.limits.max_dialogs"'), ("Retry-After", 10))
"""Headers of a 503 at the call limit: a call may have ended by the retry."""


class UserAgentCore(Services):
    """Sans-IO core: feed `receive` and `handle_timer`, then drain `datagrams`; all else is callbacks.

    An exception in a usage, a listener or an alarm never propagates: its session ends with 500 or BYE, the error is
    counted and logged, other calls continue. `counts` holds counters of dropped messages and anomalies.
    """

    def __init__(self, config: CoreConfig, environment: Environment) -> None:
        super().__init__(config, environment)
        self.refusing = False
        """True if new calls get 503, as the gateway is closing."""
        self.draining_for = 0
        """Retry-After of the 503 to OPTIONS while the gateway accepts no new calls, in seconds; 0 while calls are
        accepted."""
        self._subscribers: dict[tuple[str, str], Subscriber] = {}
        """Our subscriptions by Call-ID and local tag."""
        self._handlers: dict[str, Handler] = {
            "INVITE": self._invited,
            "OPTIONS": self._options,
            "REGISTER": self._register,
        }
        self.serve_packages({}, lambda subscription: subscription.refuse(489))

    def serve(self, method: str, handler: Handler) -> None:
        """Let `handler` answer requests of `method` outside any dialog (MESSAGE, PUBLISH), and add `method` to
        Allow."""
        self._handlers[method] = handler
        if method not in self._can.methods:
            self._set_capabilities((*self._can.methods, method))

    def serve_packages(self, packages: Mapping[str, str], subscribed: Callable[[IncomingSubscription], None]) -> None:
        """Let `subscribed` accept or refuse subscriptions to the packages, given with the media types of their
        documents."""
        self.subscriptions = SubscriptionServer(self, self.config.subscriptions, packages, subscribed)
        self.serve("SUBSCRIBE", self.subscriptions.receive)

    # ---- interface for the shell

    def receive(self, data: bytes, flow: Flow) -> None:
        """Process one datagram."""
        self.stack.receive(data, flow, self.now())
        self._dispatch()

    def receive_message(self, message: Request | Response, flow: Flow, size: int) -> None:
        """Process one message of a stream, parsed from `size` bytes."""
        self.stack.receive_message(message, flow, self.now(), size)
        self._dispatch()

    def receive_broken(self, error: SipSyntaxError, flow: Flow, size: int) -> None:
        """Process an unusable message of a stream."""
        self.stack.receive_broken(error, flow, self.now(), size)

    def handle_timer(self) -> None:
        """Process everything due."""
        now = self.now()
        self.stack.handle_timer(now)
        self._dispatch()
        self._alarms.run(now, self.guard)
        self._dispatch()

    def deadline(self) -> float | None:
        """Return the time of the next `handle_timer`, or None."""
        first, second = self.stack.deadline(), self._alarms.deadline()
        if first is None or second is None:
            return second if first is None else first
        return min(first, second)

    def earliest(self) -> float:
        """Return a lower bound of the next deadline, cheaper than `deadline`; infinity without timers."""
        return min(self.stack.earliest(), self._alarms.earliest())

    def transport_failed(self, flow: Flow) -> None:
        """Process a failed send to `flow`, or the loss of its connection."""
        self.stack.transport_failed(flow, self.now())
        self._dispatch()
        for usage in self._dialogs.flow_lost(flow) if flow.reliable else ():
            self.guard(usage, lambda one=usage: one.on_flow_lost(flow))  # type: ignore[misc]
        self._dispatch()

    def unreachable(self, data: bytes, flow: Flow) -> None:
        """Process the report of an undelivered datagram to `flow`; `data`: its beginning."""
        self.stack.unreachable(data, flow, self.now())
        self._dispatch()

    def datagrams(self) -> list[tuple[bytes, Flow]]:
        """Drain the output."""
        return self.stack.datagrams()

    @property
    def has_calls(self) -> bool:
        """Return True while a session is alive or a BYE is unanswered."""
        return bool(self.sessions) or len(self._dialogs) > 0

    # ---- outgoing requests

    def invite(
        self,
        invite: Request,
        target: Hop,
        *,
        family: int = 0,
        credentials: Credentials | None = None,
        timeout: float = 0.0,
        identity: str | None = None,
    ) -> OutgoingSession:
        """Start a call with an INVITE (no Via, CSeq as to be sent); events report the progress.

        Without a body the INVITE requests the callee's offer. `family`: required IP version, 4 or 6, 0 for any.
        `identity`: the callee as authenticated; a peer with this identity may continue from another address.
        """
        authenticator = Authenticator(credentials, self.token) if credentials is not None else None
        session = OutgoingSession(
            self, invite, target, family=family, authenticator=authenticator, timeout=timeout, identity=identity
        )
        self.sessions.add(session)
        self.guard(session, session.begin)
        self.wake()
        return session

    def request(
        self,
        make: Callable[[Flow], Request],
        target: Hop,
        done: Callable[[Response], None],
        *,
        authenticator: Authenticator | None = None,
    ) -> ClientRequest:
        """Start a request outside any dialog; `done` gets the final response."""
        request = ClientRequest(self, make, done, authenticator=authenticator)
        request.begin(target)
        self.wake()
        return request

    def subscribe(
        self,
        subscribe: Request,
        target: Hop,
        events: Callable[[SubscriberEvent], None],
        *,
        credentials: Credentials | None = None,
        identity: str | None = None,
    ) -> Subscriber:
        """Start a subscription with a SUBSCRIBE (no Via, CSeq 1); `events` gets its events.

        `identity`: the notifier as authenticated, who may notify from another address.
        """
        authenticator = Authenticator(credentials, self.token) if credentials is not None else None
        key = (subscribe.call_id, subscribe.from_tag or "")
        forget = partial(self._subscribers.pop, key, None)
        subscriber = self._subscribers[key] = Subscriber(
            self, subscribe, events, identity=identity, authenticator=authenticator, forget=forget
        )
        self.guard(subscriber, lambda: subscriber.begin(target))
        self.wake()
        return subscriber

    # ---- events of the stack

    def _dispatch(self) -> None:
        while events := self.stack.events():
            for event in events:
                self.guard(_owner_of(event), lambda one=event: self._on_event(one))  # type: ignore[misc]
        self.release()

    def _on_event(self, event: StackEvent) -> None:
        if isinstance(event, RequestReceived):
            self._on_request(ServerRequest(self, event.transaction, event.request, event.source))
        elif isinstance(event, AckReceived):
            self._on_ack(event.request, event.source)
        elif isinstance(event, StrayResponse):
            self._on_stray(event.response, event.source)
        elif (user := event.transaction.user) is None:
            return
        elif isinstance(event, ResponseReceived):
            self._count_absent(inspect_response(event.response))
            user.on_response(event.response, event.source)
        elif isinstance(event, CancelReceived):
            set_aside(event.request, (Message.reason,))
            user.on_cancel(event.transaction, event.request)
        elif isinstance(event, TransactionFailed):
            user.on_failed(event.transaction, event.reason)
        elif isinstance(user, IncomingSession):
            user.on_trying()

    def _on_stray(self, response: Response, source: Flow) -> None:
        """Pass a 2xx without a transaction to its dialog: another process sent the INVITE, or the peer has
        reconnected."""
        self.counts["stray 2xx"] += 1
        self._count_absent(inspect_response(response))
        for usage in self._dialogs.of_response(response):
            if isinstance(usage, ResumedSession | OutgoingSession):
                usage.on_late_success(response, source)

    def values_of(self, usage: DialogUsage) -> dict[str, Any] | None:
        """Return the values of `resumed.session_values`."""
        return session_values(usage) if isinstance(usage, InviteSession) else None

    def resume(self, values: Mapping[str, Any], elapsed: float = 0.0) -> ResumedSession:
        """Resume an established session of another process (`session_values`).

        Raise SipError, LookupError, TypeError or ValueError for other values.
        """
        session = ResumedSession(self, values, elapsed)
        self.sessions.add(session)
        self.wake()
        return session

    def end_left(self, values: Mapping[str, Any], status: int, reason: str, farewell: Farewell) -> None:
        """End a call left by another process (see `resumed.end_left`); raise the errors of `resume`."""
        if "dialog" in values:
            session = self.resume(values)
            session.when_answered(farewell.answered)
            session.hangup(reason)
        else:
            end_left(self, values, status, reason, farewell)
        self.wake()

    def _count_absent(self, names: tuple[str, ...]) -> None:
        for name in names:
            self._count_malformed(name)

    def _count_malformed(self, name: str) -> None:
        self.counts[f"malformed {name}"] += 1

    def _inspected(self, request: Request, *, in_dialog: bool = False) -> Refusal | None:
        return inspect_request(request, self._can, in_dialog=in_dialog, malformed=self._count_malformed)

    def _on_ack(self, ack: Request, source: Flow) -> None:
        """Process an ACK. ACK cannot be challenged: from a new source it counts only if the address authenticates
        the peer."""
        entry = self._dialogs.find(ack)
        if entry is None:
            self.counts["stray ACK"] += 1
            return
        self._count_absent(inspect_ack(ack))
        dialog = entry.dialog

        def judged(verdict: Verdict) -> None:
            if not isinstance(verdict, Refused) and self._may_move(dialog, verdict.identity, source):
                dialog.move(source)
                self._deliver_ack(ack, entry)
            self.wake()

        if dialog.lives_at(source):
            self._deliver_ack(ack, entry)
            return
        self.counts["ACK from elsewhere"] += 1
        if not ack.authorization and not ack.proxy_authorization:
            # Credentials in an ACK repeat those of its INVITE (RFC 3261 22.1): a second use proves nothing.
            self.environment.authenticate(ack, source, lambda verdict: self.guard(None, lambda: judged(verdict)))

    def _deliver_ack(self, ack: Request, entry: Entry) -> None:
        for usage in list(entry.usages):
            self.guard(usage, lambda one=usage: one.on_ack(ack, entry.dialog))  # type: ignore[misc]

    # ---- requests

    def _on_request(self, request: ServerRequest) -> None:
        if request.request.to_tag is None:
            self._authenticated(request, self._admitted)
            return
        entry = self._dialogs.find(request.request)
        if entry is None:
            self._outside_dialogs(request)
        elif entry.dialog.lives_at(request.source):
            entry.dialog.heard_from(request.source)
            self._in_dialog(request)
        else:
            # A sender that knows the identifiers of a dialog may have overheard them.
            self.counts["request in a dialog from elsewhere"] += 1
            self._authenticated(request, self._from_elsewhere)

    def _outside_dialogs(self, request: ServerRequest) -> None:
        """Reject a request in an unknown dialog, except the NOTIFY that creates the dialog (RFC 6665 4.1.2.4)."""
        message = request.request
        subscriber = self._subscribers.get((message.call_id, message.to_tag or ""))
        if message.method != "NOTIFY" or subscriber is None or not subscriber.expects(message):
            self.counts["request in an unknown dialog"] += 1
            request.refuse(self.handover.unknown(message))
        elif subscriber.asked_at(request.source):
            self._first_notify(subscriber, request)
        else:
            self._authenticated(request, partial(self._notify_from_elsewhere, subscriber))

    def _notify_from_elsewhere(self, subscriber: Subscriber, request: ServerRequest, identity: str | None) -> None:
        if identity is not None and identity == subscriber.identity and subscriber.expects(request.request):
            self._first_notify(subscriber, request)
        else:
            request.refuse(Refused(481))

    def _first_notify(self, subscriber: Subscriber, request: ServerRequest) -> None:
        self.stack.proven(request.transaction, self.now())
        refusal = self._inspected(request.request)
        if refusal is not None:
            request.respond(refusal.status, refusal.headers, refusal.reason or None)
        else:
            self._answering(request, subscriber, lambda: subscriber.first_notify(request))

    def _authenticated(self, request: ServerRequest, then: Callable[[ServerRequest, str | None], None]) -> None:
        """Authenticate first: a stranger gets a challenge regardless of other faults of the request."""
        unreadable = inspect_credentials(request.request)
        request.transaction.user = request

        def judged(verdict: Verdict) -> None:
            if request.is_answered:
                return
            if isinstance(verdict, Refused):
                # A second challenge would be answered with the unreadable credentials again.
                is_challenge = unreadable is not None and verdict.status in (401, 407)
                request.refuse(Refused.of(unreadable) if unreadable is not None and is_challenge else verdict)
            else:
                request.take(verdict)
                self._answering(request, None, lambda: then(request, verdict.identity))
            self.wake()

        self.environment.authenticate(request.request, request.source, judged)

    def _answering(self, request: ServerRequest, owner: DialogUsage | None, call: Callable[[], None]) -> None:
        """Run the handler of a request; answer the status of its DialogError, or 500 if it fails without an answer."""
        try:
            call()
        except DialogError as error:
            request.respond(error.status, self._fields_of(error))
        except Exception as error:
            if not request.is_answered:
                request.respond(500)
            self._failed(owner, error)

    def _fields_of(self, error: DialogError) -> build.Fields:
        fields: list[tuple[str, object]] = []
        if error.retry_after is not None:
            fields.append(("Retry-After", error.retry_after))
        if error.status == 422:
            fields.append(("Min-SE", self.config.session_timer.minimum))
        return fields

    def _from_elsewhere(self, request: ServerRequest, identity: str | None) -> None:
        entry = self._dialogs.find(request.request)
        if entry is None:
            request.refuse(Refused(481))
        elif self._may_move(entry.dialog, identity, request.source):
            entry.dialog.move(request.source)
            self._in_dialog(request)
        else:
            request.refuse(Refused(403))

    def _may_move(self, dialog: Dialog, identity: str | None, source: Flow) -> bool:
        """Return True if `identity` may continue a dialog from another address.

        Only the dialog's own peer may; for an unidentified peer, any authenticated sender at its IP address.
        """
        if dialog.identity is not None:
            return identity == dialog.identity or self.stack.peers.speaks_for(dialog.identity, source)
        return identity is not None and dialog.flow is not None and dialog.flow.host == source.host

    def _in_dialog(self, request: ServerRequest) -> None:
        """Process a request of the dialog's peer: syntax, CSeq, then the usage that claims the request."""
        self.stack.proven(request.transaction, self.now())
        entry = self._dialogs.find(request.request)
        assert entry is not None
        refusal = None
        if request.request.method == "BYE":
            # The sender of a BYE has left the call in any case: no malformed header may reject the BYE.
            set_aside(request.request, (Message.reason,))
        else:
            refusal = self.handover.refusal(request.request) or self._inspected(request.request, in_dialog=True)
        if refusal is not None:
            request.respond(refusal.status, refusal.headers, refusal.reason or None)
            return
        usage = entry.claimant(request.request)

        def deliver() -> None:
            entry.dialog.receive(request.request)
            if usage is None and request.request.method == "OPTIONS":
                # OPTIONS asks for our capabilities, whatever the dialog's usages.
                request.respond(200, self._capabilities)
            elif usage is None and request.request.method in _OF_USAGES:
                # Another usage keeps the dialog alive; the usage for this method has ended (RFC 5057 section 5.1).
                request.respond(481)
            elif usage is None:
                request.respond(405, (("Allow", self.allow),))
            else:
                usage.on_request(request, entry.dialog)

        self._answering(request, usage, deliver)

    def _admitted(self, request: ServerRequest, identity: str | None) -> None:
        # The application authenticates admitted senders; only an open OPTIONS proves nothing.
        if request.is_proved or request.request.method != "OPTIONS":
            self.stack.proven(request.transaction, self.now())
        refusal = self._inspected(request.request)
        handler = self._handlers.get(request.request.method)
        if refusal is not None:
            request.refuse(Refused.of(refusal))
        elif handler is None:
            request.refuse(Refused(481))
        else:
            handler(request, identity)

    def _invited(self, request: ServerRequest, identity: str | None) -> None:
        if self.refusing or len(self.sessions) >= self.config.sessions:
            self.counts["call over the limit"] += 1
            request.respond(503, () if self.refusing else _FULL)
            return
        SessionTimer(self.config.session_timer).check(request.request)
        session = IncomingSession(self, request, identity)
        self.sessions.add(session)
        self.guard(session, lambda: self.environment.invited(session, identity))

    def _options(self, request: ServerRequest, identity: str | None) -> None:
        status, fields = 200, self._capabilities
        if self.refusing or self.draining_for:
            status, fields = 503, (("Retry-After", self.draining_for or _WHEN_CLOSING), *fields)
        if identity is None:
            # An anonymous OPTIONS is answered once, with no more octets than received.
            request.refuse(Refused(status, headers=tuple((name, str(value)) for name, value in fields)))
        else:
            # Trunks place calls only after a 200 with our Contact (optional in RFC 3261 11.2).
            contact = self.contact(request.source, request.request.uri.user) if status == 200 else None
            request.respond(status, fields, contact=contact)

    def _register(self, request: ServerRequest, identity: str | None) -> None:
        def answered(reply: Reply) -> None:
            if reply.status == 200 and identity is not None:
                self._dialogs.registered(identity, request.request.contacts, request.source)
            request.respond(reply.status, reply.headers, reply.reason)
            self.wake()

        self.environment.register(request.request, request.source, identity, answered)


def _owner_of(event: StackEvent) -> DialogUsage | None:
    """Return the usage to end if processing the event fails."""
    user = None if isinstance(event, RequestReceived | AckReceived | StrayResponse) else event.transaction.user
    if isinstance(user, ClientRequest):
        return user.owner
    return user if isinstance(user, InviteSession) else None
