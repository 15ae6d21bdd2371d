"""Non-INVITE client transaction: RFC 3261 section 17.1.2 (figure 6)."""

from __future__ import annotations

from enum import Enum, auto
from typing import Any

from gateway.sip.transactions.machine import Input, State, Table, Timers, Transaction, TransactionLayer


class Action(Enum):
    """Actions of the table."""

    __hash__ = object.__hash__  # identity hash: Enum's own costs a Python call at each table look-up

    SEND_REQUEST = auto()
    RESEND_DOUBLING = auto()
    RESEND_AT_T2 = auto()
    START_EF = auto()
    STOP_EF = auto()
    START_K = auto()
    DELIVER = auto()
    REPORT_TIMEOUT = auto()
    REPORT_TRANSPORT_ERROR = auto()


_FINAL = ((Action.STOP_EF, Action.START_K, Action.DELIVER), State.COMPLETED)
_TIMED_OUT = ((Action.REPORT_TIMEOUT,), State.TERMINATED)
_BROKEN = ((Action.REPORT_TRANSPORT_ERROR,), State.TERMINATED)

TABLE: Table[Action] = {
    (State.TRYING, Input.START): ((Action.SEND_REQUEST, Action.START_EF), State.TRYING),
    (State.TRYING, Input.TIMER_E): ((Action.RESEND_DOUBLING,), State.TRYING),
    (State.TRYING, Input.TIMER_F): _TIMED_OUT,
    (State.TRYING, Input.TRANSPORT_ERROR): _BROKEN,
    (State.TRYING, Input.PROVISIONAL): ((Action.DELIVER,), State.PROCEEDING),
    (State.TRYING, Input.SUCCESS): _FINAL,
    (State.TRYING, Input.FAILURE): _FINAL,
    (State.PROCEEDING, Input.TIMER_E): ((Action.RESEND_AT_T2,), State.PROCEEDING),
    (State.PROCEEDING, Input.TIMER_F): _TIMED_OUT,
    (State.PROCEEDING, Input.TRANSPORT_ERROR): _BROKEN,
    (State.PROCEEDING, Input.PROVISIONAL): ((Action.DELIVER,), State.PROCEEDING),
    (State.PROCEEDING, Input.SUCCESS): _FINAL,
    (State.PROCEEDING, Input.FAILURE): _FINAL,
    (State.COMPLETED, Input.TIMER_K): ((), State.TERMINATED),
}


class NonInviteClientTransaction(Transaction):
    """Retransmits a request until a final response or 64*T1; absorbs retransmissions of the response for T4."""

    __slots__ = ()

    table = TABLE
    initial = State.TRYING

    def __init__(
        self, layer: TransactionLayer, timers: Timers, *, reliable: bool, key: object, flow: Any, request: bytes
    ) -> None:
        super().__init__(layer, timers, reliable=reliable, key=key, flow=flow)
        self.last = request

    def _resend_doubling(self, _message: Any) -> None:
        self.resend()
        self.interval = min(2 * self.interval, self.timers.t2)
        self.start_timer(Input.TIMER_E, self.interval)

    def _resend_at_t2(self, _message: Any) -> None:
        self.resend()
        self.start_timer(Input.TIMER_E, self.timers.t2)

    def _start_ef(self, _message: Any) -> None:
        if not self.reliable:
            self.start_timer(Input.TIMER_E, self.interval)
        self.start_timer(Input.TIMER_F, self.timers.timeout)

    def _stop_ef(self, _message: Any) -> None:
        self.stop_timers(Input.TIMER_E, Input.TIMER_F)

    def _start_k(self, _message: Any) -> None:
        self.start_timer(Input.TIMER_K, 0.0 if self.reliable else self.timers.t4)

    actions = {  # noqa: RUF012
        Action.SEND_REQUEST: Transaction.resend,
        Action.RESEND_DOUBLING: _resend_doubling,
        Action.RESEND_AT_T2: _resend_at_t2,
        Action.START_EF: _start_ef,
        Action.STOP_EF: _stop_ef,
        Action.START_K: _start_k,
        Action.DELIVER: Transaction.deliver,
        Action.REPORT_TIMEOUT: Transaction.report_timeout,
        Action.REPORT_TRANSPORT_ERROR: Transaction.report_transport_error,
    }
