"""RFC 8840 fragments: what SIP INFO carries of trickled candidates."""

from __future__ import annotations

import pytest

from sdp import Limits, SdpSyntaxError
from sdp.trickle import TrickledMedia, TrickleFragment
from tests.rows import by_row

FIRST = "candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host"
SECOND = "candidate:2 1 udp 1694498815 203.0.113.7 5001 typ srflx raddr 192.0.2.1 rport 5000"
FRAGMENT = (
    "a=ice-ufrag:8hhY\r\na=ice-pwd:asd88fgpdd777uzjYhagZg\r\n"
    f"m=audio 9 RTP/AVP 0\r\na=mid:1\r\na={FIRST}\r\na={SECOND}\r\na=end-of-candidates\r\n"
    "m=video 9 RTP/AVP 0\r\na=mid:2\r\n"
)


def test_a_fragment_is_read() -> None:
    """RFC 8840 section 9: session lines, then pseudo m= lines with their mids."""
    fragment = TrickleFragment.parse(FRAGMENT)
    assert fragment.ice_ufrag == "8hhY"
    assert fragment.media == (
        TrickledMedia("1", (FIRST, SECOND), True),
        TrickledMedia("2", kind="video"),
    )
    assert not fragment.end_of_candidates


@pytest.mark.parametrize("text", [FRAGMENT, FRAGMENT.replace("m=audio", "a=end-of-candidates\r\nm=audio", 1)])
def test_a_fragment_is_written_as_it_was_read(text: str) -> None:
    """Parse and str round-trip."""
    assert str(TrickleFragment.parse(text)) == text
    assert TrickleFragment.parse(text.encode()) == TrickleFragment.parse(text)


def test_credentials_may_stand_in_the_sections() -> None:
    """A bundled session may repeat them there."""
    text = "m=audio 9 RTP/AVP 0\na=mid:1\na=ice-ufrag:8hhY\na=ice-pwd:asd88fgpdd777uzjYhagZg\n"
    assert TrickleFragment.parse(text).ice_ufrag == "8hhY"


def test_a_fragment_belongs_to_one_ice_session() -> None:
    """RFC 8840 section 4.4: late candidates of an earlier session are ignored."""
    fragment = TrickleFragment.parse(FRAGMENT)
    assert fragment.belongs_to("8hhY", "asd88fgpdd777uzjYhagZg")
    assert not fragment.belongs_to("8hhY", "other")
    assert not fragment.belongs_to(None, None)


def test_the_password_stays_out_of_repr() -> None:
    """Secrets never reach a log."""
    assert "asd88" not in repr(TrickleFragment.parse(FRAGMENT))


@by_row(
    ("text", "line"),
    [
        ("", 0),
        ("a=ice-ufrag:8hhY\r\n", 0),
        (FRAGMENT + "a=ice-ufrag:other\r\n", 0),
        (FRAGMENT.replace("a=mid:1\r\n", ""), 3),
        (FRAGMENT.replace("a=mid:2", "a=mid:1"), 0),
        (FRAGMENT.replace("2130706431", "x"), 5),
        ("nonsense\r\n", 1),
        (b"\xff\xfe", 1),
        ("a=ice-pwd:\x00\r\n", 1),
    ],
)
def test_what_is_no_fragment_is_refused_with_its_line(text: str | bytes, line: int) -> None:
    """The line is counted in the fragment."""
    with pytest.raises(SdpSyntaxError) as caught:
        TrickleFragment.parse(text)
    assert caught.value.line == line


def test_a_fragment_has_limits() -> None:
    """A stranger cannot send candidates without end."""
    with pytest.raises(SdpSyntaxError):
        TrickleFragment.parse(FRAGMENT + "a=x\r\n" * 100, Limits(lines=50))
