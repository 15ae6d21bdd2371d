"""INVITE client transaction: RFC 3261 section 17.1.1 (figure 5) with the Accepted state of RFC 6026."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from gateway.sip.transactions.machine import Input, State, Table, Timers, Transaction, TransactionLayer


class Action(Enum):
    """Actions of the table."""

    __hash__ = object.__hash__  # identity hash: Enum's own costs a Python call at each table look-up

    SEND_INVITE = auto()
    RESEND_INVITE = auto()
    START_AB = auto()
    STOP_AB = auto()
    SEND_ACK = auto()
    RESEND_ACK = auto()
    START_D = auto()
    START_B = auto()
    START_M = auto()
    SEND_CANCEL = auto()
    DELIVER = auto()
    REPORT_TIMEOUT = auto()
    REPORT_TRANSPORT_ERROR = auto()


_FAILED = ((Action.STOP_AB, Action.SEND_ACK, Action.START_D, Action.DELIVER), State.COMPLETED)
_ACCEPTED = ((Action.STOP_AB, Action.START_M, Action.DELIVER), State.ACCEPTED)
_GIVEN_UP = ((Action.STOP_AB, Action.REPORT_TIMEOUT, Action.START_B), State.TIMED_OUT)
_REFUSED_LATE = ((Action.STOP_AB, Action.SEND_ACK, Action.START_D), State.COMPLETED)
_BROKEN = ((Action.REPORT_TRANSPORT_ERROR,), State.TERMINATED)

TABLE: Table[Action] = {
    (State.CALLING, Input.START): ((Action.SEND_INVITE, Action.START_AB), State.CALLING),
    (State.CALLING, Input.TIMER_A): ((Action.RESEND_INVITE,), State.CALLING),
    (State.CALLING, Input.TIMER_B): _GIVEN_UP,
    (State.CALLING, Input.TRANSPORT_ERROR): _BROKEN,
    (State.CALLING, Input.PROVISIONAL): ((Action.STOP_AB, Action.DELIVER), State.PROCEEDING),
    (State.CALLING, Input.SUCCESS): _ACCEPTED,
    (State.CALLING, Input.FAILURE): _FAILED,
    (State.PROCEEDING, Input.PROVISIONAL): ((Action.DELIVER,), State.PROCEEDING),
    (State.PROCEEDING, Input.SUCCESS): _ACCEPTED,
    (State.PROCEEDING, Input.FAILURE): _FAILED,
    (State.PROCEEDING, Input.TRANSPORT_ERROR): _BROKEN,
    # Armed by the CANCEL (section 9.1).
    (State.PROCEEDING, Input.TIMER_B): _GIVEN_UP,
    # A peer reached late may still ring or answer after the timeout: ringing is cancelled (which rearms timer B), and a
    # 2xx is ended by the transaction user.
    (State.TIMED_OUT, Input.PROVISIONAL): ((Action.SEND_CANCEL,), State.CANCELLED),
    **{
        (state, what): row
        for state in (State.TIMED_OUT, State.CANCELLED)
        for what, row in (
            (Input.SUCCESS, _ACCEPTED),
            (Input.FAILURE, _REFUSED_LATE),
            (Input.TIMER_B, ((), State.TERMINATED)),
        )
    },
    # Branch of a fork that answered before the CANCEL arrived: RFC 3261 16.7 forwards every 2xx.
    (State.COMPLETED, Input.SUCCESS): ((Action.DELIVER,), State.COMPLETED),
    (State.COMPLETED, Input.FAILURE): ((Action.RESEND_ACK,), State.COMPLETED),
    (State.COMPLETED, Input.TRANSPORT_ERROR): _BROKEN,
    (State.COMPLETED, Input.TIMER_D): ((), State.TERMINATED),
    (State.ACCEPTED, Input.SUCCESS): ((Action.DELIVER,), State.ACCEPTED),
    (State.ACCEPTED, Input.TIMER_M): ((), State.TERMINATED),
}


class InviteClientTransaction(Transaction):
    """Retransmits an INVITE until a response, acknowledges a failure, delivers every 2xx; cancels late ringing.

    `acknowledge` builds the ACK (bytes) of a non-2xx final response (section 17.1.1.3).
    """

    __slots__ = ("acknowledge",)

    table = TABLE
    initial = State.CALLING

    def __init__(
        self,
        layer: TransactionLayer,
        timers: Timers,
        *,
        reliable: bool,
        key: object,
        flow: Any,
        invite: bytes,
        acknowledge: Callable[[Any], bytes],
    ) -> None:
        super().__init__(layer, timers, reliable=reliable, key=key, flow=flow)
        self.last = invite
        self.acknowledge = acknowledge

    def _resend_invite(self, _message: Any) -> None:
        self.resend()
        self.interval *= 2
        self.start_timer(Input.TIMER_A, self.interval)

    def _start_ab(self, _message: Any) -> None:
        if not self.reliable:
            self.start_timer(Input.TIMER_A, self.interval)
        self._start_b(None)

    def _start_b(self, _message: Any) -> None:
        self.start_timer(Input.TIMER_B, self.timers.timeout)

    def _stop_ab(self, _message: Any) -> None:
        self.stop_timers(Input.TIMER_A, Input.TIMER_B)

    def _send_ack(self, response: Any) -> None:
        self.last = self.acknowledge(response)
        self.resend()

    def _start_d(self, _message: Any) -> None:
        self.start_timer(Input.TIMER_D, 0.0 if self.reliable else self.timers.wait_d)

    def _start_m(self, _message: Any) -> None:
        self.start_timer(Input.TIMER_M, self.timers.timeout)

    def _send_cancel(self, _message: Any) -> None:
        self.layer.send_cancel(self, (), self.now)

    actions = {  # noqa: RUF012
        Action.SEND_INVITE: Transaction.resend,
        Action.RESEND_INVITE: _resend_invite,
        Action.START_AB: _start_ab,
        Action.STOP_AB: _stop_ab,
        Action.SEND_ACK: _send_ack,
        Action.RESEND_ACK: Transaction.resend,
        Action.START_D: _start_d,
        Action.START_B: _start_b,
        Action.START_M: _start_m,
        Action.SEND_CANCEL: _send_cancel,
        Action.DELIVER: Transaction.deliver,
        Action.REPORT_TIMEOUT: Transaction.report_timeout,
        Action.REPORT_TRANSPORT_ERROR: Transaction.report_transport_error,
    }
