"""How much video one peer is sent, by the losses that it reports, and by what it says it can take."""

from __future__ import annotations

from collections.abc import Sequence

LOWEST = 100_000
"""Bits a second below which no picture is worth its packets."""
HEAVY, _LIGHT = 0.10, 0.02
_GROWTH = 1.05
_ASKED_AGAIN = 0.1
"""Seconds after which a packet is asked for again that has not come: a round trip, of all who look at one picture."""
_MOST_ASKED = 200
"""Packets a second that one sender is asked for again at most, whatever those say who get them."""
_RISES = 1.5
"""Seconds for which a limit that has grown is taken to grow still: browsers say it again up to once a second."""


class SendRate:
    """The loss-based rule of draft-ietf-rmcat-gcc-02 section 6: less by half of what is lost, more where nothing is."""

    def __init__(self, most: int) -> None:
        """`most` in bits a second, where it begins too: a browser finds its own way up to it."""
        self.bits = most
        self._most = most

    def reported(self, lost: float) -> None:
        """A report has come; `lost` is the share of packets, 0 to 1, that were lost since the one before."""
        if lost > HEAVY:
            self.bits = max(min(LOWEST, self._most), round(self.bits * (1 - 0.5 * lost)))
        elif lost < _LIGHT:
            self.bits = min(self._most, round(self.bits * _GROWTH))


class ReceiveLimit:
    """What a peer says it can take in all (REMB, draft-alvestrand-rmcat-remb-03), and whether it gets too much."""

    def __init__(self) -> None:
        self.bits: int | None = None
        """Bits a second; None: it has said nothing."""
        self._grown_at = float("-inf")

    def said(self, bits: int, now: float) -> None:
        """The peer has said how much, perhaps the same again."""
        if self.bits is None or bits < self.bits:
            self._grown_at = float("-inf")
        elif bits > self.bits:
            self._grown_at = now
        self.bits = bits

    def is_overrun(self, sent: float, least: float, lost: float, now: float) -> bool:
        """Whether `sent` bits a second are too many, though they could be as few as `least`; `lost`: share, 0 to 1.

        What a browser says follows what it gets: where little is sent, little says nothing, and where more has begun to
        come, it lags behind by seconds. As long as it grows without losses, the browser takes all that comes.
        """
        if self.bits is None or self.bits >= min(least, sent) or sent <= least / 2:
            return False
        return lost > HEAVY or now - self._grown_at > _RISES


class LostNumbers:
    """Packets that one sender is asked for again: each once, however many lack it, until it can have come."""

    def __init__(self) -> None:
        self._asked: dict[int, float] = {}
        """When each was asked for last."""
        self._second = float("-inf")
        self._count = 0

    def due(self, sequence_numbers: Sequence[int], now: float) -> list[int]:
        """Those of the packets that are to be asked for now, in their order; `now` in seconds."""
        if now - self._second >= 1.0:
            self._second, self._count = now, 0
            self._asked = {number: at for number, at in self._asked.items() if now - at < _ASKED_AGAIN}
        due: list[int] = []
        for number in sequence_numbers:
            if self._count < _MOST_ASKED and now - self._asked.get(number, float("-inf")) >= _ASKED_AGAIN:
                self._asked[number] = now
                self._count += 1
                due.append(number)
        return due
