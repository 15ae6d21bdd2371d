"""The user agent core: which dialog usage or hook a message belongs to, and what is answered without them."""

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
"""Seconds a peer is asked to wait for a gateway that is closing."""
_OF_USAGES = METHODS | {"SUBSCRIBE", "NOTIFY"}
"""Methods that belong to one usage of a dialog."""

Handler = Callable[[ServerRequest, str | None], None]
"""Answers a request outside any dialog that was let in; the second argument is who sent it."""


_FULL: build.Fields = (("Reason", 'Q.850;cause=44;text="limit: sip.limits.max_dialogs"'), ("Retry-After", 10))
"""Of a 503 while there are as many calls as there may be: one may have ended by then."""


class UserAgentCore(Services):
    """Sans-IO: feed `receive` and `handle_timer`, then drain `datagrams`; everything else is callbacks.

    No exception of a usage, a listener or an alarm leaves it: the session concerned ends with 500 or BYE, the
    mistake is counted and logged, and everybody else goes on. Counters of what was dropped or strange are in `counts`.
    """

    def __init__(self, config: CoreConfig, environment: Environment) -> None:
        super().__init__(config, environment)
        self.refusing = False
        """Whether new calls get 503 (the gateway is closing)."""
        self.draining_for = 0
        """Seconds that OPTIONS tells others to wait while new calls are not taken (503); 0: they are."""
        self._subscribers: dict[tuple[str, str], Subscriber] = {}
        """Subscriptions of ours by Call-ID and our tag."""
        self._handlers: dict[str, Handler] = {
            "INVITE": self._invited,
            "OPTIONS": self._options,
            "REGISTER": self._register,
        }
        self.serve_packages({}, lambda subscription: subscription.refuse(489))

    def serve(self, method: str, handler: Handler) -> None:
        """Have `handler` answer requests of `method` outside any dialog (MESSAGE, PUBLISH); Allow names it from now."""
        self._handlers[method] = handler
        if method not in self._can.methods:
            self._set_capabilities((*self._can.methods, method))

    def serve_packages(self, packages: Mapping[str, str], subscribed: Callable[[IncomingSubscription], None]) -> None:
        """Have `subscribed` accept or refuse subscriptions to these packages, each with the type of its documents."""
        self.subscriptions = SubscriptionServer(self, self.config.subscriptions, packages, subscribed)
        self.serve("SUBSCRIBE", self.subscriptions.receive)

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
        self._alarms.run(now, self.guard)
        self._dispatch()

    def deadline(self) -> float | None:
        """When `handle_timer` is to be called next, or None."""
        first, second = self.stack.deadline(), self._alarms.deadline()
        if first is None or second is None:
            return second if first is None else first
        return min(first, second)

    def earliest(self) -> float:
        """A moment before which nothing is due, cheaper to ask than `deadline`; infinity for none."""
        return min(self.stack.earliest(), self._alarms.earliest())

    def transport_failed(self, flow: Flow) -> None:
        """A send to `flow` failed, or its connection is gone."""
        self.stack.transport_failed(flow, self.now())
        self._dispatch()
        for usage in self._dialogs.flow_lost(flow) if flow.reliable else ():
            self.guard(usage, lambda one=usage: one.on_flow_lost(flow))  # type: ignore[misc]
        self._dispatch()

    def unreachable(self, data: bytes, flow: Flow) -> None:
        """The network says that a datagram to `flow`, which began with `data`, reached nobody."""
        self.stack.unreachable(data, flow, self.now())
        self._dispatch()

    def datagrams(self) -> list[tuple[bytes, Flow]]:
        """Drain what is to be sent."""
        return self.stack.datagrams()

    @property
    def has_calls(self) -> bool:
        """Whether a session is alive or a BYE is not answered yet."""
        return bool(self.sessions) or len(self._dialogs) > 0

    # ---- requests of ours

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
        """Begin a call with this INVITE (no Via, CSeq as it is to go out); events tell the rest.

        Without a body it asks for the callee's offer. `family` is the IP version, 4 or 6, by which it goes, 0 for any;
        `identity` who is called, as `authenticate` names them: who proves to be that may go on from another address.
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
        """Begin a request outside any dialog; `done` gets its final response."""
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
        """Begin a subscription with this SUBSCRIBE (no Via, a CSeq of 1); `events` tell the rest.

        `identity` is who notifies, as `authenticate` names them: they may do so from another address, too.
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

    # ---- what the stack reports

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
        """A 2xx to an INVITE by which nothing can be told but the dialog: another process has sent the INVITE, or the
        peer has made another connection since."""
        self.counts["stray 2xx"] += 1
        self._count_absent(inspect_response(response))
        for usage in self._dialogs.of_response(response):
            if isinstance(usage, ResumedSession | OutgoingSession):
                usage.on_late_success(response, source)

    def values_of(self, usage: DialogUsage) -> dict[str, Any] | None:
        """See `resumed.session_values`."""
        return session_values(usage) if isinstance(usage, InviteSession) else None

    def resume(self, values: Mapping[str, Any], elapsed: float = 0.0) -> ResumedSession:
        """Go on with an established session of another process (`session_values`).

        Raises SipError, LookupError, TypeError or ValueError for values that it has not made.
        """
        session = ResumedSession(self, values, elapsed)
        self.sessions.add(session)
        self.wake()
        return session

    def end_left(self, values: Mapping[str, Any], status: int, reason: str, farewell: Farewell) -> None:
        """End what another process has left (see `resumed.end_left`); raises as `resume` does."""
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
        """An ACK cannot be challenged, so one from elsewhere counts only where its address speaks for the peer."""
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
            # Credentials in an ACK are those of its INVITE (RFC 3261 22.1): they prove nothing a second time.
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
            # Who knows the identifiers of a dialog may have overheard them.
            self.counts["request in a dialog from elsewhere"] += 1
            self._authenticated(request, self._from_elsewhere)

    def _outside_dialogs(self, request: ServerRequest) -> None:
        """A request in a dialog that we do not know, unless it is the NOTIFY that makes it (RFC 6665 4.1.2.4)."""
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
        """Who it is comes first: a stranger gets a challenge, whatever else its request may lack."""
        unreadable = inspect_credentials(request.request)
        request.transaction.user = request

        def judged(verdict: Verdict) -> None:
            if request.is_answered:
                return
            if isinstance(verdict, Refused):
                # Another challenge would be answered with the same credentials.
                is_challenge = unreadable is not None and verdict.status in (401, 407)
                request.refuse(Refused.of(unreadable) if unreadable is not None and is_challenge else verdict)
            else:
                request.take(verdict)
                self._answering(request, None, lambda: then(request, verdict.identity))
            self.wake()

        self.environment.authenticate(request.request, request.source, judged)

    def _answering(self, request: ServerRequest, owner: DialogUsage | None, call: Callable[[], None]) -> None:
        """Run what answers a request, with the status of its DialogError or 500 where it does not."""
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
        """Whether somebody who proved to be `identity` may go on with a dialog from another address.

        Only the one whose dialog it is; where nobody knows who that is, somebody at the same IP address.
        """
        if dialog.identity is not None:
            return identity == dialog.identity or self.stack.peers.speaks_for(dialog.identity, source)
        return identity is not None and dialog.flow is not None and dialog.flow.host == source.host

    def _in_dialog(self, request: ServerRequest) -> None:
        """A request of the peer itself: its form, its number, then the usage that claims it."""
        self.stack.proven(request.transaction, self.now())
        entry = self._dialogs.find(request.request)
        assert entry is not None
        refusal = None
        if request.request.method == "BYE":
            # Its sender is gone, whatever we make of its words: it ends the call in any case.
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
                # It asks about us, whatever the dialog is for.
                request.respond(200, self._capabilities)
            elif usage is None and request.request.method in _OF_USAGES:
                # The dialog lives by another usage; the one that this is for is over (RFC 5057 section 5.1).
                request.respond(481)
            elif usage is None:
                request.respond(405, (("Allow", self.allow),))
            else:
                usage.on_request(request, entry.dialog)

        self._answering(request, usage, deliver)

    def _admitted(self, request: ServerRequest, identity: str | None) -> None:
        # Whom the application lets in it answers in full; only a question that anybody may ask proves nothing.
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
            # Whoever asks without a name is answered once, as short as its question was.
            request.refuse(Refused(status, headers=tuple((name, str(value)) for name, value in fields)))
        else:
            # Trunks place calls only to where a 200 says that we are (RFC 3261 11.2 leaves it to us).
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
    """The usage that answers for what is done with an event."""
    user = None if isinstance(event, RequestReceived | AckReceived | StrayResponse) else event.transaction.user
    if isinstance(user, ClientRequest):
        return user.owner
    return user if isinstance(user, InviteSession) else None
