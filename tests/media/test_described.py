"""A description at the door of a media engine: which host name of a c= line is looked up, and as what."""

from __future__ import annotations

import pytest

from gateway.media.described import LIMITS, described
from gateway.media.engine import Kind, MediaError
from sdp import Connection
from tests.rows import by_row

FOUND = {("voice.test", 4): "192.0.2.1", ("voice.test", 6): "2001:db8::1"}
HEAD = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nt=0 0\r\n"


class Names:
    """A name server that knows FOUND, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    async def address_of(self, name: str, version: int) -> str | None:
        self.asked.append((name, version))
        return FOUND.get((name, version))


@by_row(
    ("sections", "asked", "addresses"),
    [
        ((("audio", "IP4 voice.test"),), [("voice.test", 4)], ["192.0.2.1"]),
        ((("audio", "IP6 voice.test"),), [("voice.test", 6)], ["2001:db8::1"]),
        ((("video", "IP4 picture.test"), ("audio", "IP4 voice.test")), [("voice.test", 4)], [None, "192.0.2.1"]),
        ((("audio", "IP4 192.0.2.7"), ("video", "IP6 voice.test")), [("voice.test", 6)], ["192.0.2.7", "2001:db8::1"]),
        ((("audio", "IP4 192.0.2.007"), ("video", "IP4 192.0.2.8")), [], ["192.0.2.7", "192.0.2.8"]),
    ],
)
async def test_one_name_is_looked_up_the_voices_first(
    sections: tuple[tuple[str, str], ...], asked: list[tuple[str, int]], addresses: list[str | None]
) -> None:
    """In the IP version of its c= line; a section whose name is not looked up is refused by port 0."""
    lines = [f"m={kind} 4000 RTP/AVP 0\r\nc=IN {connection}\r\n" for kind, connection in sections]
    names = Names()
    read = await described(HEAD + "".join(lines), Kind.RTP, LIMITS, names)
    assert names.asked == asked
    found = [media.connection.address if media.port and media.connection else None for media in read.media]
    assert found == addresses


@by_row("line", ["", "c=IN IP4\r\n", "c=IN IP4 voice.test\r\n", "c=IN IP4 127.0.0.999\r\n"])
@by_row("session", ["", "c=IN IP4 voice.test\r\n", "c=junk\r\n"])
async def test_a_page_needs_no_address(line: str, session: str) -> None:
    """Nothing is looked up; 0.0.0.0 and port 9 stand for an address that the candidates will bring."""
    text = HEAD.replace("t=0 0", f"{session}t=0 0") + f"m=audio 4000 UDP/TLS/RTP/SAVPF 0\r\n{line}"
    names = Names()
    read = await described(text, Kind.WEBRTC, LIMITS, names)
    assert names.asked == []
    assert read.media[0].port == 9
    assert read.connection_of(read.media[0]) == Connection("0.0.0.0")
    assert not read.field_values("c")


async def test_a_page_keeps_an_address_that_can_be_read() -> None:
    """As it stands, and a refused section as it stands."""
    text = HEAD + "m=audio 4000 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 192.0.2.7\r\nm=video 0 UDP/TLS/RTP/SAVPF 96\r\n"
    assert str(await described(text, Kind.WEBRTC, LIMITS, Names())) == text


async def test_a_voice_whose_name_leads_nowhere_is_refused() -> None:
    """488, though the name has an address of the other IP version."""
    with pytest.raises(MediaError) as refusal:
        await described(HEAD + "m=audio 4000 RTP/AVP 0\r\nc=IN IP6 nobody.test\r\n", Kind.RTP, LIMITS, Names())
    assert refusal.value.status == 488
