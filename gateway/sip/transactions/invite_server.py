"""INVITE server transaction: RFC 3261 section 17.2.1 (figure 7) with the Accepted state of RFC 6026."""

from __future__ import annotations

from enum import Enum, auto
from typing import Any

from gateway.sip.transactions.machine import Input, State, Table, Transaction


class Action(Enum):
    """Actions of the table."""

    __hash__ = object.__hash__  # identity hash: Enum's own costs a Python call at each table look-up

    START_100 = auto()
    STOP_100 = auto()
    SEND_100 = auto()
    SEND_RESPONSE = auto()
    RESEND = auto()
    RESEND_DOUBLING = auto()
    START_GH = auto()
    STOP_GH = auto()
    START_I = auto()
    START_L = auto()
    DELIVER = auto()
    REPORT_TIMEOUT = auto()
    REPORT_TRANSPORT_ERROR = auto()


# RFC 6026 section 8.5: a transport error is reported but never ends an INVITE server transaction.
_REPORT = (Action.REPORT_TRANSPORT_ERROR,)

TABLE: Table[Action] = {
    (State.PROCEEDING, Input.START): ((Action.START_100,), State.PROCEEDING),
    (State.PROCEEDING, Input.TIMER_100): ((Action.SEND_100,), State.PROCEEDING),
    (State.PROCEEDING, Input.REQUEST): ((Action.RESEND,), State.PROCEEDING),
    (State.PROCEEDING, Input.PROVISIONAL): ((Action.STOP_100, Action.SEND_RESPONSE), State.PROCEEDING),
    (State.PROCEEDING, Input.SUCCESS): ((Action.STOP_100, Action.SEND_RESPONSE, Action.START_L), State.ACCEPTED),
    (State.PROCEEDING, Input.FAILURE): ((Action.STOP_100, Action.SEND_RESPONSE, Action.START_GH), State.COMPLETED),
    (State.PROCEEDING, Input.TRANSPORT_ERROR): (_REPORT, State.PROCEEDING),
    (State.COMPLETED, Input.REQUEST): ((Action.RESEND,), State.COMPLETED),
    (State.COMPLETED, Input.TIMER_G): ((Action.RESEND_DOUBLING,), State.COMPLETED),
    (State.COMPLETED, Input.TIMER_H): ((Action.REPORT_TIMEOUT,), State.TERMINATED),
    (State.COMPLETED, Input.ACK): ((Action.STOP_GH, Action.START_I), State.CONFIRMED),
    (State.COMPLETED, Input.TRANSPORT_ERROR): (_REPORT, State.COMPLETED),
    (State.CONFIRMED, Input.REQUEST): ((), State.CONFIRMED),
    (State.CONFIRMED, Input.ACK): ((), State.CONFIRMED),
    (State.CONFIRMED, Input.TIMER_I): ((), State.TERMINATED),
    (State.ACCEPTED, Input.REQUEST): ((), State.ACCEPTED),
    (State.ACCEPTED, Input.SUCCESS): ((Action.SEND_RESPONSE,), State.ACCEPTED),
    (State.ACCEPTED, Input.ACK): ((Action.DELIVER,), State.ACCEPTED),
    (State.ACCEPTED, Input.TIMER_L): ((), State.TERMINATED),
    (State.ACCEPTED, Input.TRANSPORT_ERROR): (_REPORT, State.ACCEPTED),
}


class InviteServerTransaction(Transaction):
    """Answers an INVITE and its retransmissions; pass responses to `step` as bytes.

    The layer builds the 100 response if the transaction user has not answered within `Timers.trying`.
    """

    __slots__ = ()

    table = TABLE
    initial = State.PROCEEDING
    settled = frozenset((State.ACCEPTED, State.CONFIRMED, State.TERMINATED))

    def _start_100(self, _message: Any) -> None:
        self.start_timer(Input.TIMER_100, self.timers.trying)

    def _stop_100(self, _message: Any) -> None:
        self.stop_timers(Input.TIMER_100)

    def _send_100(self, _message: Any) -> None:
        self.last = self.layer.trying(self)
        self.resend()

    def _send_response(self, response: bytes) -> None:
        self.last = response
        self.resend()

    def _resend_doubling(self, _message: Any) -> None:
        self.resend()
        self.interval = min(2 * self.interval, self.timers.t2)
        self.start_timer(Input.TIMER_G, self.interval)

    def _start_gh(self, _message: Any) -> None:
        if not self.reliable:
            self.start_timer(Input.TIMER_G, self.interval)
        self.start_timer(Input.TIMER_H, self.timers.timeout)

    def _stop_gh(self, _message: Any) -> None:
        self.stop_timers(Input.TIMER_G, Input.TIMER_H)

    def _start_i(self, _message: Any) -> None:
        self.start_timer(Input.TIMER_I, 0.0 if self.reliable else self.timers.t4)

    def _start_l(self, _message: Any) -> None:
        self.start_timer(Input.TIMER_L, self.timers.timeout)

    actions = {  # noqa: RUF012
        Action.START_100: _start_100,
        Action.STOP_100: _stop_100,
        Action.SEND_100: _send_100,
        Action.SEND_RESPONSE: _send_response,
        Action.RESEND: Transaction.resend,
        Action.RESEND_DOUBLING: _resend_doubling,
        Action.START_GH: _start_gh,
        Action.STOP_GH: _stop_gh,
        Action.START_I: _start_i,
        Action.START_L: _start_l,
        Action.DELIVER: Transaction.deliver,
        Action.REPORT_TIMEOUT: Transaction.report_timeout,
        Action.REPORT_TRANSPORT_ERROR: Transaction.report_transport_error,
    }
