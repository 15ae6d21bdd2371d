"""One INVITE usage, what both roles share: events, the dialog, BYE, INFO, the session timer."""

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
"""Events kept before anybody listens; more than a peer can cause before the application has seen the session."""
FIRST = 1
"""The exchange of the INVITE itself."""
METHODS = frozenset(("INVITE", "ACK", "BYE", "CANCEL", "INFO", "OPTIONS", "PRACK", "REFER", "UPDATE"))


class InviteSession:
    """One INVITE usage in either role; the application's handle on a SIP call.

    Methods return at once and never raise for what the peer does: outcomes are events, delivered in order to the
    one listener, the last of which is `Failed` or `Ended`. A call that the present state does not allow (a second
    answer, an offer in a call that is over) is logged and does nothing.
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
        """UAS: where the INVITE came from; UAC: where it is sent to (as far as that is known)."""
        self.identity: str | None = None
        """Who the far end is, as proved (UAS) or as called (UAC)."""
        self.machine = SessionMachine()
        self.dialog: Dialog | None = None
        self.modification: Modification | None = None
        self.authenticator: Authenticator | None = None
        self.local_body = b""
        """The last session description of ours that stands."""
        self.remote_body = b""
        """The peer's that stands beside it."""
        self.answers = False
        """True where `local_body` answers `remote_body`, False the other way round."""
        self.timer = SessionTimer(core.config.session_timer)
        self.peer_allows: frozenset[str] = frozenset()
        self.peer_supports: frozenset[str] = frozenset()
        """Option tags of the peer's Supported, in lower case."""
        self.peer_names = PeerNames()
        self.changed: Callable[[], None] = no_matter
        """Called when what `session_values` gives has changed, before a message that shows it leaves."""
        self.accepted: AcceptedInvite | None = None
        """Our 2xx to the INVITE that made the dialog."""
        self._exchanges = FIRST
        self.peer_packages: frozenset[str] = frozenset()
        """INFO packages that the peer takes (Recv-Info), in lower case."""
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

    @property
    def may_update(self) -> bool:
        """Whether an UPDATE with an offer may be sent before the 2xx."""
        return True

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

        Returns the number of the exchange. Before the answer it goes out as UPDATE where the peer allows that.
        """
        return self._want(Purpose.OFFER, body)

    def take_back_offer(self, exchange: int) -> bool:
        """Forget our `offer` of that number where nothing of it has been sent; False: its outcome comes."""
        return self.modification is not None and self.modification.take_back(exchange)

    def request_offer(self) -> int:
        """Ask the peer for an offer by a re-INVITE without one; it comes as `Offered` of that number.

        Where none comes, `OfferAnswered` of that number says why.
        """
        return self._want(Purpose.ASK)

    def identify(self, local: NameAddr, headers: build.Fields = ()) -> None:
        """Tell the peer that it talks with `local` now, by From where it takes that (RFC 4916), and by `headers`.

        Sent once the call is answered; to a peer that takes no other From by UPDATE only, and only with `headers`.
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
        """Answer the `Offered` event of that number, or make the offer that it asks for; b"" refuses."""
        if self.modification is not None:
            self.modification.answer(exchange, body)
            self.core.wake()

    def refuse_offer(self, exchange: int, status: int = 488, reason_header: str | None = None) -> None:
        """Refuse the `Offered` event of that number; the session stays as it was.

        An offer that came in a 2xx cannot be refused (RFC 3261 14.1): the session ends.
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
        """Send an INFO (RFC 6086) in the dialog, once those before it are answered.

        `done` gets the status that answered it, 481 without a dialog; `instead` is a type and a body that it is sent
        with again where the first is answered 415.
        """
        self._infos.send(Outgoing(content_type, body, package, done or no_matter, instead))
        self.core.wake()

    def refer(self, target: Uri, told: Told) -> None:
        """Ask the peer of an answered call to call `target` in our place; see `Referrer`."""
        assert self.dialog is not None, "only an answered call is passed on"
        Referrer(self.core, self.dialog, target, told, authenticator=self.authenticator)
        self.core.wake()

    def answer_info(self, number: int, status: int) -> None:
        """Answer the `InfoReceived` of that number: 200, or why what it brought could not be used."""
        self._infos.answer(number, status)
        self.core.wake()

    def values(self) -> dict[str, Any] | None:
        """See `resumed.session_values`."""
        return self.core.values_of(self)

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
            self._handler = _nobody  # transactions keep the session for 32 s, and it must not keep the whole call
        self.changed = no_matter
        self.core.usage_over(self)

    def _deliver(self, event: SessionEvent) -> None:
        assert self._handler is not None
        try:
            self._handler(event)
        except Exception:
            # A listener's mistake ends its own call and nobody else's.
            self.core.counts["listener failed"] += 1
            logger.exception("listener of a session failed on %s", type(event).__name__)
            self._handler = _nobody
            self.core.at(self.core.now(), self.on_mistake, self)
            self.core.wake()

    # ---- the table

    def step(self, what: SessionInput, context: Context | None = None) -> bool:
        """Run the session table; False when it has no row for this input."""
        known = self.machine.ignored
        context = context or Context()
        if what is SessionInput.LOST and self.machine.state is SessionState.ACCEPTED:
            self._reason = context.ended
        for action in self.machine.step(what):
            self.actions[action](self, context)
        return self.machine.ignored == known

    def answer_bye(self, context: Context) -> None:
        """ANSWER_BYE."""
        assert context.request is not None
        context.request.respond(200)

    def send_bye(self, context: Context) -> None:
        """SEND_BYE; the dialog is kept until the BYE is answered, so that one crossing it finds its call."""
        assert self.dialog is not None
        self.end_dialog(self.dialog, context.headers)

    def tell_ended(self, context: Context) -> None:
        """TELL_ENDED; where the end had to wait for the ACK, with the reason it had then."""
        ended = context.ended
        self.emit_last(self._reason if ended is ENDED_HERE and self._reason is not None else ended)

    def end_dialog(self, dialog: Dialog, headers: build.Fields = ()) -> None:
        """Send BYE in a dialog and leave it when that is answered."""
        dialog.is_leaving = True
        self.send_in_dialog("BYE", dialog, lambda _: self.core.remove_usage(dialog, self), headers=headers)

    # ---- what a change asks of its session

    def exchange_number(self) -> int:
        """The number of one more exchange."""
        self._exchanges += 1
        return self._exchanges

    def commit(self, local: bytes, remote: bytes, *, answers: bool) -> None:
        """Note the two descriptions that stand; `answers`: ours is the answer to the peer's offer."""
        self.local_body, self.remote_body, self.answers = local, remote, answers

    def acknowledged(self) -> None:
        """What a callee that waits for the ACK of its 2xx has to know."""

    def exchange_over(self) -> None:
        """Something that waited may go on."""
        assert self.modification is not None
        self.modification.advance()

    def peer_says(self, message: Message) -> None:
        """A message that says who the peer is; `Identified` where that is news."""
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
        """Begin a request in the dialog; `done` gets its final response, at once where it cannot be sent."""
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
        """Whether a request in the dialog is ours; those of no other usage are, too."""
        return request.method in METHODS

    def on_request(self, request: ServerRequest, dialog: Dialog) -> None:
        """A request in one of our dialogs; raises DialogError with the status that answers it."""
        request.transaction.user = self
        if (self._over or dialog.is_leaving) and request.request.method != "BYE":
            # The dialog only waits for the answer to its BYE (RFC 3261 15.1.2).
            request.respond(481)
        else:
            self._in_dialog[request.request.method](self, request, dialog)

    def modification_of(self, dialog: Dialog) -> Modification:
        """The exchanges of one of our dialogs."""
        assert self.modification is not None
        return self.modification

    def _on_bye(self, request: ServerRequest, dialog: Dialog) -> None:
        context = Context(request=request, ended=Ended.by_peer(request.request))
        if not self._is_last(dialog) or not self.step(SessionInput.BYE, context):
            request.respond(200)
        self.core.remove_usage(dialog, self)

    def _is_last(self, dialog: Dialog) -> bool:
        """Whether a BYE in `dialog` ends the session."""
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
        """A PRACK; only a callee that sends reliable provisional responses expects one (RFC 3262 section 3)."""
        request.respond(481)

    def _on_prack(self, request: ServerRequest, dialog: Dialog) -> None:
        self.on_prack(request, dialog)

    def _on_refer(self, request: ServerRequest, dialog: Dialog) -> None:
        if not self.is_confirmed:
            # Who is not answered yet cannot be passed on; the phone asks again when it is.
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
        """An ACK of a 2xx in the dialog."""
        self.modification_of(dialog).on_ack(ack)

    def on_cancel(self, transaction: Transaction, cancel: Request) -> None:
        """A CANCEL of a re-INVITE."""
        assert self.modification is not None
        self.modification.on_cancel(transaction)

    def on_failed(self, transaction: Transaction, reason: Reason) -> None:
        """A server transaction of ours failed: the ACK of a failure did not come, which changes nothing."""

    def on_flow_lost(self, flow: Flow) -> None:
        """A connection is gone; requests of ours in the dialog look for another way (Dialog.hops)."""
        if self.accepted is not None:
            self.accepted.flow_lost(flow)
        if self.modification is not None:
            self.modification.flow_lost(flow)
        if self.dialog is not None and self.dialog.flow_lost(flow) and not self._over:
            self.emit(FlowLost())
            if flow.dialled and self.is_confirmed:
                self._recovery.begin()

    def lost(self, status: int) -> None:
        """The peer does not know the dialog any more, or does not answer in it (RFC 3261 12.2.1.2)."""
        by: Literal["timeout", "error"] = "timeout" if status == 408 else "error"
        self.step(SessionInput.LOST, Context(status=480, ended=Ended(by, status, text=build.PHRASES.get(status, ""))))

    def on_mistake(self) -> None:
        """Code of ours failed on its behalf: 500 or BYE."""
        self.step(SessionInput.LOST, Context(status=500, ended=MISTAKE))

    def drop(self) -> None:
        """Tell that it is over, nothing else."""
        self.machine.state = SessionState.ENDED
        self._over = True
        self.stop_timer()
        self.core.usage_over(self)
        if self._handler is not None:
            self._handler(MISTAKE)

    # ---- session timer (RFC 4028)

    def arm_timer(self) -> None:
        """Have the session timer looked at when it is due; call after each change of it."""
        self.stop_timer()
        deadline = self.timer.deadline
        if deadline is not None and not self._over:
            self._timer_alarm = self.core.at(deadline, self._timer_due, self)

    def stop_timer(self) -> None:
        """Stop looking at the session timer."""
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
    """Nobody asked."""


def _nobody(event: SessionEvent) -> None:
    """Stands for a listener that has failed."""
