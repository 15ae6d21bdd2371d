"""Real-time text as m=text (RFC 4103) and as data channels (RFC 8865): which section stands for which."""

from __future__ import annotations

from pathlib import Path

from sdp import SessionDescription, read_codecs
from sdp.text import has_text, text_as_channel, text_as_stream
from tests.rows import by_row

FOLDER = Path(__file__).parent / "descriptions"
HEAD = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
AUDIO = "m=audio 4000 RTP/AVP 0\r\n"
CHANNEL = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=sctp-port:5000\r\n"


def described(*sections: str) -> SessionDescription:
    return SessionDescription.parse(HEAD + "".join(sections))


def kinds(description: SessionDescription) -> list[str]:
    return [media.kind for media in description.media]


def test_the_offer_of_the_rfc_is_text() -> None:
    """RFC 8865 section 5: a channel that is named with its subprotocol."""
    offer = SessionDescription.parse((FOLDER / "rfc8865-t140-offer.sdp").read_text())
    assert has_text(offer)
    section = text_as_stream(offer).media[0]
    assert [codec.rtpmap for codec in read_codecs(section)] == ["t140/1000", "red/1000"]


@by_row(
    ("lines", "is_text"),
    [
        ("", True),
        ('a=dcmap:2 subprotocol="T140";label="x"\r\n', True),
        ('a=dcmap:0 subprotocol="chat"\r\na=dcmap:2 label="x"; subprotocol="t140"\r\n', True),
        ('a=dcmap:2 subprotocol="bfcp";label="t140"\r\n', False),
    ],
)
def test_who_names_its_channels_must_name_one_for_text(lines: str, is_text: bool) -> None:
    """A browser names none and opens what it likes; others say what they mean (RFC 8864)."""
    description = described(AUDIO, CHANNEL, lines)
    assert has_text(description) is is_text
    assert kinds(text_as_stream(description)) == ["audio", "text" if is_text else "application"]


@by_row(
    "section",
    [
        CHANNEL.replace(" 9 ", " 0 "),
        "m=application 9 UDP/BFCP *\r\n",
        "m=text 0 RTP/AVP 98\r\na=rtpmap:98 t140/1000\r\n",
        "m=text 5000 RTP/AVP 98\r\na=rtpmap:98 ulpfec/1000\r\n",
        "m=text 5000 TCP/MSRP *\r\n",
    ],
)
def test_what_is_refused_or_something_else_stays_what_it_is(section: str) -> None:
    """A section with port 0, another protocol, another codec."""
    description = described(AUDIO, section)
    assert not has_text(description)
    assert text_as_stream(description) is description
    assert text_as_channel(description) is description


def test_text_becomes_a_channel_in_its_place() -> None:
    """Other sections stay where they are."""
    text = "m=text 5000 RTP/SAVP 98\r\na=rtpmap:98 t140/1000\r\n"
    described_ = described(AUDIO, text, "m=video 6000 RTP/AVP 99\r\na=rtpmap:99 VP8/90000\r\n")
    assert kinds(text_as_channel(described_)) == ["audio", "application", "video"]


@by_row(
    ("voice", "text"),
    [("sendrecv", "sendrecv"), ("recvonly", "sendrecv"), ("sendonly", "sendonly"), ("inactive", "inactive")],
)
def test_text_is_held_with_the_voice(voice: str, text: str) -> None:
    """Data channels have no direction; who only listens may type all the same."""
    description = described(AUDIO, f"a={voice}\r\n", CHANNEL)
    assert str(text_as_stream(description).media[1].direction) == text
