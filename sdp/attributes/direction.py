"""Media directions (RFC 8866 section 6.7) and their algebra (RFC 3264 section 6.1)."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Direction(StrEnum):
    """Direction of media, seen from the writer of the description."""

    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"

    sends: bool
    """True if the writer sends."""
    receives: bool
    """True if the writer receives."""

    def __init__(self, value: str) -> None:
        self.sends = value in ("sendrecv", "sendonly")
        self.receives = value in ("sendrecv", "recvonly")

    @classmethod
    def of(cls, sends: bool, receives: bool) -> Direction:
        """Return the direction of a writer that sends and receives as given."""
        return _BY_FLOW[bool(sends)][bool(receives)]

    def reversed(self) -> Direction:
        """Return the direction seen from the other side."""
        return _BY_FLOW[self.receives][self.sends]

    def limited_to(self, other: Direction) -> Direction:
        """Return the direction allowed by both `self` and `other`, seen from one side."""
        return _BY_FLOW[self.sends and other.sends][self.receives and other.receives]


_BY_FLOW: Final = (
    (Direction.INACTIVE, Direction.RECVONLY),
    (Direction.SENDONLY, Direction.SENDRECV),
)
