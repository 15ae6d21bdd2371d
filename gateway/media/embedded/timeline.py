"""Where the timestamps of our streams stand: the time alone tells, so that the next process goes on from there."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

_WRAP = 0xFFFFFFFF
LEAD = 0.0002
"""Seconds in a second that it goes ahead: a stream goes by the clock of who makes it, which 100 ppm of its own and of
ours may have brought before our time. What begins too far ahead is heard, what begins before the last packet is not."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Of all streams that one party gets, whatever carries them, each by its own RTP clock (RFC 3550 section 5.1).

    A stream of another source may begin anywhere. But there are phones (baresip) that look at timestamps alone, and
    discard for hours what seems to be before what they had. So a stream for a party begins where the one before it
    would be by now, which another process knows as well. A clock of the machine that is set back brings it back too.
    """

    offset: int
    """Random, 32 bits: where timestamps began cannot be told beforehand."""
    since: float
    """Unix seconds at which timestamps were there."""

    @classmethod
    def draw(cls, random: Random, now: float) -> Timeline:
        """One that begins at `now`, Unix seconds."""
        return cls(random.getrandbits(32), now)

    def at(self, now: float, clock_rate: int) -> int:
        """The timestamp at `now`, Unix seconds, of a clock of so many Hz."""
        return (self.offset + round((now - self.since) * (1 + LEAD) * clock_rate)) & _WRAP
