"""The four media directions (RFC 8866 section 6.7) and their algebra (RFC 3264 section 6.1)."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Direction(StrEnum):
    """Which way media flows, seen from the side that wrote the description."""

    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"

    sends: bool
    """Whether the writer sends."""
    receives: bool
    """Whether the writer receives."""

    def __init__(self, value: str) -> None:
        self.sends = value in ("sendrecv", "sendonly")
        self.receives = value in ("sendrecv", "recvonly")

    @classmethod
    def of(cls, sends: bool, receives: bool) -> Direction:
        """The direction of a writer that sends and receives as told."""
        return _BY_FLOW[bool(sends)][bool(receives)]

    def reversed(self) -> Direction:
        """The same flow seen from the other side."""
        return _BY_FLOW[self.receives][self.sends]

    def limited_to(self, other: Direction) -> Direction:
        """What both this and `other`, seen from the same side, allow."""
        return _BY_FLOW[self.sends and other.sends][self.receives and other.receives]


_BY_FLOW: Final = (
    (Direction.INACTIVE, Direction.RECVONLY),
    (Direction.SENDONLY, Direction.SENDRECV),
)
