"""Files of sound that lie about themselves, swell or point elsewhere: bounded, or refused by the room's own error."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from pathlib import Path

import pytest

from gateway.media.embedded.audio.codecs import read_audio
from gateway.media.embedded.audio.pcm import AudioError
from tests.rows import by_row

RATE, LONGEST = 16_000, 120.0
MOST_OCTETS = 4 * 2 * int(RATE * LONGEST)
"""Memory for the longest sound, four times over."""


def wav(rate: int, channels: int, bits: int, size: int, data: bytes) -> bytes:
    """A RIFF file that says this of itself."""
    octets = channels * bits // 8
    kind = struct.pack("<IHHIIHH", 16, 1, channels, rate, rate * octets & 0xFFFFFFFF, octets & 0xFFFF, bits)
    length = struct.pack("<I", min(36 + size, 0xFFFFFFFF))
    return b"RIFF" + length + b"WAVEfmt " + kind + b"data" + struct.pack("<I", size) + data


def png(side: int) -> bytes:
    """A picture whose pixels take 20 million octets, and says that they are more."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(20_000_000), 9)) + chunk(b"IEND", b"")


LIST = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"
REFUSED = {
    "a picture": png(30_000),
    "an endless picture": png(2**31 - 1),
    "65,535 channels": wav(8_000, 0xFFFF, 8, 10**6, b"\1" * 10**6),
    "4 GHz": wav(0xFFFFFFFF, 1, 8, 10**6, b"\1" * 10**6),
    "nothing of anything": wav(0, 0, 0, 10**6, b"\1" * 10**6),
    "a list of files": LIST.format("file:///etc/hostname").encode(),
    "a list of other machines": LIST.format("http://127.0.0.1:9/sound.ts").encode(),
    "a list to be joined": b"ffconcat version 1.0\nfile /etc/hostname\n",
    "a session description": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 4 RTP/AVP 0\n",
    "nothing": b"",
}
BOUNDED = {
    "one sample a second": wav(1, 1, 8, 2_000_000, b"\1" * 2_000_000),
    "more than is there": wav(8_000, 1, 16, 0xFFFFFFF0, bytes(1_000)),
}


@by_row("data", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_sound_is_refused(tmp_path: Path, data: bytes) -> None:
    """Nothing else is opened for it, and nothing is allocated for what it says of itself."""
    path = tmp_path / "sound.wav"
    path.write_bytes(data)
    with pytest.raises(AudioError):
        read_audio(str(path), RATE, LONGEST)


@pytest.mark.parametrize("data", BOUNDED.values(), ids=BOUNDED.keys())
def test_a_sound_that_swells_is_cut_at_its_longest(tmp_path: Path, data: bytes) -> None:
    """In memory as in time."""
    path = tmp_path / "sound.wav"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        assert len(read_audio(str(path), RATE, LONGEST)) <= RATE * LONGEST
        assert tracemalloc.get_traced_memory()[1] < MOST_OCTETS
    finally:
        tracemalloc.stop()
