"""Detection of the payload types a peer sends with: those of our description or of its own."""

from __future__ import annotations

from typing import Final

from gateway.media.embedded.plane.values import MediaPacket
from gateway.media.embedded.sources.packets import NOTHING, Packets
from sdp import Codec

AGREEING: Final = 2
"""Packets of one form needed for a decision."""
ALIKE: Final = 5
"""Packets without a difference between both codecs, after which the peer's own description counts."""

_OPUS_TICKS: Final = (
    *(480, 960, 1920, 2880) * 3,
    *(480, 960) * 2,
    *(120, 240, 480, 960) * 4,
)
"""Ticks of 48 kHz in one frame, by the configuration of the first octet (RFC 6716 section 3.1)."""
_BLOCKS: Final[dict[str, tuple[tuple[int, int], ...]]] = {
    "pcmu": ((1, 1),),
    "pcma": ((1, 1),),
    "g722": ((1, 1),),
    "gsm": ((33, 160),),
    "g729": ((10, 80),),
    "ilbc": ((38, 160), (50, 240)),
}
"""Octets and clock ticks of one block, for codecs of one rate (RFC 3551 section 4.5)."""


class NumberReader:
    """`PacketHandler` of a payload type that names two codecs: compares packets with the form of each."""

    __slots__ = ("_alike", "_last", "_ours", "_score", "_theirs")

    def __init__(self, ours: Codec, theirs: Codec) -> None:
        self._ours, self._theirs = ours, theirs
        self._last: tuple[int, int] | None = None
        self._score = self._alike = 0

    @property
    def is_theirs(self) -> bool | None:
        """True if the packets are of the peer's own codec, False if of ours, None before the decision."""
        is_decided = abs(self._score) >= AGREEING or self._alike >= ALIKE
        return self._score >= 0 if is_decided else None

    def handle(self, packet: MediaPacket, now: float) -> Packets:
        """Compare a packet with both codecs and drop it."""
        last, self._last = self._last, (packet.sequence_number, packet.timestamp)
        if last is None or packet.sequence_number != (last[0] + 1) & 0xFFFF:
            return NOTHING
        ticks = (packet.timestamp - last[1]) & 0xFFFFFFFF
        ours, theirs = (fits(codec, packet.payload, ticks) for codec in (self._ours, self._theirs))
        if ours is theirs:
            self._alike += ours is not False
        else:
            is_theirs = theirs is True or ours is False
            self._score = max(1, self._score + 1) if is_theirs else min(-1, self._score - 1)
        return NOTHING


def fits(codec: Codec, payload: bytes, ticks: int) -> bool | None:
    """Return whether a payload that lasts `ticks` of its clock may be of `codec`; None for a codec of unknown form."""
    name = codec.key[0]
    if name == "opus":
        return _opus_ticks(payload) == ticks
    blocks = _BLOCKS.get(name)
    if blocks is None:
        return None
    return any(len(payload) % octets == 0 and len(payload) // octets * span == ticks > 0 for octets, span in blocks)


def _opus_ticks(payload: bytes) -> int:
    """Return the duration of an Opus packet in ticks of 48 kHz (RFC 6716 section 3.2); 0 for an empty packet."""
    if not payload:
        return 0
    form = payload[0] & 3
    frames = (payload[1] & 63 if len(payload) > 1 else 0) if form == 3 else min(2, form + 1)
    return _OPUS_TICKS[payload[0] >> 3] * frames
