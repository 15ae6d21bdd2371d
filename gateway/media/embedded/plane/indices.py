"""Packet indices of the sources of one key (RFC 3711 section 3.3.1): how far each has come, and how far it may have."""

from __future__ import annotations

WRAPS = 8
"""Roll-over counts that a packet is tried with whose count is not known: at 50 packets a second, of three hours."""
_WRAP = 0x10000
_WRAP_REACH = 0x1000
"""A source whose first packet has a sequence number below this may have begun before the wrap."""
_SEARCHES = 32
"""Packets of one key that may be searched so and not found."""
NONE_YET = -1
"""The highest index of a source of which no RTP has come."""


def guess(highest: int, number: int) -> int:
    """The index that a sequence number most likely stands for (RFC 3711 appendix A), given the highest."""
    if highest == NONE_YET:
        return number
    ahead = (number - highest) % _WRAP
    return highest + ahead if ahead <= 0x8000 or number > highest else highest + ahead - _WRAP


class Sources:
    """Those that are known; of a bounded number, the one idle longest makes room."""

    __slots__ = ("_maximum", "_searches", "_unsettled", "highest")

    def __init__(self, maximum: int) -> None:
        self.highest: dict[int, int] = {}
        """The highest index of each, by SSRC; whoever counts on for one puts it down here in time."""
        self._unsettled: set[int] = set()
        """Those whose roll-over count may have gone on unheard."""
        self._maximum = maximum
        self._searches = _SEARCHES

    def resume(self) -> None:
        """Other keys were in use: roll-over counts may have gone on meanwhile."""
        self._searches = _SEARCHES
        self._unsettled.update(self.highest)

    def is_settled(self, ssrc: int) -> bool:
        """Whether its next packet is where the guess says, or is none."""
        return ssrc not in self._unsettled and self.highest.get(ssrc, NONE_YET) != NONE_YET

    def know(self, ssrc: int) -> int | None:
        """Keep room for a source, as the latest to go; who had to make it."""
        highest, out = self.highest.pop(ssrc, NONE_YET), None
        if len(self.highest) >= self._maximum:
            out = next(iter(self.highest))
            del self.highest[out]
            self._unsettled.discard(out)
        self.highest[ssrc] = highest
        return out

    def opened(self, ssrc: int, index: int) -> bool:
        """A packet of a known source has been authentic at `index`; whether it is known how far the source has come."""
        if index > self.highest[ssrc]:
            self.highest[ssrc] = index
            self._unsettled.discard(ssrc)
        return ssrc not in self._unsettled

    def candidates(self, ssrc: int, number: int) -> range:
        """Indices beyond the guess at which a packet of a source that is not settled may be, all above those used.

        What was lost before the first packet may have been a wrap, so a low number is tried with the count one higher.
        A peer that has kept its key while another was in use, or while the plane was another, has wrapped more often:
        those are tried as well, for a few packets, since what is not the peer's costs as much. After those a source
        that was heard before other keys were is tried with one count a packet, which its number tells: of eight packets
        of the peer one opens, whatever else comes in its name.
        """
        highest = self.highest.get(ssrc, NONE_YET)
        if highest == NONE_YET:
            first, wraps = _WRAP + number, WRAPS - 1 if self._searches else int(number < _WRAP_REACH)
        else:
            first, wraps = highest + 1 + (number - highest - 1) % _WRAP, WRAPS
            if not self._searches:
                first, wraps = first + number % WRAPS * _WRAP, 1
        return range(first, first + wraps * _WRAP, _WRAP)

    def missed(self) -> None:
        """A packet was at none of its candidates."""
        self._searches = max(0, self._searches - 1)
