"""The four media directions (RFC 8866 section 6.7) and their algebra (RFC 3264 section 6.1)."""

from __future__ import annotations

from enum import StrEnum


class Direction(StrEnum):
    """Which way media flows, seen from the side that wrote the description."""

    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"

    @property
    def sends(self) -> bool:
        """Whether the writer sends."""
        return self in (Direction.SENDRECV, Direction.SENDONLY)

    @property
    def receives(self) -> bool:
        """Whether the writer receives."""
        return self in (Direction.SENDRECV, Direction.RECVONLY)

    @classmethod
    def of(cls, sends: bool, receives: bool) -> Direction:
        """The direction of a writer that sends and receives as told."""
        if sends:
            return cls.SENDRECV if receives else cls.SENDONLY
        return cls.RECVONLY if receives else cls.INACTIVE

    def reversed(self) -> Direction:
        """The same flow seen from the other side."""
        return Direction.of(self.receives, self.sends)

    def limited_to(self, other: Direction) -> Direction:
        """What both this and `other`, seen from the same side, allow."""
        return Direction.of(self.sends and other.sends, self.receives and other.receives)
