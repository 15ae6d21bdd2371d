"""Session changes: every offer after the first, both ways (RFC 3261 14, RFC 3262 5, RFC 3311, RFC 4028 7.4).

The joint table in `offer_answer` decides legal messages and their meaning. Each change owns its request, response and
ACK, so that a late 2xx gets its own ACK.
"""

from __future__ import annotations

import logging
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from gateway.sip.dialogs.dialog import Dialog, DialogState
from gateway.sip.errors import DialogError
from gateway.sip.flow import Flow
from gateway.sip.invite.accepted import AcceptedInvite
from gateway.sip.invite.acknowledgement import Acknowledgement
from gateway.sip.invite.changes import (
    OFFER_ATTEMPTS,
    AcceptedChange,
    Crossing,
    Delay,
    LocalChange,
    Modifiable,
    Purpose,
    RemoteChange,
    Want,
    absence,
    absence_after,
    retry_delay,
)
from gateway.sip.invite.events import OfferAnswered, OfferCancelled, Offered
from gateway.sip.invite.offer_answer import (
    ACK_MISSING,
    Carrier,
    Invite,
    Meaning,
    OfferAnswer,
    overlap_delay,
)
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request, Response
from gateway.sip.requests.bodies import SDP, description_of, description_or_nothing, is_same_session
from gateway.sip.requests.server import ServerRequest
from gateway.sip.transactions import Transaction
from gateway.sip.transactions.via import same_way

logger = logging.getLogger(__name__)


_ANSWERED_BY = {
    Carrier.INVITE: (Carrier.SUCCESS, Carrier.FAILURE),
    Carrier.UPDATE: (Carrier.UPDATE_SUCCESS, Carrier.UPDATE_FAILURE),
    Carrier.PRACK: (Carrier.PRACK_SUCCESS, Carrier.PRACK_FAILURE),
}


