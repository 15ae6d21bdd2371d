"""Changing a running session: re-INVITE and UPDATE in both directions (RFC 3261 section 14, RFC 3311)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gateway.sip.alarms import Alarm
from gateway.sip.errors import DialogError
from gateway.sip.invite.events import OfferAnswered, OfferCancelled, Offered
from gateway.sip.invite.offer_answer import overlap_delay
from gateway.sip.invite.reinvite import Reinvite, ReinviteAction, ReinviteInput
from gateway.sip.invite.success import Success
from gateway.sip.message import build
from gateway.sip.message.message import Request, Response
from gateway.sip.requests.bodies import SDP, description_of, description_or_nothing
from gateway.sip.requests.client import ClientRequest
from gateway.sip.transactions import Transaction

if TYPE_CHECKING:
    from gateway.sip.invite.session import InviteSession

logger = logging.getLogger(__name__)


class Reoffers:
    """One session's offers after the first: ours one at a time, the peer's one at a time, never crossing."""

    def __init__(self, session: InviteSession) -> None:
        self._session = session
        self._core = session.core
        self._machine: Reinvite | None = None
        self._wanted = b""
        self._is_refresh = False
        self._alarm: Alarm | None = None
        self._request: ClientRequest | None = None
        self._ack: tuple[Transaction, bytes] | None = None
        self._incoming: Transaction | None = None
        self._success: Success | None = None
        self._exchanges = 1
        self._ours = self._theirs = 0

    def _number(self) -> int:
        self._exchanges += 1
        return self._exchanges

    def _step(self, what: ReinviteInput) -> tuple[ReinviteAction, ...]:
        if self._machine is None:
            dialog = self._session.dialog
            self._machine = Reinvite(owns_call_id=dialog is not None and dialog.is_initiator)
        return self._machine.step(what, self._core.now(), self._core.random())

    def stop(self) -> None:
        """The session is over: nothing waits any more, a re-INVITE not answered yet gets 487 (15.1.2)."""
        if self._alarm is not None:
            self._alarm.cancel()
        if self._success is not None:
            self._success.acknowledge()
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            self._session.respond(incoming, 487)

    # ---- ours

    def want(self, body: bytes) -> int:
        """Offer `body` as soon as nothing else is under way."""
        self._ours = self._number()
        if self._session.dialog is None or self._session.is_over:
            logger.info("re-offer outside a dialog is not sent")
            self._session.emit(OfferAnswered(self._ours, 481))
            return self._ours
        self._wanted = body
        self._is_refresh = False
        self._run(self._step(ReinviteInput.WANTED), None)
        return self._ours

    def refresh(self) -> None:
        """Keep the session alive (RFC 4028 section 7.4): UPDATE where the peer takes it, else re-INVITE."""
        session = self._session
        if "UPDATE" in session.peer_allows:
            session.send_in_dialog("UPDATE", self._refreshed, headers=self._timer_fields())
            return
        self._is_refresh = True
        self._wanted = session.local_body
        self._run(self._step(ReinviteInput.WANTED), None)

    def _refreshed(self, response: Response) -> None:
        if response.is_success:
            self._session.timer.accepted(response, self._core.now())
            self._session.arm_timer()
        elif response.status in (408, 481):
            self._session.lost(response.status)

    def _timer_fields(self) -> build.Fields:
        return tuple(self._session.timer.request_headers())

    def _run(self, actions: tuple[ReinviteAction, ...], response: Response | None) -> None:
        for action in actions:
            if action is ReinviteAction.SEND:
                self._send()
            elif action is ReinviteAction.BACK_OFF:
                assert self._machine is not None
                assert self._machine.deadline is not None
                self._alarm = self._core.at(self._machine.deadline, self._waited)
            elif action is ReinviteAction.TELL_CHANGED:
                assert response is not None
                self._tell(response.status, description_or_nothing(response))
            elif action is ReinviteAction.TELL_UNCHANGED:
                self._tell(response.status if response is not None else 500, None)
            elif action is ReinviteAction.END:
                self._tell(response.status if response is not None else 408, None)
                self._session.lost(response.status if response is not None else 408)

    def _tell(self, status: int, body: bytes | None) -> None:
        if not self._is_refresh:
            self._session.emit(OfferAnswered(self._ours, status, body))

    def _waited(self) -> None:
        self._run(self._step(ReinviteInput.TIMER), None)

    def _send(self) -> None:
        session = self._session
        method = "INVITE" if session.is_confirmed else "UPDATE"
        self._ack = None
        try:
            self._request = session.send_in_dialog(
                method,
                self._answered,
                headers=self._timer_fields(),
                body=self._wanted,
                content_type=SDP if self._wanted else None,
            )
        except DialogError as error:
            self._run(self._step(ReinviteInput.FAILURE), Response(error.status))

    def _answered(self, response: Response) -> None:
        session = self._session
        if response.is_success:
            if response.cseq.method == "INVITE" and not self._acknowledge(response):
                return
            session.local_body = self._wanted or session.local_body
            if session.dialog is not None:
                session.dialog.refresh_target(response)
            session.timer.accepted(response, self._core.now())
            session.arm_timer()
            what = ReinviteInput.SUCCESS
        elif response.status == 491:
            what = ReinviteInput.GLARE
        elif response.status in (408, 481):
            what = ReinviteInput.GONE
        else:
            what = ReinviteInput.FAILURE
        self._run(self._step(what), response)

    def _acknowledge(self, response: Response) -> bool:
        """ACK a 2xx of our re-INVITE; False for a 2xx that came before."""
        request = self._request
        assert request is not None
        assert request.transaction is not None
        assert request.flow is not None
        if self._ack is not None and self._ack[0] is request.transaction:
            self._core.stack.send(self._ack[1], request.flow)
            return False
        dialog = self._session.dialog
        assert dialog is not None
        ack = dialog.ack(response.cseq.number, headers=request.credentials)
        self._ack = (request.transaction, self._core.stack.send_ack(ack, request.flow))
        return True

    # ---- the peer's

    def on_reinvite(self, transaction: Transaction, request: Request) -> None:
        """A re-INVITE came."""
        session = self._session
        if session.is_over:
            # Nobody is left to ask; the dialog only waits for the answer to its BYE (RFC 3261 15.1.2).
            session.respond(transaction, 481)
            return
        if not session.is_confirmed:
            # The first INVITE is not settled yet (RFC 3261 14.2).
            status = 491 if session.role == "uac" else 500
            session.respond(transaction, status, headers=self._overlap() if status == 500 else ())
            return
        self._offered(transaction, request)

    def on_update(self, transaction: Transaction, request: Request) -> None:
        """An UPDATE came; without a body it only refreshes the session."""
        session = self._session
        if session.is_over:
            session.respond(transaction, 481)
            return
        if request.body:
            self._offered(transaction, request)
            return
        session.timer.check(request)
        fields = session.timer.accept(request, self._core.now())
        session.arm_timer()
        self._settle_target(request)
        session.respond(transaction, 200, headers=(*self._contact(), *fields))

    def _offered(self, transaction: Transaction, request: Request) -> None:
        session = self._session
        session.timer.check(request)
        offer = description_of(request)
        actions = self._step(ReinviteInput.RECEIVED)
        if ReinviteAction.ASK_USER in actions:
            self._incoming = transaction
            self._theirs = self._number()
            session.emit(Offered(self._theirs, offer))
        elif ReinviteAction.REFUSE_OVERLAP in actions:
            session.respond(transaction, 500, headers=self._overlap())
        else:
            session.respond(transaction, 491)

    def _overlap(self) -> build.Fields:
        return (("Retry-After", overlap_delay(self._core.random())),)

    def _contact(self) -> build.Fields:
        dialog = self._session.dialog
        return (("Contact", dialog.contact),) if dialog is not None and dialog.contact is not None else ()

    def _settle_target(self, request: Request) -> None:
        if self._session.dialog is not None:
            self._session.dialog.refresh_target(request)

    def accept(self, exchange: int, body: bytes) -> None:
        """Answer the peer's offer, or make ours where it asked for one."""
        if exchange != self._theirs:
            logger.info("answer to an offer that is not open")
            return
        transaction, self._incoming = self._incoming, None
        if transaction is None:
            logger.info("no re-offer waits for an answer")
            return
        session = self._session
        request: Request = transaction.request
        fields = session.timer.accept(request, self._core.now())
        session.arm_timer()
        self._settle_target(request)
        session.local_body = body or session.local_body
        response = build.response(
            request,
            200,
            headers=(*self._contact(), *self._core.capabilities(), *fields, *self._core.server_fields()),
            body=body,
            content_type=SDP if body else None,
        )
        if request.method == "UPDATE":
            self._core.stack.respond(transaction, response, self._core.now())
            self._run(self._step(ReinviteInput.SETTLED), None)
        else:
            self._success = Success(self._core, transaction, response, self._unacknowledged)

    def reject(self, exchange: int, status: int) -> None:
        """Refuse the peer's offer with a 300-699."""
        if exchange != self._theirs:
            logger.info("refusal of an offer that is not open")
            return
        transaction, self._incoming = self._incoming, None
        if transaction is None:
            logger.info("no re-offer waits for an answer")
            return
        self._session.respond(transaction, status)
        self._run(self._step(ReinviteInput.SETTLED), None)

    def on_ack(self, ack: Request) -> None:
        """The ACK of our 2xx to a re-INVITE; its body answers an offer of ours."""
        success = self._success
        if success is None or not success.pending or ack.cseq.number != success.cseq:
            return
        success.acknowledge()
        request: Request = success.request
        if not request.body:
            self._session.emit(OfferAnswered(self._theirs, 200, description_or_nothing(ack) or None))
        self._run(self._step(ReinviteInput.SETTLED), None)

    def on_cancel(self, transaction: Transaction) -> None:
        """The peer gave its re-INVITE up."""
        if transaction is self._incoming:
            self.reject(self._theirs, 487)
            self._session.emit(OfferCancelled(self._theirs))

    def _unacknowledged(self) -> None:
        self._session.lost(408)
