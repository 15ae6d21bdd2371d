"""INVITE usage, common to both roles: events, dialog, BYE, INFO and session timer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

from gateway.sip.alarms import Alarm
from gateway.sip.auth.account import Authenticator
from gateway.sip.config import FROM_CHANGE
from gateway.sip.dialogs.dialog import Dialog
from gateway.sip.dialogs.ports import Core
from gateway.sip.dialogs.requests import send_in_dialog
from gateway.sip.dialogs.usage import DialogUsage
from gateway.sip.errors import DialogError
from gateway.sip.flow import Flow
from gateway.sip.invite.accepted import AcceptedInvite
from gateway.sip.invite.changes import Purpose
from gateway.sip.invite.context import ENDED_HERE, MISTAKE, Context
from gateway.sip.invite.events import Ended, FlowLost, Identified, SessionEvent, SessionHandler
from gateway.sip.invite.info import Infos, Outgoing
from gateway.sip.invite.modify import Modification
from gateway.sip.invite.names import PeerNames
from gateway.sip.invite.offer_answer import Carrier
from gateway.sip.invite.recovery import FlowRecovery
from gateway.sip.invite.session_timer import SessionTimer, TimerAction
from gateway.sip.invite.states import InviteSession as SessionMachine
from gateway.sip.invite.states import SessionAction, SessionInput, SessionState
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.grammar import has_control
from gateway.sip.message.message import Message, Request, Response
from gateway.sip.message.uri import Uri
from gateway.sip.requests.bodies import description_of
from gateway.sip.requests.client import ClientRequest
from gateway.sip.requests.server import ServerRequest
from gateway.sip.subscription.referral import Referral, Referred
from gateway.sip.subscription.referrer import Referrer, Told
from gateway.sip.transactions import Reason, Transaction

logger = logging.getLogger(__name__)

MAX_KEPT_EVENTS = 64
"""Events kept before a listener is set; more than a peer can cause before the application gets the session."""
FIRST = 1
"""Exchange number of the INVITE."""
METHODS = frozenset(("INVITE", "ACK", "BYE", "CANCEL", "INFO", "OPTIONS", "PRACK", "REFER", "UPDATE"))


class InviteSession:
    """INVITE usage in either role; the application's handle on a SIP call.

    Methods return at once and never raise for the peer's behaviour. Outcomes are events for the only listener, in
    order; the last is `Failed` or `Ended`. Calls not allowed in the present state are logged and ignored.
    """

    role: Literal["uac", "uas"]
    request: Request
    actions: ClassVar[Mapping[SessionAction, Callable[[Any, Context], None]]]

    def __init__(self, core: Core, call_id: str, local: NameAddr, remote: NameAddr, source: Flow) -> None:
        self.core = core
        self.local = local
        self.remote = remote
        self.call_id = call_id
        self.source = source
        """UAS: source of the INVITE. UAC: destination of the INVITE, as far as known."""
        self.identity: str | None = None
        """Identity of the far end, authenticated (UAS) or as called (UAC)."""
        self.machine = SessionMachine()
        self.dialog: Dialog | None = None
        self.modification: Modification | None = None
        self.authenticator: Authenticator | None = None
        self.local_body = b""
        """Our last agreed session description."""
        self.remote_body = b""
        """Peer's session description agreed with `local_body`."""
        self.answers = False
        """True if `local_body` answers `remote_body`, False if `remote_body` answers `local_body`."""
        self.timer = SessionTimer(core.config.session_timer)
        self.peer_allows: frozenset[str] = frozenset()
        self.peer_supports: frozenset[str] = frozenset()
        """Option tags in the peer's Supported, lower case."""
        self.peer_names = PeerNames()
        self.changed: Callable[[], None] = no_matter
        """Callback for changes of `session_values`, before a message with the change leaves."""
        self.accepted: AcceptedInvite | None = None
        """Our 2xx to the INVITE that created the dialog."""
        self._exchanges = FIRST
        self.peer_packages: frozenset[str] = frozenset()
        """INFO packages supported by the peer (Recv-Info), lower case."""
        self._infos = Infos(self)
        self._recovery = FlowRecovery(self)
        self._referrals = 0
        self._timer_alarm: Alarm[DialogUsage | None] | None = None
        self._handler: SessionHandler | None = None
        self._kept: list[SessionEvent] = []
        self._reason: Ended | None = None
        self._is_ending = False
        self._over = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.machine.state.name})"

    # ---- interface for the application

    def listen(self, handler: SessionHandler) -> None:
        """Deliver events to `handler`, starting with the kept events."""
        self._handler = handler
        kept, self._kept = self._kept, []
        for event in kept:
            self._deliver(event)

    @property
    def is_over(self) -> bool:
        """Return True after the last event."""
        return self._over

    @property
    def is_confirmed(self) -> bool:
        """Return True if the session is established by 2xx and ACK."""
        return self.machine.state is SessionState.CONFIRMED

    @property
    def may_update(self) -> bool:
        """Return True if an UPDATE with an offer may precede the 2xx."""
        return True

    def hangup(self, reason_header: str | None = None) -> None:
        """End the session as its state requires: CANCEL, BYE, or 480 to an unanswered INVITE; idempotent.

        `reason_header`: value of a Reason field, e.g. 'Q.850;cause=16;text="Normal"'.
        """
        # Text of a web page may end up here; the call must end whatever its characters.
        usable = reason_header and not has_control(reason_header)
        headers: build.Fields = (("Reason", reason_header),) if usable else ()
        self.step(SessionInput.HANG_UP, Context(status=480, headers=headers))
        self.core.wake()

    def offer(self, body: bytes) -> int:
        """Send an offer once no other is open, and return the exchange number; `OfferAnswered` reports the outcome.

        Before the final answer the offer goes out as UPDATE, if the peer allows UPDATE.
        """
        return self._want(Purpose.OFFER, body)

    def take_back_offer(self, exchange: int) -> bool:
        """Withdraw our `offer` with number `exchange` if unsent; otherwise return False and report the outcome
        later."""
        return self.modification is not None and self.modification.take_back(exchange)

    def request_offer(self) -> int:
        """Request an offer from the peer by a re-INVITE without offer; return the exchange number.

        The offer arrives as `Offered`; without an offer, `OfferAnswered` gives the status.
        """
        return self._want(Purpose.ASK)

    def identify(self, local: NameAddr, headers: build.Fields = ()) -> None:
        """Send the peer the new identity `local`, in From if the peer supports RFC 4916, with `headers`.

        Sent once the call is answered. A peer without RFC 4916 gets the identity only in `headers`, and only by UPDATE.
        """
        takes_it = FROM_CHANGE in self.peer_supports
        if self.modification is None or self.dialog is None or self._over:
            return
        if takes_it or (headers and "UPDATE" in self.peer_allows):
            self.modification.identify(local.with_tag(self.dialog.id.local_tag) if takes_it else None, headers)
            self.core.wake()

    def _want(self, purpose: Purpose, body: bytes = b"") -> int:
        if self.modification is None or self._over:
            logger.info("no offer outside a dialog")
            return self.exchange_number()
        number = self.modification.want(purpose, body)
        self.core.wake()
        return number

    def answer_offer(self, exchange: int, body: bytes) -> None:
        """Answer the `Offered` with number `exchange`, or send the offer requested; b"" rejects."""
        if self.modification is not None:
            self.modification.answer(exchange, body)
            self.core.wake()

    def refuse_offer(self, exchange: int, status: int = 488, reason_header: str | None = None) -> None:
        """Reject the `Offered` with number `exchange`; the session is unchanged.

        An offer in a 2xx cannot be rejected (RFC 3261 14.1): the session ends.
        """
        if self.modification is not None:
            self.modification.refuse(exchange, status, reason_header)
            self.core.wake()

    def info(
        self,
        content_type: str,
        body: bytes,
        *,
        package: str | None = None,
        done: Callable[[int], None] | None = None,
        instead: tuple[str, bytes] | None = None,
    ) -> None:
        """Send an INFO (RFC 6086) in the dialog after the responses to earlier INFOs.

        `done` gets the final status, 481 without a dialog. `instead`: type and body for a second attempt after a 415.
        """
        self._infos.send(Outgoing(content_type, body, package, done or no_matter, instead))
        self.core.wake()

    def refer(self, target: Uri, told: Told) -> None:
        """Transfer an answered call by asking the peer to call `target`; see `Referrer`."""
        assert self.dialog is not None, "only an answered call is passed on"
        Referrer(self.core, self.dialog, target, told, authenticator=self.authenticator)
        self.core.wake()

    def answer_info(self, number: int, status: int) -> None:
        """Answer the `InfoReceived` with number `number`: 200, or the failure in processing its content."""
        self._infos.answer(number, status)
        self.core.wake()

    def values(self) -> dict[str, Any] | None:
        """See `resumed.session_values`."""
        return self.core.values_of(self)

    # ---- events

    def emit(self, event: SessionEvent) -> None:
        """Deliver an event to the listener; nothing follows the last event."""
        if self._over:
            return
        if self._handler is None:
            if len(self._kept) < MAX_KEPT_EVENTS:
                self._kept.append(event)
        else:
            self._deliver(event)

    def emit_last(self, event: SessionEvent) -> None:
        """Deliver the last event, once, and release everything of the session."""
        if self._over or self._is_ending:
            return
        self._is_ending = True
        self._recovery.stop()
        if self.modification is not None:
            self.modification.stop()
        self._infos.stop()
        self.stop_timer()
        if len(self._kept) >= MAX_KEPT_EVENTS:
            self._kept.pop()
        self.emit(event)
        self._over = True
        if self._handler is not None:
            self._handler = _nobody  # transactions keep the session for 32 s, which must not keep the whole call alive
        self.changed = no_matter
        self.core.usage_over(self)

    def _deliver(self, event: SessionEvent) -> None:
        assert self._handler is not None
        try:
            self._handler(event)
        except Exception:
            # A failing listener ends its own call and no other.
            self.core.counts["listener failed"] += 1
            logger.exception("listener of a session failed on %s", type(event).__name__)
            self._handler = _nobody
            self.core.at(self.core.now(), self.on_mistake, self)
            self.core.wake()

    # ---- the table

    def step(self, what: SessionInput, context: Context | None = None) -> bool:
        """Run the session table; return False if the table has no row for the input."""
        known = self.machine.ignored
        context = context or Context()
        if what is SessionInput.LOST and self.machine.state is SessionState.ACCEPTED:
            self._reason = context.ended
        for action in self.machine.step(what):
            self.actions[action](self, context)
        return self.machine.ignored == known

    def answer_bye(self, context: Context) -> None:
        """Run ANSWER_BYE."""
        assert context.request is not None
        context.request.respond(200)

    def send_bye(self, context: Context) -> None:
        """Run SEND_BYE; the dialog stays until the response, so that a crossing BYE finds its call."""
        assert self.dialog is not None
        self.end_dialog(self.dialog, context.headers)

    def tell_ended(self, context: Context) -> None:
        """Run TELL_ENDED; after a wait for the ACK, with the original reason."""
        ended = context.ended
        self.emit_last(self._reason if ended is ENDED_HERE and self._reason is not None else ended)

    def end_dialog(self, dialog: Dialog, headers: build.Fields = ()) -> None:
        """Send BYE in a dialog, and remove the usage after the response."""
        dialog.is_leaving = True
        self.send_in_dialog("BYE", dialog, lambda _: self.core.remove_usage(dialog, self), headers=headers)

    # ---- the `Modifiable` interface

    def exchange_number(self) -> int:
        """Return the next exchange number."""
        self._exchanges += 1
        return self._exchanges

    def commit(self, local: bytes, remote: bytes, *, answers: bool) -> None:
        """Record the two agreed descriptions; `answers`: ours answers the peer's offer."""
        self.local_body, self.remote_body, self.answers = local, remote, answers

    def acknowledged(self) -> None:
        """Do nothing; a callee waiting for the ACK of its 2xx overrides the method."""

    def exchange_over(self) -> None:
        """Continue with the next waiting change."""
        assert self.modification is not None
        self.modification.advance()

    def peer_says(self, message: Message) -> None:
        """Process the identity in a peer's message; emit `Identified` on a change."""
        if self.peer_names.take(message):
            self.emit(Identified(message))

    # ---- requests in the dialog

    def send_in_dialog(
        self,
        method: str,
        dialog: Dialog,
        done: Callable[[Response], None],
        *,
        headers: build.Fields = (),
        body: bytes = b"",
        content_type: str | None = None,
    ) -> ClientRequest:
        """Start a request in the dialog; `done` gets the final response, synchronously if sending is impossible."""
        return send_in_dialog(
            self.core,
            dialog,
            method,
            done,
            owner=self,
            authenticator=self.authenticator,
            headers=headers,
            body=body,
            content_type=content_type,
        )

    def claims(self, request: Request) -> bool:
        """Claim all requests of the INVITE usage, and those without another usage."""
        return request.method in METHODS

    def on_request(self, request: ServerRequest, dialog: Dialog) -> None:
        """Process a request in a dialog of the session; raise DialogError with the status to answer."""
        request.transaction.user = self
        if (self._over or dialog.is_leaving) and request.request.method != "BYE":
            # The dialog only waits for the response to our BYE (RFC 3261 15.1.2).
            request.respond(481)
        else:
            self._in_dialog[request.request.method](self, request, dialog)

    def modification_of(self, dialog: Dialog) -> Modification:
        """Return the offer/answer state of a dialog."""
        assert self.modification is not None
        return self.modification

    def _on_bye(self, request: ServerRequest, dialog: Dialog) -> None:
        context = Context(request=request, ended=Ended.by_peer(request.request))
        if not self._is_last(dialog) or not self.step(SessionInput.BYE, context):
            request.respond(200)
        self.core.remove_usage(dialog, self)

    def _is_last(self, dialog: Dialog) -> bool:
        """Return True if a BYE in `dialog` ends the session."""
        return dialog is self.dialog

    def _on_info(self, request: ServerRequest, dialog: Dialog) -> None:
        self._infos.on_request(request)

    def _on_invite(self, request: ServerRequest, dialog: Dialog) -> None:
        self.modification_of(dialog).on_offer(request, Carrier.INVITE)

    def _on_update(self, request: ServerRequest, dialog: Dialog) -> None:
        if description_of(request.request):
            self.modification_of(dialog).on_offer(request, Carrier.UPDATE)
        else:
            self.modification_of(dialog).on_refresh(request)

    def _on_options(self, request: ServerRequest, dialog: Dialog) -> None:
        request.respond(200, self.core.capabilities())

    def on_prack(self, request: ServerRequest, dialog: Dialog) -> None:
        """Reject a PRACK; only a callee with reliable provisional responses accepts one (RFC 3262 section 3)."""
        request.respond(481)

    def _on_prack(self, request: ServerRequest, dialog: Dialog) -> None:
        self.on_prack(request, dialog)

    def _on_refer(self, request: ServerRequest, dialog: Dialog) -> None:
        if not self.is_confirmed:
            # An unanswered call cannot be transferred; the phone retries after the answer.
            raise DialogError("the call is not answered", status=491)
        is_first = self._referrals == 0
        referral = Referral(self.core, dialog, request, is_first=is_first, authenticator=self.authenticator)
        self._referrals += 1
        self.emit(Referred(referral))

    _in_dialog: ClassVar[Mapping[str, Callable[..., None]]] = {
        "BYE": _on_bye,
        "INFO": _on_info,
        "INVITE": _on_invite,
        "UPDATE": _on_update,
        "OPTIONS": _on_options,
        "PRACK": _on_prack,
        "REFER": _on_refer,
    }

    def on_ack(self, ack: Request, dialog: Dialog) -> None:
        """Process the ACK of a 2xx in the dialog."""
        self.modification_of(dialog).on_ack(ack)

    def on_cancel(self, transaction: Transaction, cancel: Request) -> None:
        """Process the CANCEL of a re-INVITE."""
        assert self.modification is not None
        self.modification.on_cancel(transaction)

    def on_failed(self, transaction: Transaction, reason: Reason) -> None:
        """Ignore the failure of a server transaction: a missing ACK after a rejection changes nothing."""

    def on_flow_lost(self, flow: Flow) -> None:
        """Process the loss of a connection; later requests in the dialog try other routes (Dialog.hops)."""
        if self.accepted is not None:
            self.accepted.flow_lost(flow)
        if self.modification is not None:
            self.modification.flow_lost(flow)
        if self.dialog is not None and self.dialog.flow_lost(flow) and not self._over:
            self.emit(FlowLost())
            if flow.dialled and self.is_confirmed:
                self._recovery.begin()

    def lost(self, status: int) -> None:
        """End the session after the peer answered 408 or 481 in the dialog, or not at all (RFC 3261 12.2.1.2)."""
        by: Literal["timeout", "error"] = "timeout" if status == 408 else "error"
        self.step(SessionInput.LOST, Context(status=480, ended=Ended(by, status, text=build.PHRASES.get(status, ""))))

    def on_mistake(self) -> None:
        """End the session with 500 or BYE after an exception in our code."""
        self.step(SessionInput.LOST, Context(status=500, ended=MISTAKE))

    def drop(self) -> None:
        """Report the end to the listener without a message to the peer."""
        self.machine.state = SessionState.ENDED
        self._over = True
        self.stop_timer()
        self.core.usage_over(self)
        if self._handler is not None:
            self._handler(MISTAKE)

    # ---- session timer (RFC 4028)

    def arm_timer(self) -> None:
        """Schedule the session timer; call after each change of the timer."""
        self.stop_timer()
        deadline = self.timer.deadline
        if deadline is not None and not self._over:
            self._timer_alarm = self.core.at(deadline, self._timer_due, self)

    def stop_timer(self) -> None:
        """Cancel the scheduled session timer."""
        if self._timer_alarm is not None:
            self._timer_alarm.cancel()
            self._timer_alarm = None

    def _timer_due(self) -> None:
        action = self.timer.tick(self.core.now())
        if action is TimerAction.REFRESH:
            assert self.modification is not None
            self.modification.refresh()
        if action is TimerAction.EXPIRED:
            self.step(
                SessionInput.LOST,
                Context(
                    headers=(("Reason", 'SIP;cause=408;text="Session timer expired"'),),
                    ended=Ended("timeout", 408, text="Session timer expired"),
                ),
            )
        self.arm_timer()


def no_matter(*_: int) -> None:
    """Ignore a callback."""


def _nobody(event: SessionEvent) -> None:
    """Replace a failed listener: ignore the event."""
