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
"""Seconds for which an estimate that has grown is taken to grow still: browsers say it again up to once a second."""
_SHORT, _FALLEN = 0.9, 0.97
"""Share of what is sent below which an estimate is less, and of a limit below which what is sent is less, since each
side measures for itself; share of the estimate before below which one has fallen."""
_LEAST, _LEAST_BELIEVED = 10_000, 200_000
"""Bits a second below which no limit is, since of none it would never grow; and below which none is that neither loss
nor delay bears out: of little that comes, a browser that is busy or behind a jumping delay estimates less and less."""
_STILL_BELIEVED = 0.5
"""Share of the last limit that was borne out down to which one is believed that nothing bears out, as long as it holds:
who keeps to it loses nothing."""
_LATE = 0.5
"""Seconds of a round trip from which packets wait somewhere."""
_EASES = 1.08
"""By how much a limit grows in each second in which nothing speaks for it, as browsers' own estimates do
(draft-ietf-rmcat-gcc-02 section 5.5)."""


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
    """What a peer estimates that it can take in all (REMB, draft-alvestrand-rmcat-remb-03), and what it may be sent.

    Its estimate follows what it gets: where little is sent, little says nothing, and where more has begun to come, it
    lags behind by seconds. So it is a limit where it falls, or does not grow, and is not well above what is sent; and a
    limit for which nothing speaks any more grows until it is none.
    """

    def __init__(self, most: int) -> None:
        """`most` bits a second are sent at most in any case."""
        self.bits: int | None = None
        """The estimate, bits a second; None: it has said nothing."""
        self._most = most
        self._limit: int | None = None
        self._limited_at = self._grown_at = float("-inf")
        self._believed = _LEAST_BELIEVED
        """What is believed without losses or delay, and no less."""

    def said(self, bits: int, now: float, sent: float, lost: float, rtt: float = 0.0) -> None:
        """The peer has said how much, perhaps the same again.

        `sent` are bits a second that it is sent, `lost` the share of them, 0 to 1, that it lacks, `rtt` in seconds.
        """
        before, self.bits = self.bits, bits
        if before is None or bits < before:
            self._grown_at = float("-inf")
        elif bits > before:
            self._grown_at = now
        has_fallen = before is not None and bits < _FALLEN * before
        limit = self.allowed(now)
        least = self._least(bits, limit, lost > _LIGHT or rtt > _LATE)
        binds = has_fallen or (bits < _SHORT * sent and self._is_stuck(lost, now))
        if (binds and _SHORT * max(bits, least) <= sent) or (limit is not None and bits > limit):
            self._limit, self._limited_at = max(bits, least), now

    def allowed(self, now: float) -> int | None:
        """Bits a second that it may be sent at most; None: nothing is known against more."""
        if self._limit is not None:
            eased: float = self._limit * _EASES ** min(now - self._limited_at, 1000.0)
            if eased < self._most:
                return round(eased)
            self._limit = None
        return None

    def _least(self, bits: int, limit: int | None, is_borne_out: bool) -> int:
        """What an estimate of `bits` is taken for at least, where there is `limit`."""
        if is_borne_out:
            self._believed = min(_LEAST_BELIEVED, max(_LEAST, round(_STILL_BELIEVED * bits)))
            return _LEAST
        if limit is None or limit >= _LEAST_BELIEVED:
            self._believed = _LEAST_BELIEVED
        return self._believed

    def is_overrun(self, sent: float, least: float, lost: float, now: float) -> bool:
        """Whether `sent` bits a second are too many, though they could be as few as `least`; `lost`: share, 0 to 1."""
        if self.bits is None or self.bits >= min(least, sent) or sent <= least / 2:
            return False
        return self._is_stuck(lost, now)

    def _is_stuck(self, lost: float, now: float) -> bool:
        """As long as an estimate grows without losses, the browser takes all that comes."""
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
