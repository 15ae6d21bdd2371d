"""Called side of an INVITE session (RFC 3261 13.3; RFC 3262 section 3)."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from typing import Literal

from gateway.sip.alarms import Alarm
from gateway.sip.config import TRICKLE
from gateway.sip.dialogs.dialog import Dialog, is_secure, wants_flow
from gateway.sip.dialogs.ports import Core
from gateway.sip.dialogs.usage import DialogUsage
from gateway.sip.errors import SipBuildError
from gateway.sip.flow import Flow, is_ip_address
from gateway.sip.invite.accepted import AcceptedInvite
from gateway.sip.invite.changes import Purpose
from gateway.sip.invite.context import Context
from gateway.sip.invite.events import Confirmed, Ended, OfferAnswered, SessionEvent
from gateway.sip.invite.modify import Modification
from gateway.sip.invite.offer_answer import Carrier, Invite, Meaning
from gateway.sip.invite.provisional import OPTION, ReliableProvisionals
from gateway.sip.invite.session import FIRST, InviteSession, no_matter
from gateway.sip.invite.states import SessionAction, SessionInput, SessionState
from gateway.sip.message import build
from gateway.sip.message.message import Request, Response
from gateway.sip.message.uri import Uri
from gateway.sip.requests.bodies import SDP, description_of, description_or_nothing
from gateway.sip.requests.server import ServerRequest
from gateway.sip.transactions import Reason, Transaction
from gateway.sip.transactions.via import same_way

logger = logging.getLogger(__name__)

KEEP_RINGING = 60.0
"""Seconds between repetitions of a provisional response, so that proxies keep the INVITE alive (13.3.1.1)."""


class IncomingSession(InviteSession):
    """Incoming call; raises DialogError for an INVITE that can create no dialog."""

    role: Literal["uac", "uas"] = "uas"

    def __init__(self, core: Core, invite: ServerRequest, identity: str | None) -> None:
        request, source = invite.request, invite.source
        tag = core.token()
        contact = core.contact(source, request.uri.user, secure=is_secure(request))
        dialog = Dialog.of_uas(request, tag, contact, source)
        super().__init__(core, request.call_id, dialog.local, dialog.remote, source)
        self.request = request
        self.identity = dialog.identity = identity
        self.dialog = dialog
        self.modification: Modification = Modification(weakref.ref(self), dialog)
        self.peer_allows = frozenset(request.allow)
        self.peer_packages = frozenset(one.lower() for one in request.recv_info)
        self.tag = invite.transaction.to_tag = tag
        """Local To tag."""
        self._transaction = invite.transaction
        self._invite = invite
        self._is_cut_off = False
        """True if the connection of the INVITE closed."""
        self._deferred: bytes | None = None
        self._counter = b""
        """Our offer in a response to an INVITE without offer."""
        self._reliable: ReliableProvisionals | None = None
        supported = [one.lower() for one in request.supported]
        self.peer_supports = frozenset(supported)
        self.peer_names.take(request)
        self._wants_reliable = OPTION in [one.lower() for one in request.require]
        self._takes_reliable = OPTION in supported or self._wants_reliable
        self.noticed: Callable[[], None] = no_matter
        """Callback before a 100, the first response to the caller."""
        self._ringing: Alarm[DialogUsage | None] | None = None
        self._give_up: Alarm[DialogUsage | None] | None = None
        self._begin()

    def _begin(self) -> None:
        core, dialog, request = self.core, self.dialog, self.request
        assert dialog is not None
        is_near = self.source.reliable or wants_flow(dialog.remote_target)
        dialog.is_direct = is_near or is_behind_nat(request, dialog, self.source.host, core)
        self.modification.table.received(Carrier.INVITE, bool(self.initial_offer))
        if core.config.longest_ringing > 0:
            self._give_up = core.at(core.now() + core.config.longest_ringing, self._rang_too_long, self)
        core.add_usage(dialog, self)
        dialog.moved = lambda: self.changed()
        self.machine.step(SessionInput.INVITED)
        self._invite.is_answered = True
        self._transaction.user = self

    # ---- interface for the application

    def reach_at(self, contact: Uri) -> None:
        """Send requests for `contact` to a caller with a GRUU of ours as its Contact."""
        assert self.dialog is not None
        self.dialog.device = contact

    @property
    def initial_offer(self) -> bytes:
        """Return the INVITE's session description, b"" if it has none and requests our offer."""
        return description_of(self.request)

    @property
    def is_silent(self) -> bool:
        """Return True while no response has been sent."""
        return self._transaction.last is None

    def ring(self, status: int = 180, reason: str | None = None, body: bytes | None = None) -> None:
        """Send a 101-199, reliably if required by the caller or with a body; raise ValueError for other statuses.

        For an INVITE without offer the body is our offer, sent only if the caller supports 100rel. Its answer arrives
        as `OfferAnswered(1, 200, body)`.
        """
        if not 100 < status < 200:
            raise ValueError("a ringing response is 101 to 199")
        self.step(SessionInput.RING, Context(status=status, phrase=reason, body=body or b""))
        self.core.wake()

    def answer(self, body: bytes) -> int | None:
        """Send 200 with `body`: the answer to the caller's offer, or our offer if the INVITE had none.

        After an answer in a reliable 1xx the 200 has no body. A different `body` is then offered afterwards; return the
        number of the later exchange.
        """
        if self.machine.state is not SessionState.INCOMING or self._deferred is not None:
            logger.info("no INVITE waits for an answer")
            return None
        stands = self.local_body or self._counter
        if self._must_wait:
            # RFC 3262 section 3: no 2xx before the PRACK of a reliable 1xx with a description; none during an open
            # offer either.
            self._deferred = body
        else:
            self.step(SessionInput.ACCEPT, Context(body=body))
        number = self.modification.want(Purpose.OFFER, body) if stands and body != stands else None
        self.core.wake()
        return number

    def reject(self, status: int, reason: str | None = None, headers: build.Fields = ()) -> None:
        """Send a 300-699; raise ValueError for other statuses."""
        if not 300 <= status < 700:
            raise ValueError("a rejection is 300 to 699")
        self.step(SessionInput.REJECT, Context(status=status, phrase=reason, headers=headers))
        self.core.wake()

    @property
    def may_update(self) -> bool:
        return self._deferred is None and not self._is_unacknowledged

    @property
    def _is_unacknowledged(self) -> bool:
        return self._reliable is not None and self._reliable.is_pending

    @property
    def _must_wait(self) -> bool:
        return self._is_unacknowledged or self.modification.is_busy

    # ---- actions of the session table

    def _response(self, context: Context, status: int, body: bytes = b"", headers: build.Fields = ()) -> Response:
        dialog = self.dialog
        return build.response(
            self.request,
            status,
            context.phrase,
            to_tag=self.tag,
            contact=dialog.contact if dialog is not None and status < 300 else None,
            headers=(*headers, *self.core.response_fields()),
            body=body,
            content_type=SDP if body else None,
        )

    def _send_provisional(self, context: Context) -> None:
        is_reliable = self._wants_reliable or (self._takes_reliable and bool(context.body))
        body = self._provisional_body(context.body, is_reliable)
        trickles = TRICKLE in {one.lower() for one in self.request.supported}
        # A peer that trickles candidates must learn of our support before the answer (RFC 8840 section 4.3.1).
        fields = self.core.capabilities() if trickles else (("Allow", self.core.allow),)
        response = self._response(context, context.status, body, fields)
        if is_reliable:
            if self._reliable is None:
                self._reliable = ReliableProvisionals(self.core, self, self._transaction, self._no_prack)
            self._reliable.send(response)
        else:
            self.core.respond(self._transaction, response)
        if self._ringing is None:
            self._ringing = self.core.at(self.core.now() + KEEP_RINGING, self._ring_on, self)

    def _provisional_body(self, body: bytes, is_reliable: bool) -> bytes:
        """Return the description allowed in a 1xx now: an answer, a preview of one, or an offer if reliable."""
        carrier = Carrier.RELIABLE if is_reliable else Carrier.PROVISIONAL
        if not body or not self.modification.table.may_send(carrier, True):
            return b""
        meaning = self.modification.table.sent(carrier, True)
        if meaning is Meaning.ANSWER:
            self.commit(body, self.initial_offer, answers=True)
        elif meaning is Meaning.OFFER:
            self._counter = body
        return b"" if meaning is Meaning.NOTHING else body

    def _ring_on(self) -> None:
        # A reliable response is retransmitted until its PRACK, and never later (RFC 3262 section 3).
        if self._reliable is None and self._transaction.last is not None:
            self.core.send(self._transaction.last, self._transaction.flow)
        self._ringing = self.core.at(self.core.now() + KEEP_RINGING, self._ring_on, self)

    def _send_success(self, context: Context) -> None:
        assert self.dialog is not None
        self._stop_ringing()
        table = self.modification.table
        # The 2xx must not repeat an answer sent in a reliable 1xx (RFC 6337 section 3.1.1).
        body = b"" if table.state.invite is Invite.REMOTE and table.state.by is None else context.body
        meaning = table.sent(Carrier.SUCCESS, bool(body))
        if meaning is Meaning.ANSWER:
            self.commit(body, self.initial_offer, answers=True)
        elif meaning is Meaning.OFFER:
            self._counter = body
        fields = self.timer.accept(self.request, self.core.now())
        self.dialog.confirm()
        response = self._response(context, 200, body, (*self.core.capabilities(), *fields))
        data = self.core.respond(self._transaction, response)
        self.accepted = AcceptedInvite(
            self.core, self, self._transaction.flow, self.request.cseq.number, data, self._not_acknowledged
        )
        self.accepted.may_be_lost = self._is_cut_off
        self.arm_timer()

    def _send_failure(self, context: Context) -> None:
        self._fail(context, context.status or 480)
        self.emit_last(context.ended)

    def _send_terminated(self, context: Context) -> None:
        self._fail(Context(), 487)

    def _fail(self, context: Context, status: int) -> None:
        self._stop_ringing()
        self.modification.stop()
        try:
            response = self._response(context, status, headers=context.headers)
        except SipBuildError as error:
            self.core.not_built(error)
            response = self._response(Context(), status)
        self.core.respond(self._transaction, response)
        assert self.dialog is not None
        self.core.remove_usage(self.dialog, self)

    def _tell_established(self, context: Context) -> None:
        self.emit(Confirmed(context.body, FIRST if context.body else None))
        self.exchange_over()

    def _end(self, context: Context) -> None:
        if self.accepted is not None:
            self.accepted.acknowledge()
        self.tell_ended(context)

    actions = {  # noqa: RUF012
        SessionAction.SEND_PROVISIONAL: _send_provisional,
        SessionAction.SEND_SUCCESS: _send_success,
        SessionAction.SEND_FAILURE: _send_failure,
        SessionAction.SEND_TERMINATED: _send_terminated,
        SessionAction.SEND_BYE: InviteSession.send_bye,
        SessionAction.ANSWER_BYE: InviteSession.answer_bye,
        SessionAction.TELL_ESTABLISHED: _tell_established,
        SessionAction.TELL_ENDED: _end,
    }

    # ---- received messages and timers

    def exchange_over(self) -> None:
        if self._deferred is not None and not self._must_wait:
            body, self._deferred = self._deferred, None
            self.step(SessionInput.ACCEPT, Context(body=body))
        super().exchange_over()

    def on_ack(self, ack: Request, dialog: Dialog) -> None:
        accepted = self.accepted
        if accepted is None or ack.cseq.number != accepted.cseq:
            super().on_ack(ack, dialog)
        elif accepted.is_pending:
            self._acknowledged(accepted, description_or_nothing(ack))

    def acknowledged(self) -> None:
        assert self.accepted is not None
        self._acknowledged(self.accepted, b"")

    def _acknowledged(self, accepted: AcceptedInvite, body: bytes) -> None:
        accepted.acknowledge()
        self._on_first_ack(body)
        # A process resuming from the values saved before a plain ACK repeats the 2xx and gets another ACK.
        if body:
            self.changed()

    def _on_first_ack(self, body: bytes) -> None:
        meaning = self.modification.table.received(Carrier.ACK, bool(body))
        if meaning is Meaning.MISSING:
            # RFC 3261 13.2.1: the answer is mandatory; without an answer no session exists.
            self.step(SessionInput.ACKNOWLEDGED, Context())
            self.step(SessionInput.LOST, Context(ended=Ended("error", 400, text="No answer in the ACK")))
            return
        if meaning is Meaning.ANSWER:
            self.commit(self._counter, body, answers=False)
        self.step(SessionInput.ACKNOWLEDGED, Context(body=body if meaning is Meaning.ANSWER else b""))

    def on_trying(self) -> None:
        """Run the `noticed` callback before a 100 leaves."""
        self.noticed()

    def emit_last(self, event: SessionEvent) -> None:
        super().emit_last(event)
        self.noticed = no_matter

    def on_flow_lost(self, flow: Flow) -> None:
        self._is_cut_off = self._is_cut_off or same_way(self._transaction.source, flow)
        super().on_flow_lost(flow)

    def on_cancel(self, transaction: Transaction, cancel: Request) -> None:
        if transaction is self._transaction:
            self.step(SessionInput.CANCELLED, Context(ended=Ended.by_peer(cancel)))
        else:
            super().on_cancel(transaction, cancel)

    def on_failed(self, transaction: Transaction, reason: Reason) -> None:
        """Handle a transport failure before the final response; a missing ACK after a failure changes nothing."""
        is_unanswered = self.machine.state is SessionState.INCOMING
        if transaction is self._transaction and reason is Reason.TRANSPORT_ERROR and is_unanswered:
            self.step(SessionInput.LOST, Context(status=480, ended=Ended("timeout", 480, text="Connection lost")))

    def on_prack(self, request: ServerRequest, dialog: Dialog) -> None:
        reliable = self._reliable
        if reliable is None or not reliable.is_acknowledged_by(request.request):
            request.respond(481)
            return
        body = description_of(request.request)
        if body and self.modification.table.state.by is not Carrier.RELIABLE:
            self.modification.on_offer(request, Carrier.PRACK)
        else:
            self._take_answer(self.modification.table.received(Carrier.PRACK, bool(body)), body)
            request.respond(200)
        reliable.acknowledge()
        self.exchange_over()

    def _take_answer(self, meaning: Meaning, body: bytes) -> None:
        if meaning is Meaning.ANSWER:
            self.commit(self._counter, body, answers=False)
            self.emit(OfferAnswered(FIRST, 200, body))

    def _no_prack(self) -> None:
        self.step(SessionInput.LOST, Context(status=504, ended=Ended("timeout", 504, text="No PRACK")))

    def _rang_too_long(self) -> None:
        self.step(SessionInput.LOST, Context(status=480, ended=Ended("timeout", 480, text="Rang too long")))

    def _not_acknowledged(self) -> None:
        self.step(SessionInput.NOT_ACKNOWLEDGED, Context(ended=Ended("timeout", 408, text="No ACK")))

    def _stop_ringing(self) -> None:
        for alarm in (self._ringing, self._give_up):
            if alarm is not None:
                alarm.cancel()
        if self._reliable is not None:
            self._reliable.stop()


def is_behind_nat(request: Request, dialog: Dialog, source: str, core: Core) -> bool:
    """Return True if a direct caller's Contact holds another IP address than its source."""
    host = dialog.remote_target.host
    return core.config.symmetric and len(request.via) == 1 and is_ip_address(host) and host.strip("[]") != source
