"""How much video one peer is sent, by the losses that it reports."""

from __future__ import annotations

LOWEST = 100_000
"""Bits a second below which no picture is worth its packets."""
_HEAVY, _LIGHT = 0.10, 0.02
_GROWTH = 1.05


class SendRate:
    """The loss-based rule of draft-ietf-rmcat-gcc-02 section 6: less by half of what is lost, more where nothing is."""

    def __init__(self, most: int) -> None:
        """`most` in bits a second, where it begins too: a browser finds its own way up to it."""
        self.bits = most
        self._most = most

    def reported(self, lost: float) -> None:
        """A report has come; `lost` is the share of packets, 0 to 1, that were lost since the one before."""
        if lost > _HEAVY:
            self.bits = max(min(LOWEST, self._most), round(self.bits * (1 - 0.5 * lost)))
        elif lost < _LIGHT:
            self.bits = min(self._most, round(self.bits * _GROWTH))
