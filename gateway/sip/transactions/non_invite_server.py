"""Non-INVITE server transaction: RFC 3261 section 17.2.2 (figure 8)."""

from __future__ import annotations

from enum import Enum, auto
from typing import Any

from gateway.sip.transactions.machine import Input, State, Table, Transaction


class Action(Enum):
    """Actions of the table."""

    __hash__ = object.__hash__  # identity hash: Enum's own costs a Python call at each table look-up

    SEND_RESPONSE = auto()
    RESEND = auto()
    START_J = auto()
    REPORT_TRANSPORT_ERROR = auto()


_FINAL = ((Action.SEND_RESPONSE, Action.START_J), State.COMPLETED)
_BROKEN = ((Action.REPORT_TRANSPORT_ERROR,), State.TERMINATED)

TABLE: Table[Action] = {
    (State.TRYING, Input.START): ((), State.TRYING),
    (State.TRYING, Input.REQUEST): ((), State.TRYING),
    (State.TRYING, Input.PROVISIONAL): ((Action.SEND_RESPONSE,), State.PROCEEDING),
    (State.TRYING, Input.SUCCESS): _FINAL,
    (State.TRYING, Input.FAILURE): _FINAL,
    (State.PROCEEDING, Input.REQUEST): ((Action.RESEND,), State.PROCEEDING),
    (State.PROCEEDING, Input.PROVISIONAL): ((Action.SEND_RESPONSE,), State.PROCEEDING),
    (State.PROCEEDING, Input.SUCCESS): _FINAL,
    (State.PROCEEDING, Input.FAILURE): _FINAL,
    (State.PROCEEDING, Input.TRANSPORT_ERROR): _BROKEN,
    (State.COMPLETED, Input.REQUEST): ((Action.RESEND,), State.COMPLETED),
    (State.COMPLETED, Input.SUCCESS): ((), State.COMPLETED),
    (State.COMPLETED, Input.FAILURE): ((), State.COMPLETED),
    (State.COMPLETED, Input.TIMER_J): ((), State.TERMINATED),
    (State.COMPLETED, Input.TRANSPORT_ERROR): _BROKEN,
}


class NonInviteServerTransaction(Transaction):
    """Answers a request and its retransmissions; pass responses to `step` as bytes."""

    __slots__ = ()

    table = TABLE
    initial = State.TRYING

    def _send_response(self, response: bytes) -> None:
        self.last = response
        self.resend()

    def _start_j(self, _message: Any) -> None:
        self.start_timer(Input.TIMER_J, 0.0 if self.reliable else self.timers.timeout)

    actions = {  # noqa: RUF012
        Action.SEND_RESPONSE: _send_response,
        Action.RESEND: Transaction.resend,
        Action.START_J: _start_j,
        Action.REPORT_TRANSPORT_ERROR: Transaction.report_transport_error,
    }
