"""How Opus is encoded, and what of that a listener asks for in its description (RFC 7587 section 6.1)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sdp.codecs import parameters

LEAST_BIT_RATE, MOST_BIT_RATE = 6_000, 510_000
"""Bits a second that Opus can have."""
RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
"""Samples a second of the bands that Opus codes (RFC 7587 section 3.1.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpusSettings:
    """How Opus is encoded."""

    complexity: int = 5
    """0 to 10."""
    bit_rate: int = 32_000
    """Bits a second, on average about; where it is `constant`, at most."""
    playback_rate: int = RATES[-1]
    """One of `RATES`: no more of the band than that is coded."""
    forward_error_correction: bool = True
    """Whether each packet carries a poorer copy of the one before (RFC 6716 section 2.1.7)."""
    discontinuous: bool = False
    """Whether little is sent while there is nothing to hear (RFC 6716 section 2.1.9)."""
    constant: bool = False
    """Whether all packets are of one size."""

    def for_listener(self, fmtp: str) -> OpusSettings:
        """The same within what a listener's format parameters ask for; what they leave out has the RFC's default."""
        asked = parameters(fmtp)
        playback_rate = _number(asked.get("maxplaybackrate"), RATES[-1])
        most = max(LEAST_BIT_RATE, _number(asked.get("maxaveragebitrate"), MOST_BIT_RATE))
        return replace(
            self,
            bit_rate=min(self.bit_rate, most),
            playback_rate=max([rate for rate in RATES if rate <= playback_rate], default=RATES[0]),
            forward_error_correction=self.forward_error_correction and asked.get("useinbandfec") == "1",
            discontinuous=asked.get("usedtx") == "1",
            # Packets of different sizes come to an eighth more than is wanted, over seconds.
            constant=asked.get("cbr") == "1" or most < self.bit_rate * 5 / 4,
        )


def _number(text: str | None, default: int) -> int:
    """A number of nine digits at most; what is none counts as left out."""
    usable = text is not None and text.isascii() and text.isdigit() and len(text) < 10
    return int(text) if usable and text is not None else default
