"""What the stack and the core ask about where messages come from."""

from __future__ import annotations

from typing import Protocol

from gateway.sip.flow import WEBSOCKET, Flow
from gateway.sip.message.message import Response
from gateway.sip.transactions.machine import Transaction


class Peers(Protocol):
    """Who is at an address, as far as the application knows."""

    def may_answer(self, source: Flow, status: int) -> bool:
        """Whether a refusal of that status goes to a source that has proved nothing; silence is no answer."""

    def are_one(self, source: Flow, other: Flow) -> bool:
        """Whether two addresses are of one peer, so that one may answer what was asked at the other."""

    def speaks_for(self, identity: str, source: Flow) -> bool:
        """Whether what comes from there needs no more proof to be of that identity."""


class Strangers:
    """Peers of whom nothing is known but where they are."""

    def may_answer(self, source: Flow, status: int) -> bool:
        """Always."""
        return True

    def are_one(self, source: Flow, other: Flow) -> bool:
        """Never."""
        return False

    def speaks_for(self, identity: str, source: Flow) -> bool:
        """Never."""
        return False


def answers(response: Response, source: Flow, transaction: Transaction, peers: Peers) -> bool:
    """Whether a response with the right branch is really about our request (RFC 3261 8.2.6.2), and from whom we asked.

    It comes from the IP address that was asked, over WebSocket by that connection, or from another address of the
    same trunk.
    """
    request, asked = transaction.request, transaction.flow
    if (
        response.call_id != request.call_id
        or response.cseq.number != request.cseq.number
        or response.from_tag != request.from_tag
    ):
        return False
    if asked.transport in WEBSOCKET:
        # What we have dialled ourselves is asked by no connection of a name, but that one's far end is who was asked.
        same = source.local == asked.local if asked.local else source.host == asked.host and source.port == asked.port
        return source.transport in WEBSOCKET and same
    return source.host == asked.host or peers.are_one(source, asked)
