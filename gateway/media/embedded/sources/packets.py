"""What sources and converters give back: packets for the plane, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gateway.media.embedded.plane.values import MediaPacket


@dataclass(frozen=True, slots=True)
class Injected:
    """A packet for an outgoing stream, after all others."""

    payload_type: int
    payload: bytes
    advance: int | None
    """Ticks of the outgoing clock after the last packet, of an event after its start; None: by the wall clock."""
    marker: bool = False
    event: bool = False
    """True for a packet of a telephone-event (RFC 4733), within which `advance` is 0."""


class PacketHandler(Protocol):
    """Takes the packets of one payload type that are not simply forwarded."""

    def handle(self, packet: MediaPacket, now: float) -> tuple[Injected, ...]:
        """One admitted packet; what goes to the listener for it."""


Packets = tuple[Injected, ...]
NOTHING: Packets = ()
