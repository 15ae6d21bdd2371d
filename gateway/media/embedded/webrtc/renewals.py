"""DTLS handshakes that begin again beside keys which are in use."""

from __future__ import annotations

import logging

from gateway.media.embedded.plane.values import Address
from gateway.media.embedded.webrtc.dtls import DtlsAssociation, DtlsState

MOST_FAILED = 4
"""Handshakes that may fail until descriptions are exchanged again."""
logger = logging.getLogger("gateway.media")


class Renewals:
    """Handshakes of one phone, one for each address that it may be at. The keys in use serve until one is done."""

    def __init__(self) -> None:
        self.handshakes: dict[Address, DtlsAssociation] = {}
        self._until = 0.0
        self._failed = 0

    def may_begin(self, peer: Address) -> bool:
        """Tell whether a ClientHello of this address begins another one."""
        return peer not in self.handshakes and self._failed < MOST_FAILED

    def begin(self, peer: Address, association: DtlsAssociation, until: float) -> None:
        """Add a handshake; all are given up at the monotonic time `until`."""
        self.handshakes[peer] = association
        self._until = until

    def receive(self, source: Address, data: bytes, now: float) -> None:
        """Take one datagram, of whoever it is."""
        if source in self.handshakes:
            self.handshakes[source].receive(data, now)

    def settle(self) -> tuple[Address, DtlsAssociation] | None:
        """Return the handshake that is done, with its address, and forget the others; drop those that failed."""
        for peer, association in list(self.handshakes.items()):
            if association.state is DtlsState.CONNECTED:
                del self.handshakes[peer]
                self.drop()
                return peer, association
            if association.state is not DtlsState.HANDSHAKE:
                logger.info("a phone keeps its SRTP keys, for its new DTLS handshake failed: %s", association.failure)
                self._failed += 1
                del self.handshakes[peer]
        return None

    def exchanged(self) -> None:
        """Descriptions were exchanged: failed handshakes count no more."""
        self._failed = 0

    def drop(self) -> None:
        """Give all of them up; the peer is not told."""
        for association in self.handshakes.values():
            association.close()
        self.handshakes = {}

    def deadlines(self) -> list[float | None]:
        """Times at which `handle_timer` is to be called."""
        return [self._until, *[each.deadline for each in self.handshakes.values()]] if self.handshakes else []

    def handle_timer(self, now: float) -> None:
        """Send again what was lost, or give up."""
        if now >= self._until:
            self.drop()
        for each in self.handshakes.values():
            each.handle_timer(now)
