"""Events from the transaction layer to its user."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.sip.flow import Flow
from gateway.sip.message.message import Request, Response
from gateway.sip.transactions import Reason, Transaction


@dataclass(frozen=True, slots=True)
class RequestReceived:
    """A new request, never ACK or CANCEL; answer by `Stack.respond` or `Stack.refuse`."""

    transaction: Transaction
    request: Request
    source: Flow


@dataclass(frozen=True, slots=True)
class CancelReceived:
    """The client cancelled the INVITE of `transaction` (the CANCEL has been answered 200)."""

    transaction: Transaction
    request: Request


@dataclass(frozen=True, slots=True)
class AckReceived:
    """An ACK arrived that belongs to no failure response: of a 2xx, or stray."""

    request: Request
    source: Flow


@dataclass(frozen=True, slots=True)
class ResponseReceived:
    """A response to our request arrived; retransmissions are absorbed, except of a 2xx to INVITE."""

    transaction: Transaction
    response: Response
    source: Flow


@dataclass(frozen=True, slots=True)
class StrayResponse:
    """A 2xx to an INVITE without transaction arrived (a very late fork)."""

    response: Response
    source: Flow


@dataclass(frozen=True, slots=True)
class TransactionFailed:
    """No response (client), no ACK (server), or a transport failure."""

    transaction: Transaction
    reason: Reason


@dataclass(frozen=True, slots=True)
class TryingSent:
    """A 100 to an INVITE is about to leave, as the transaction user has not answered yet."""

    transaction: Transaction


StackEvent = (
    RequestReceived | CancelReceived | AckReceived | ResponseReceived | StrayResponse | TransactionFailed | TryingSent
)
