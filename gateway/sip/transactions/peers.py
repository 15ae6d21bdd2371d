"""Knowledge about the sources of messages, for the stack and the core."""

from __future__ import annotations

from typing import Protocol

from gateway.sip.flow import WEBSOCKET, Flow
from gateway.sip.message.message import Response
from gateway.sip.transactions.machine import Transaction


class Peers(Protocol):
    """Peers behind addresses, as known to the application."""

    def may_answer(self, source: Flow, status: int) -> bool:
        """Return True if a rejection with `status` may go to an unproven source; otherwise the stack stays silent."""

    def are_one(self, source: Flow, other: Flow) -> bool:
        """Return True if two addresses belong to one peer, so that either may respond for both."""

    def speaks_for(self, identity: str, source: Flow) -> bool:
        """Return True if the address of `source` alone authenticates `identity`."""


class Strangers:
    """Default without knowledge about peers."""

    def may_answer(self, source: Flow, status: int) -> bool:
        """Answer every source."""
        return True

    def are_one(self, source: Flow, other: Flow) -> bool:
        """Treat all addresses as different peers."""
        return False

    def speaks_for(self, identity: str, source: Flow) -> bool:
        """Require authentication from every source."""
        return False


def answers(response: Response, source: Flow, transaction: Transaction, peers: Peers) -> bool:
    """Return True if a response with a known branch belongs to our request (RFC 3261 8.2.6.2) and comes from its peer.

    The source must be the destination's IP address, for WebSocket the connection, or another address of the trunk.
    """
    request, asked = transaction.request, transaction.flow
    if (
        response.call_id != request.call_id
        or response.cseq.number != request.cseq.number
        or response.from_tag != request.from_tag
    ):
        return False
    if asked.transport in WEBSOCKET:
        # A WebSocket connection opened by us has no name in the flow: its far end identifies the peer.
        same = source.local == asked.local if asked.local else source.host == asked.host and source.port == asked.port
        return source.transport in WEBSOCKET and same
    return source.host == asked.host or peers.are_one(source, asked)
