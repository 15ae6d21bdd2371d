"""State machines of the four transactions, each a figure of RFC 3261 section 17."""

from __future__ import annotations

from gateway.sip.timer_queue import TimerQueue
from gateway.sip.transactions.invite_client import InviteClientTransaction
from gateway.sip.transactions.invite_server import InviteServerTransaction
from gateway.sip.transactions.machine import (
    Input,
    Reason,
    State,
    Timers,
    Transaction,
    TransactionLayer,
    input_of_status,
)
from gateway.sip.transactions.non_invite_client import NonInviteClientTransaction
from gateway.sip.transactions.non_invite_server import NonInviteServerTransaction

__all__ = [
    "Input",
    "InviteClientTransaction",
    "InviteServerTransaction",
    "NonInviteClientTransaction",
    "NonInviteServerTransaction",
    "Reason",
    "State",
    "TimerQueue",
    "Timers",
    "Transaction",
    "TransactionLayer",
    "input_of_status",
]
