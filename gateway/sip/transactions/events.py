"""What the transaction layer tells its user."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.sip.flow import Flow
from gateway.sip.message.message import Request, Response
from gateway.sip.transactions import Reason, Transaction


@dataclass(frozen=True, slots=True)
class RequestReceived:
    """A new request; answer it with `Stack.respond` or `Stack.refuse`. Never ACK or CANCEL."""

    transaction: Transaction
    request: Request
    source: Flow


@dataclass(frozen=True, slots=True)
class CancelReceived:
    """The client gave the INVITE of `transaction` up (the CANCEL itself has been answered 200)."""

    transaction: Transaction
    request: Request


@dataclass(frozen=True, slots=True)
class AckReceived:
    """An ACK that belongs to no failure response: it acknowledges a 2xx, or nothing."""

    request: Request
    source: Flow


@dataclass(frozen=True, slots=True)
class ResponseReceived:
    """A response to a request of ours; absorbed retransmissions do not appear, except of a 2xx to INVITE."""

    transaction: Transaction
    response: Response
    source: Flow


@dataclass(frozen=True, slots=True)
class StrayResponse:
    """A 2xx to an INVITE for which no transaction is left (a very late fork)."""

    response: Response
    source: Flow


@dataclass(frozen=True, slots=True)
class TransactionFailed:
    """Nobody answered (client), no ACK came (server), or the transport failed."""

    transaction: Transaction
    reason: Reason


@dataclass(frozen=True, slots=True)
class TryingSent:
    """An INVITE is about to be answered 100, since its user has been silent."""

    transaction: Transaction


StackEvent = (
    RequestReceived | CancelReceived | AckReceived | ResponseReceived | StrayResponse | TransactionFailed | TryingSent
)
