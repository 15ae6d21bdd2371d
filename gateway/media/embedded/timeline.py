"""RTP timestamps of our streams as a function of time, so that a later process continues them."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

_WRAP = 0xFFFFFFFF
LEAD = 0.0002
"""Rate by which the timeline runs fast: 100 ppm clock error each for the stream's source and for our clock.

A stream that starts ahead of the last packet is played; a stream that starts behind is discarded."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Timestamps of all streams toward one party, for any RTP clock rate (RFC 3550 section 5.1).

    Some phones (baresip) ignore the SSRC and discard packets with older timestamps for hours. So a new stream begins
    where the previous stream would be by now. If the system clock is set back, so are the timestamps.
    """

    offset: int
    """Random initial timestamp, 32 bits, unpredictable as RFC 3550 recommends."""
    since: float
    """Unix seconds of the initial timestamp."""

    @classmethod
    def draw(cls, random: Random, now: float) -> Timeline:
        """Return a timeline that begins at `now`, Unix seconds."""
        return cls(random.getrandbits(32), now)

    def at(self, now: float, clock_rate: int) -> int:
        """Return the timestamp at `now`, Unix seconds, for a clock rate in Hz."""
        return (self.offset + round((now - self.since) * (1 + LEAD) * clock_rate)) & _WRAP
