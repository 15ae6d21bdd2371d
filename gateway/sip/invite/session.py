"""One INVITE usage, what both roles share: events, the dialog, BYE, INFO, the session timer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from gateway.sip.alarms import Alarm
from gateway.sip.auth.account import Authenticator
from gateway.sip.dialogs.dialog import Dialog
from gateway.sip.errors import DialogError, SipError
from gateway.sip.flow import Flow
from gateway.sip.invite.events import Ended, InfoReceived, SessionEvent, SessionHandler
from gateway.sip.invite.modify import Reoffers
from gateway.sip.invite.session_timer import SessionTimer, TimerAction
from gateway.sip.invite.states import InviteSession as SessionMachine
from gateway.sip.invite.states import SessionAction, SessionInput, SessionState
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.grammar import has_control
from gateway.sip.message.message import Request, Response
from gateway.sip.requests.client import ClientRequest
from gateway.sip.transactions import Reason, Transaction

if TYPE_CHECKING:
    from gateway.sip.user_agent import UserAgentCore

logger = logging.getLogger(__name__)

MAX_KEPT_EVENTS = 64
"""Events kept before anybody listens; more than a peer can cause before the application has seen the session."""


ENDED_HERE = Ended("local")


@dataclass(slots=True)
class Context:
    """What an action of the session table works on; each input fills in what it has."""

    request: Request | None = None
    response: Response | None = None
    transaction: Transaction | None = None
    dialog: Dialog | None = None
    status: int = 0
    phrase: str | None = None
    headers: build.Fields = ()
    body: bytes = b""
    ended: Ended = ENDED_HERE


class InviteSession:
    """One INVITE usage in either role; the application's handle on a SIP call.

    Methods return at once and never raise for what the peer does: outcomes are events, delivered in order to the
    one listener, the last of which is `Failed` or `Ended`. A call that the present state does not allow (a second
    answer, a re-offer of a call that is over) is logged and does nothing.
    """

    role: Literal["uac", "uas"]
    actions: ClassVar[Mapping[SessionAction, Callable[[Any, Context], None]]]

    def __init__(self, core: UserAgentCore, request: Request, local: NameAddr, remote: NameAddr, source: Flow) -> None:
        self.core = core
        self.request = request
        """The initial INVITE."""
        self.local = local
        self.remote = remote
        self.call_id: str = request.call_id
        self.source = source
        """UAS: where the INVITE came from; UAC: where it is sent to (as far as that is known)."""
        self.identity: str | None = None
        """UAS: who the application says the caller is."""
        self.machine = SessionMachine()
        self.dialog: Dialog | None = None
        self.authenticator: Authenticator | None = None
        self.local_body = b""
        """The session description that we sent last."""
        self.timer = SessionTimer(core.config.session_timer)
        self.peer_allows: frozenset[str] = frozenset()
        self.reoffers = Reoffers(self)
        self._timer_alarm: Alarm | None = None
        self._handler: SessionHandler | None = None
        self._kept: list[SessionEvent] = []
        self._over = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.machine.state.name})"

    # ---- the application's side

    def listen(self, handler: SessionHandler) -> None:
        """Have events delivered to `handler`, those kept so far first."""
        self._handler = handler
        kept, self._kept = self._kept, []
        for event in kept:
            self._deliver(event)

    @property
    def is_over(self) -> bool:
        """Whether the last event has been sent."""
        return self._over

    @property
    def is_confirmed(self) -> bool:
        """Whether the session is established: 2xx and ACK exchanged."""
        return self.machine.state is SessionState.CONFIRMED

    def hangup(self, reason_header: str | None = None) -> None:
        """End it as its state wants: CANCEL, BYE, or 480 to an INVITE not answered yet; idempotent.

        `reason_header` is the value of a Reason field, e.g. 'Q.850;cause=16;text="Normal"'.
        """
        # Words of a web page may end up here; the call must end whatever they hold.
        usable = reason_header and not has_control(reason_header)
        headers: build.Fields = (("Reason", reason_header),) if usable else ()
        self.step(SessionInput.HANG_UP, Context(status=480, headers=headers))
        self.core.wake()

    def offer(self, body: bytes) -> int:
        """Change the session: an offer of ours, sent as soon as no other is open; `OfferAnswered` tells the outcome.

        Returns the number of the exchange.
        """
        exchange = self.reoffers.want(body)
        self.core.wake()
        return exchange

    def answer_offer(self, exchange: int, body: bytes) -> None:
        """Answer the `Offered` event of that number; b"" is no answer."""
        self.reoffers.accept(exchange, body)
        self.core.wake()

    def refuse_offer(self, exchange: int, status: int = 488) -> None:
        """Refuse the `Offered` event of that number; the session stays as it was."""
        self.reoffers.reject(exchange, status)
        self.core.wake()

    def info(self, content_type: str, body: bytes, *, package: str | None = None) -> None:
        """Send an INFO (RFC 6086) in the dialog; its outcome is not reported."""
        if self.dialog is None or self._over:
            logger.info("INFO outside a dialog is not sent")
            return
        headers = (("Info-Package", package),) if package else ()
        self.send_in_dialog("INFO", self._ignore, headers=headers, body=body, content_type=content_type)
        self.core.wake()

    # ---- events

    def emit(self, event: SessionEvent) -> None:
        """Tell the listener; nothing follows the last event."""
        if self._over:
            return
        if self._handler is None:
            if len(self._kept) < MAX_KEPT_EVENTS:
                self._kept.append(event)
        else:
            self._deliver(event)

    def emit_last(self, event: SessionEvent) -> None:
        """Tell the listener that it is over, once."""
        if self._over:
            return
        if len(self._kept) >= MAX_KEPT_EVENTS:
            self._kept.pop()
        self.emit(event)
        self._over = True
        self.reoffers.stop()
        self.stop_timer()
        self.core.session_over(self)

    def _deliver(self, event: SessionEvent) -> None:
        assert self._handler is not None
        try:
            self._handler(event)
        except Exception:
            # A listener's mistake must not reach other calls.
            logger.exception("listener of a session failed on %s", type(event).__name__)

    # ---- the table

    def step(self, what: SessionInput, context: Context | None = None) -> bool:
        """Run the session table; False when it has no row for this input."""
        known = self.machine.ignored
        context = context or Context()
        for action in self.machine.step(what):
            self.actions[action](self, context)
        return self.machine.ignored == known

    def answer_bye(self, context: Context) -> None:
        """ANSWER_BYE."""
        assert context.transaction is not None
        self.respond(context.transaction, 200)

    def send_bye(self, context: Context) -> None:
        """SEND_BYE; the dialog is kept until the BYE is answered, so that one crossing it finds its call."""
        if self.dialog is not None:
            self.end_dialog(self.dialog, context.headers)

    def tell_ended(self, context: Context) -> None:
        """TELL_ENDED."""
        self.emit_last(context.ended)

    def end_dialog(self, dialog: Dialog, headers: build.Fields = ()) -> None:
        """Send BYE in a dialog and forget it when that is answered."""
        try:
            self.send_in_dialog("BYE", lambda _: self.core.forget_dialog(dialog), headers=headers, dialog=dialog)
        except DialogError:
            self.core.forget_dialog(dialog)

    # ---- requests in the dialog

    def send_in_dialog(
        self,
        method: str,
        done: Callable[[Response], None],
        *,
        headers: build.Fields = (),
        body: bytes = b"",
        content_type: str | None = None,
        dialog: Dialog | None = None,
    ) -> ClientRequest:
        """Begin a request in the dialog; `done` gets its final response."""
        chosen = dialog or self.dialog
        assert chosen is not None
        fields = (*headers, *self.core.common_fields())

        def make() -> Request:
            return chosen.request(method, headers=fields, body=body, content_type=content_type)

        request = ClientRequest(self.core, make, done, authenticator=self.authenticator)
        self.core.begin_at(request, self.dialog_target(chosen))
        return request

    def dialog_target(self, dialog: Dialog) -> Any:
        """Where requests in the dialog go: a URI to resolve, or a flow that is known to reach the peer."""
        raise AssertionError("each role has its own rule")

    def respond(
        self,
        transaction: Transaction,
        status: int,
        *,
        phrase: str | None = None,
        headers: build.Fields = (),
        body: bytes = b"",
        content_type: str | None = None,
    ) -> None:
        """Answer a request in the dialog."""
        response = build.response(
            transaction.request,
            status,
            phrase,
            headers=(*headers, *self.core.server_fields()),
            body=body,
            content_type=content_type,
        )
        self.core.stack.respond(transaction, response, self.core.now())

    def on_request(self, transaction: Transaction, request: Request, source: Flow, dialog: Dialog) -> None:
        """A request in one of our dialogs; raises DialogError with the status that answers it."""
        if source.host != self.source.host:
            self.core.counts["request in a dialog from another address"] += 1
        dialog.receive(request)
        transaction.user = self
        self._in_dialog.get(request.method, InviteSession._on_other)(self, transaction, request, dialog)

    def _on_bye(self, transaction: Transaction, request: Request, dialog: Dialog) -> None:
        if (dialog is not self.dialog and self.machine.state is not SessionState.PROCEEDING) or not self.step(
            SessionInput.BYE, Context(transaction=transaction, request=request, ended=ended_by_peer(request))
        ):
            self.respond(transaction, 200)
        dialog.terminate()
        self.core.forget_dialog(dialog)

    def _on_info(self, transaction: Transaction, request: Request, dialog: Dialog) -> None:
        kind = request.content_type
        self.respond(transaction, 200)
        if request.body:
            package = request.headers.get("Info-Package")
            self.emit(InfoReceived(kind.essence if kind else "", request.body, package))

    def _on_invite(self, transaction: Transaction, request: Request, dialog: Dialog) -> None:
        self.reoffers.on_reinvite(transaction, request)

    def _on_update(self, transaction: Transaction, request: Request, dialog: Dialog) -> None:
        self.reoffers.on_update(transaction, request)

    def _on_options(self, transaction: Transaction, request: Request, dialog: Dialog) -> None:
        self.respond(transaction, 200, headers=self.core.capabilities())

    def on_prack(self, transaction: Transaction, request: Request, dialog: Dialog) -> None:
        """A PRACK; only a callee that sends reliable provisional responses expects one (RFC 3262 section 3)."""
        self.respond(transaction, 481)

    def _on_prack(self, transaction: Transaction, request: Request, dialog: Dialog) -> None:
        self.on_prack(transaction, request, dialog)

    def _on_other(self, transaction: Transaction, request: Request, dialog: Dialog) -> None:
        self.respond(transaction, 405, headers=(("Allow", self.core.allow),))

    _in_dialog: ClassVar[Mapping[str, Callable[..., None]]] = {
        "BYE": _on_bye,
        "INFO": _on_info,
        "INVITE": _on_invite,
        "UPDATE": _on_update,
        "OPTIONS": _on_options,
        "PRACK": _on_prack,
    }

    def on_ack(self, ack: Request) -> None:
        """An ACK of a 2xx in the dialog."""
        self.reoffers.on_ack(ack)

    def on_cancel(self, transaction: Transaction, cancel: Request) -> None:
        """A CANCEL of a re-INVITE."""
        self.reoffers.on_cancel(transaction)

    def on_response(self, response: Response, source: Flow) -> None:
        """Responses go to the ClientRequest that asked; a session has none of its own."""

    def on_failed(self, reason: Reason) -> None:
        """A server transaction of ours failed: the ACK of a failure did not come, which changes nothing."""

    def lost(self, status: int) -> None:
        """The peer does not know the dialog any more, or does not answer in it (RFC 3261 12.2.1.2)."""
        by: Literal["timeout", "error"] = "timeout" if status == 408 else "error"
        self.step(SessionInput.LOST, Context(status=480, ended=Ended(by, status, text=build.PHRASES.get(status, ""))))

    # ---- session timer (RFC 4028)

    def arm_timer(self) -> None:
        """Have the session timer looked at when it is due; call after each change of it."""
        self.stop_timer()
        deadline = self.timer.deadline
        if deadline is not None and not self._over:
            self._timer_alarm = self.core.at(deadline, self._timer_due)

    def stop_timer(self) -> None:
        """Stop looking at the session timer."""
        if self._timer_alarm is not None:
            self._timer_alarm.cancel()
            self._timer_alarm = None

    def _timer_due(self) -> None:
        action = self.timer.tick(self.core.now())
        if action is TimerAction.REFRESH:
            self.reoffers.refresh()
        elif action is TimerAction.EXPIRED:
            self.step(
                SessionInput.LOST,
                Context(
                    headers=(("Reason", 'SIP;cause=408;text="Session timer expired"'),),
                    ended=Ended("timeout", 408, text="Session timer expired"),
                ),
            )
        self.arm_timer()

    def _ignore(self, response: Response) -> None:
        if response.status in (408, 481):
            self.lost(response.status)


def ended_by_peer(request: Request) -> Ended:
    """The `Ended` event of a BYE or CANCEL, with the causes of its Reason header (RFC 3326)."""
    cause = q850 = None
    text = ""
    try:
        for reason in request.reason:
            if reason.value.upper() == "SIP":
                cause = reason.cause
            elif reason.value.upper() == "Q.850":
                q850 = reason.cause
            text = text or reason.param("text") or ""
    except SipError:
        # A broken Reason is not a reason to keep a call alive.
        pass
    return Ended("remote", cause, q850, text)