@dataclass(slots=True, eq=False)
class Modification:
    """Exchanges of a dialog: outgoing changes run in order, the peer's as the table permits."""

    owner: weakref.ref[Modifiable]
    """Session that owns the exchanges; weakly referenced, so that no cycle waits for the garbage collector."""
    dialog: Dialog
    table: OfferAnswer = field(default_factory=OfferAnswer)
    _queue: deque[Want] = field(default_factory=deque)
    _local: LocalChange | None = None
    _remote: RemoteChange | None = None
    _accepted: AcceptedChange | None = None
    _crossing: Crossing | None = None
    _retry: Delay | None = None
    _patience: Delay | None = None
    _ack: Acknowledgement | None = None
    """ACK of our latest re-INVITE."""
    _is_stopped: bool = False
    _is_in_doubt: bool = False
    """True if the peer may lack our last answer."""

    @property
    def session(self) -> Modifiable:
        """Session that owns the exchanges."""
        session = self.owner()
        assert session is not None, "nobody else has them"
        return session

    @property
    def is_busy(self) -> bool:
        """Return True while an exchange other than the first INVITE's is open."""
        return self._local is not None or self._remote is not None

    def stop(self) -> None:
        """End all exchanges with the dialog: report 481 for waiting changes, reject open requests (RFC 3261 15.1.2)."""
        self._is_stopped = True
        self._stop_retry()
        self._stop_patience()
        if self._accepted is not None:
            self._accepted.accepted.acknowledge()
        crossing, remote = self._stop_crossing(), self._remote
        self._remote = None
        for change in (crossing, remote):
            if change is not None:
                change.request.respond(487 if change.carrier is Carrier.INVITE else 481)
        local, self._local = self._local, None
        if local is not None:
            local.give_up(self.session)
            self._tell(local.want, 481)
        while self._queue:
            self._tell(self._queue.popleft(), 481)

    def hand_over(self, other: Modification) -> None:
        """Move waiting changes to another dialog of the INVITE, which has won the call, and stop."""
        other._queue.extend(self._queue)
        self._queue.clear()
        self.stop()

    # ---- outgoing changes

    def want(self, purpose: Purpose, body: bytes = b"", told: Callable[[int], None] | None = None) -> int:
        """Queue a change and return its number; `told` is called with the final status of a refresh."""
        want = Want(self.session.exchange_number(), purpose, body, told=told)
        self._queue.append(want)
        self.advance()
        return want.number

    def take_back(self, number: int) -> bool:
        """Withdraw a queued change; return False if already sent or answered."""
        want = next((each for each in self._queue if each.number == number), None)
        if want is None:
            return False
        if self._queue[0] is want:
            self._stop_retry()
        self._queue.remove(want)
        self.advance()
        return True

    def refresh(self) -> None:
        """Refresh the session (RFC 4028 7.4); a pending change serves as refresh if successful."""
        if self._local is not None or self._queue:
            self._postpone()
        else:
            self.want(Purpose.REFRESH)

    def identify(self, local: NameAddr | None, headers: build.Fields) -> None:
        """Send the peer our new identity, in From if `local` is given; replaces a waiting identity."""
        waiting = [want for want in self._queue if want.purpose is not Purpose.IDENTIFY]
        self._queue.clear()
        self._queue.extend(waiting)
        number = self.session.exchange_number()
        self._queue.append(Want(number, Purpose.IDENTIFY, headers=headers, local=local))
        self.advance()

    def advance(self) -> None:
        """Process a crossed request of the peer, then send the next waiting change if allowed."""
        self._take_crossing()
        if self._is_stopped or self._local is not None or self._retry is not None or not self._queue:
            return
        if self.dialog.state is DialogState.TERMINATED:
            # The INVITE is being retried: the next dialog inherits the waiting changes.
            return
        want = self._queue[0]
        if (method := self._method_for(want)) is None:
            return
        self._retry = absence(self.session, self.dialog, want, self._waited)
        if self._retry is None:
            self._send(self._queue.popleft(), method)

    def _method_for(self, want: Want) -> str | None:
        session, takes_update = self.session, "UPDATE" in self.session.peer_allows
        if session.is_confirmed:
            if want.repeats and takes_update:
                return "UPDATE"
            has_offer = want.purpose is Purpose.OFFER or (want.repeats and bool(session.local_body))
            return "INVITE" if self.table.may_send(Carrier.INVITE, has_offer) else None
        is_early = session.may_update and self.table.state.invite in (Invite.LOCAL, Invite.REMOTE)
        if want.purpose is Purpose.OFFER and takes_update and is_early and self.table.may_send(Carrier.UPDATE, True):
            return "UPDATE"
        return None

    def _send(self, want: Want, method: str) -> None:
        session = self.session
        body = want.body
        if want.repeats and method == "INVITE":
            body = session.local_body
        if want.local is not None:
            self.dialog.local = want.local
        want.attempts += 1
        change = self._local = LocalChange(want, method, body)
        if change.is_exchange:
            self.table.sent(Carrier.INVITE if method == "INVITE" else Carrier.UPDATE, bool(body))
        change.client = session.send_in_dialog(
            method,
            self.dialog,
            partial(self._on_final, change),
            headers=(*want.headers, *(session.timer.request_headers() if session.is_confirmed else ())),
            body=body,
            content_type=SDP if body else None,
        )

    def _on_final(self, change: LocalChange, response: Response) -> None:
        """Process a final response to the change's own request; a re-INVITE may get several 2xx."""
        if change.is_answered or self._is_stopped:
            if response.is_success and change.method == "INVITE":
                self._acknowledge_again(change, response.cseq.number)
        elif response.is_success:
            change.is_answered = True
            self._on_success(change, response)
        else:
            change.is_answered = True
            self._on_failure(change, response)

    def _acknowledge_again(self, change: LocalChange, number: int) -> None:
        if change.ack is None or change.ack.cseq != number:
            # The dialog ended before the response, or an earlier attempt gets a late 2xx.
            self._acknowledgement(change, number).send(self.session)
        else:
            change.ack.again()

    def _acknowledgement(self, change: LocalChange, number: int) -> Acknowledgement:
        assert change.client is not None
        self._ack = change.ack = Acknowledgement(self.session.core, self.dialog, change.client, number)
        return change.ack

    def _on_success(self, change: LocalChange, response: Response) -> None:
        session = self.session
        body = description_or_nothing(response)
        self.dialog.refresh_target(response)
        if session.is_confirmed:
            session.timer.accepted(response, session.core.now())
            session.arm_timer()
            session.changed()
        meaning = Meaning.NOTHING
        if change.method == "INVITE":
            meaning = self.table.received(Carrier.SUCCESS, bool(body))
            ack = self._acknowledgement(change, response.cseq.number)
            if meaning is Meaning.OFFER:
                change.offer = body
                self._await_answer(change.want.number, body)
                return
            ack.send(session)
            self.table.sent(Carrier.ACK, False)
        elif change.is_exchange:
            meaning = self.table.received(Carrier.UPDATE_SUCCESS, bool(body))
        self._local = None
        self._conclude(change, meaning, body, response.status)

    def _conclude(self, change: LocalChange, meaning: Meaning, body: bytes, status: int) -> None:
        session, want = self.session, change.want
        if meaning is Meaning.ANSWER:
            is_news = want.purpose is Purpose.OFFER or body != session.remote_body
            session.commit(change.body, body, answers=False)
            if is_news:
                session.emit(OfferAnswered(want.number, status, body))
            if want.told is not None:
                want.told(status)
        elif meaning is Meaning.MISSING and self._again(want, want.doubt()):
            return
        else:
            self._tell(want, status)
        session.exchange_over()

    def _again(self, want: Want, delay: float | None, waits: Delay | None = None) -> bool:
        """Retry after `delay` seconds or after `waits`; return False if no retry is worthwhile."""
        if waits is None and delay is not None and want.attempts < OFFER_ATTEMPTS:
            waits = self.session.core.at(self.session.core.now() + delay, self._waited, self.session)
        if waits is not None:
            self._queue.appendleft(want)
            self._retry = waits
            self._take_crossing()
        return waits is not None

    def _on_failure(self, change: LocalChange, response: Response) -> None:
        """Process a rejection: the session is unchanged and overlapping offers are retried (RFC 3261 14.1)."""
        if change.is_exchange:
            carrier = Carrier.FAILURE if change.method == "INVITE" else Carrier.UPDATE_FAILURE
            self.table.received(carrier, False)
        self._local = None
        want, status = change.want, response.status
        if status == 491 and self._crossing is not None and want.attempts < OFFER_ATTEMPTS:
            # The peer's request came first and has been held back: ours follows once the peer has none open.
            self._queue.appendleft(want)
            self.advance()
            return
        waits = absence_after(self.session, self.dialog, change, self._waited)
        if self._again(want, retry_delay(self.session, self.dialog, change, response), waits):
            return
        if want.purpose is Purpose.REFRESH:
            self._postpone(response.retry_after or 0)
        self._tell(want, status)
        if status in (408, 481):
            self.session.lost(status)
        self.session.exchange_over()

    def _waited(self) -> None:
        self._retry = None
        self.session.exchange_over()

    def _stop_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _postpone(self, delay: float = 0.0) -> None:
        self.session.timer.postpone(self.session.core.now(), delay)
        self.session.arm_timer()

    def _tell(self, want: Want, status: int) -> None:
        """Report the outcome of a change without answer; a refresh or identity change emits no event."""
        if want.told is not None:
            want.told(status)
        if not want.repeats:
            self.session.emit(OfferAnswered(want.number, status))

    # ---- changes by the peer

    def on_offer(self, request: ServerRequest, carrier: Carrier) -> None:
        """Process a re-INVITE, or an UPDATE or PRACK with an offer; raise DialogError with the status to answer.

        A request that crosses ours waits for our response: many phones never retry after 491 (RFC 3261 14.2).
        """
        try:
            self._take_offer(request, carrier)
        except DialogError as error:
            if error.status != 491 or self._local is None or not self.session.is_confirmed:
                raise
            if self._crossing is not None:
                random = self.session.core.random()
                raise DialogError(error.reason, status=500, retry_after=overlap_delay(random)) from None
            core = self.session.core
            wait = core.config.crossing_wait / (1 if self.dialog.is_initiator else 2)
            alarm = core.at(core.now() + wait, self._crossed_for_long, self.session)
            self._crossing = Crossing(request, carrier, alarm)

    def _take_crossing(self) -> None:
        if self._crossing is None or self._local is not None:
            return
        crossing = self._stop_crossing()
        assert crossing is not None
        # The crossing was the only reason for rejection, and no exchange has begun since.
        self._take_offer(crossing.request, crossing.carrier)

    def _stop_crossing(self) -> Crossing | None:
        crossing, self._crossing = self._crossing, None
        if crossing is not None:
            crossing.alarm.cancel()
        return crossing

    def _crossed_for_long(self) -> None:
        crossing = self._stop_crossing()
        assert crossing is not None, "its alarm is called off with it"
        crossing.request.respond(491)

    def _take_offer(self, request: ServerRequest, carrier: Carrier) -> None:
        session = self.session
        offer = description_of(request.request)
        if carrier is not Carrier.PRACK:
            session.timer.check(request.request)
        if carrier is Carrier.INVITE and self.table.state == ACK_MISSING:
            self._ack_lost()
        try:
            self.table.received(carrier, bool(offer))
        except DialogError as error:
            if error.status == 500:
                error.retry_after = overlap_delay(session.core.random())
            raise
        number = session.exchange_number()
        self._remote = RemoteChange(number, request, carrier, offer)
        if session.answers and offer and offer == session.remote_body:
            # A refresh of an answered offer gets the agreed answer again (RFC 4028 7.4).
            self.answer(number, session.local_body)
        else:
            # Our own agreed offer is no answer to a peer's offer, which may repeat the peer's last answer (RFC 3264 6).
            self._await_answer(number, offer)

    def flow_lost(self, flow: Flow) -> None:
        """Process the loss of a connection."""
        if self._accepted is not None:
            self._accepted.accepted.flow_lost(flow)
        if self._ack is not None:
            self._ack.flow_failed(flow)
        if self._remote is not None and same_way(self._remote.request.transaction.source, flow):
            self._remote.is_cut_off = True

    def _ack_lost(self) -> None:
        """Treat a new request as the missing ACK: the ACK was lost or is late (RFC 5407 3.1.4). Raise DialogError
        (481).

        If instead our 2xx was lost with its connection, the agreed description is offered again later.
        """
        accepted = self.session.accepted if self._accepted is None else self._accepted.accepted
        self._is_in_doubt = accepted is not None and accepted.may_be_lost
        if self._accepted is None:
            self.session.acknowledged()
            if self.session.is_over:
                raise DialogError("the call is over", status=481)
        else:
            self._accepted.accepted.acknowledge()
            self._accepted = None
            self.table.received(Carrier.ACK, False)

    def _await_answer(self, number: int, offer: bytes) -> None:
        session, core = self.session, self.session.core
        self._patience = core.at(core.now() + core.config.answer_patience, self._out_of_patience, session)
        repeats = bool(offer and session.local_body) and is_same_session(offer, session.remote_body)
        session.emit(Offered(number, offer, repeats))

    def _stop_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def answer(self, number: int, body: bytes) -> None:
        """Send the application's answer to an `Offered`, or its offer if requested; b"" rejects."""
        if not body:
            self.refuse(number, 488)
        elif self._remote is not None and self._remote.number == number:
            remote, self._remote = self._remote, None
            self._stop_patience()
            self._is_in_doubt = False
            if remote.carrier is Carrier.INVITE:
                self._accept_invite(remote, body)
            else:
                self._accept(remote, body)
            self.session.exchange_over()
        elif (change := self._asked(number)) is not None:
            self._stop_patience()
            self._local = None
            self._answer_in_ack(change, body)
            self.session.exchange_over()
        else:
            logger.info("answer to an offer that is not open")

    def _asked(self, number: int) -> LocalChange | None:
        """Return our re-INVITE with number `number` whose 2xx carries an open offer."""
        change = self._local
        is_it = change is not None and change.want.number == number and change.ack is not None
        return change if is_it else None

    def _answer_in_ack(self, change: LocalChange, body: bytes) -> None:
        assert change.ack is not None
        change.ack.send(self.session, body)
        if self.table.sent(Carrier.ACK, bool(body)) is Meaning.ANSWER:
            self.session.commit(body, change.offer, answers=True)

    def _accept_invite(self, remote: RemoteChange, body: bytes) -> None:
        session, request = self.session, remote.request
        meaning = self.table.sent(Carrier.SUCCESS, True)
        data = request.respond(
            200,
            (*session.core.capabilities(), *self._refreshed(request.request)),
            contact=self.dialog.contact,
            body=body,
            content_type=SDP,
        )
        accepted = AcceptedInvite(
            session.core, session, request.transaction.flow, request.request.cseq.number, data, self._not_acknowledged
        )
        accepted.may_be_lost = remote.is_cut_off
        self._accepted = AcceptedChange(remote.number, accepted)
        if meaning is Meaning.ANSWER:
            session.commit(body, remote.offer, answers=True)
        else:
            self._accepted.offer = body

    def _accept(self, remote: RemoteChange, body: bytes) -> None:
        request = remote.request
        self.table.sent(_ANSWERED_BY[remote.carrier][0], True)
        is_update = remote.carrier is Carrier.UPDATE
        request.respond(
            200,
            self._refreshed(request.request) if is_update else (),
            contact=self.dialog.contact if is_update else None,
            body=body,
            content_type=SDP,
        )
        self.session.commit(body, remote.offer, answers=True)

    def _refreshed(self, request: Request) -> build.Fields:
        """Process an accepted target refresh: take its Contact and session timer (RFC 6141 4, RFC 4028 9)."""
        self.dialog.refresh_target(request)
        self.dialog.remote = request.from_
        self.session.peer_says(request)
        if not self.session.is_confirmed:
            return ()
        fields = self.session.timer.accept(request, self.session.core.now())
        self.session.arm_timer()
        self.session.changed()
        return fields

    def on_refresh(self, request: ServerRequest) -> None:
        """Answer an UPDATE without offer; raise DialogError (422)."""
        self.session.timer.check(request.request)
        request.respond(200, self._refreshed(request.request), contact=self.dialog.contact)

    def refuse(self, number: int, status: int, reason_header: str | None = None) -> None:
        """Reject an `Offered`; an offer in a 2xx can be rejected only by ending the session."""
        if self._remote is not None and self._remote.number == number:
            self._refuse(status if 300 <= status < 700 else 488, reason_header)
        elif (change := self._asked(number)) is not None:
            self._stop_patience()
            self._local = None
            self._answer_in_ack(change, b"")
            self.session.lost(488)
        else:
            logger.info("refusal of an offer that is not open")

    def _refuse(self, status: int, reason_header: str | None = None) -> None:
        remote, self._remote = self._remote, None
        assert remote is not None
        self._stop_patience()
        self.table.sent(_ANSWERED_BY[remote.carrier][1], False)
        remote.request.respond(status, [("Reason", reason_header)] if reason_header else ())
        if self._is_in_doubt:
            self._is_in_doubt = False
            self.want(Purpose.OFFER, self.session.local_body)
        self.session.exchange_over()

    def _out_of_patience(self) -> None:
        """Reject an offer that the application left unanswered, so that the peer keeps the dialog (RFC 3311 5.2)."""
        self._patience = None
        if self._remote is not None:
            number = self._remote.number
            self._refuse(500)
            self.session.emit(OfferCancelled(number))
        else:
            assert self._local is not None
            self.refuse(self._local.want.number, 488)

    def on_cancel(self, transaction: Transaction) -> None:
        """Process a CANCEL of the peer's re-INVITE."""
        if self._crossing is not None and self._crossing.request.transaction is transaction:
            self._crossing.request.respond(487)
            self._stop_crossing()
        if self._remote is not None and self._remote.request.transaction is transaction:
            number = self._remote.number
            self._refuse(487)
            self.session.emit(OfferCancelled(number))

    def on_ack(self, ack: Request) -> None:
        """Process the ACK of our 2xx to a re-INVITE, with the answer to an offer in the 2xx."""
        change = self._accepted
        if change is None or not change.accepted.is_pending or ack.cseq.number != change.accepted.cseq:
            return
        self._accepted = None
        change.accepted.acknowledge()
        body = description_or_nothing(ack)
        meaning = self.table.received(Carrier.ACK, bool(body))
        if meaning is Meaning.ANSWER:
            self.session.commit(change.offer, body, answers=False)
            self.session.emit(OfferAnswered(change.number, 200, body))
        elif meaning is Meaning.MISSING:
            # The peer considers our offer answered, but sent no answer.
            self.session.emit(OfferAnswered(change.number, 400))
            self.session.lost(400)
        self.session.exchange_over()

    def _not_acknowledged(self) -> None:
        self._accepted = None
        self.session.lost(408)
