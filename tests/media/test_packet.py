"""The RTP header: round trips, bounds, differences."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.media.embedded.plane.packet import (
    RtpError,
    RtpPacket,
    payload_bounds,
    sequence_delta,
    timestamp_delta,
)
from tests.rows import by_row

PACKETS = st.builds(
    RtpPacket,
    payload_type=st.integers(0, 127),
    sequence_number=st.integers(0, 0xFFFF),
    timestamp=st.integers(0, 0xFFFFFFFF),
    ssrc=st.integers(0, 0xFFFFFFFF),
    payload=st.binary(max_size=64),
    marker=st.booleans(),
    csrc=st.lists(st.integers(0, 0xFFFFFFFF), max_size=15).map(tuple),
)


@given(PACKETS)
def test_parsing_gives_back_what_was_written(packet: RtpPacket) -> None:
    """parse and bytes round-trip."""
    assert RtpPacket.parse(bytes(packet)) == packet


@given(st.binary(max_size=80))
def test_a_strangers_bytes_raise_nothing_but_rtp_error(data: bytes) -> None:
    """Whatever comes, the payload lies within the packet or the packet is refused."""
    try:
        start, end = payload_bounds(data)
    except RtpError:
        with pytest.raises(RtpError):
            RtpPacket.parse(data)
        return
    assert 12 <= start <= end <= len(data)
    RtpPacket.parse(data)


@by_row(
    "data",
    [
        b"",
        b"\x80\x00" + bytes(9),
        b"\x40\x00" + bytes(10),
        b"\x81\x00" + bytes(10),
        b"\x90\x00" + bytes(10),
        b"\x90\x00" + bytes(10) + b"\xbe\xde\x00\x01",
        b"\xa0\x00" + bytes(10),
        b"\xa0\x00" + bytes(10) + b"\x02",
    ],
    ids=["empty", "short", "version", "csrc", "extension", "extension-length", "padding-0", "padding-length"],
)
def test_a_length_that_points_outside_is_refused(data: bytes) -> None:
    """RFC 3550 section 5.1, and the pion crash on padding."""
    with pytest.raises(RtpError):
        payload_bounds(data)


def test_extension_and_padding_are_left_out_of_the_payload() -> None:
    """What a browser adds does not reach a phone."""
    extension = b"\xbe\xde\x00\x01" + bytes(4)
    packet = b"\xb0\x6f" + bytes(10) + extension + b"voice" + b"\x00\x00\x03"
    start, end = payload_bounds(packet)
    assert packet[start:end] == b"voice"


@given(st.integers(0, 0xFFFF), st.integers(-0x8000, 0x7FFF))
def test_a_sequence_difference_is_signed(older: int, delta: int) -> None:
    """Over the wrap in both directions."""
    assert sequence_delta((older + delta) & 0xFFFF, older) == delta


@given(st.integers(0, 0xFFFFFFFF), st.integers(-0x80000000, 0x7FFFFFFF))
def test_a_timestamp_difference_is_signed(older: int, delta: int) -> None:
    """Over the wrap in both directions."""
    assert timestamp_delta((older + delta) & 0xFFFFFFFF, older) == delta
