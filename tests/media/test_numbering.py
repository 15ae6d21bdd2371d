"""By whose numbers a peer sends, read from the form of its packets."""

from __future__ import annotations

import pytest

from gateway.media.embedded.plane.values import MediaPacket
from gateway.media.embedded.sources.numbering import NumberReader, fits
from sdp import Codec
from tests.rows import by_row

OPUS, PCMA, PCMU = Codec("opus", 48000, 2, 8), Codec("PCMA", 8000, 1, 8), Codec("PCMU", 8000, 1, 8)
G729, ILBC, GSM, SPEEX = (Codec(name, 8000, 1, 97) for name in ("G729", "iLBC", "GSM", "speex"))
OPUS_20MS = bytes([0x78]) + bytes(80)
"""CELT, 20 ms, one frame."""


@by_row(
    ("codec", "payload", "ticks", "expected"),
    [
        (OPUS, OPUS_20MS, 960, True),
        (OPUS, bytes([0x79]) + bytes(80), 1920, True),
        (OPUS, bytes([0x7B, 3]) + bytes(80), 2880, True),
        (OPUS, bytes([0x7B]), 960, False),
        (OPUS, b"", 960, False),
        (OPUS, bytes(160), 160, False),
        (PCMA, bytes(160), 160, True),
        (PCMA, OPUS_20MS, 960, False),
        (PCMA, b"", 0, False),
        (G729, bytes(20), 160, True),
        (ILBC, bytes(50), 240, True),
        (GSM, bytes(33), 160, True),
        (SPEEX, bytes(38), 160, None),
    ],
)
def test_a_payload_fits_a_codec_by_length_and_time(
    codec: Codec, payload: bytes, ticks: int, expected: bool | None
) -> None:
    """RFC 3551 section 4.5 and RFC 6716 section 3.1 say how long a payload lasts."""
    assert fits(codec, payload, ticks) is expected


def packet(number: int, ticks: int, payload: bytes) -> MediaPacket:
    return MediaPacket(
        payload_type=8,
        marker=False,
        sequence_number=number & 0xFFFF,
        timestamp=number * ticks & 0xFFFFFFFF,
        payload=payload,
        in_order=True,
        generation=1,
    )


@pytest.mark.parametrize("first", [1, 65534])
@by_row(
    ("ours", "theirs", "ticks", "payload", "expected"),
    [
        (PCMA, OPUS, 960, OPUS_20MS, [None, None, True]),
        (PCMA, OPUS, 160, bytes(160), [None, None, False]),
        (PCMA, PCMU, 160, bytes(160), [None] * 5 + [True]),
        (SPEEX, OPUS, 960, OPUS_20MS, [None, None, True]),
        (SPEEX, OPUS, 160, bytes(38), [None, None, False]),
        (PCMA, G729, 160, bytes(7), [None] * 6),
    ],
)
def test_the_form_of_packets_says_whose_number_it_is(
    ours: Codec, theirs: Codec, ticks: int, payload: bytes, expected: list[bool | None], first: int
) -> None:
    """Two packets of one form decide; of alike ones the peer's own description does."""
    reader, found = NumberReader(ours, theirs), []
    for number in range(first, first + len(expected)):
        reader.handle(packet(number, ticks, payload), 0.0)
        found.append(reader.is_theirs)
    assert found == expected


def test_packets_after_a_gap_say_nothing() -> None:
    """Time between packets that do not follow each other is not the length of one."""
    reader = NumberReader(PCMA, OPUS)
    for number in range(0, 24, 2):
        reader.handle(packet(number, 960, OPUS_20MS), 0.0)
    assert reader.is_theirs is None
