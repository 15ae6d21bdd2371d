"""The text level: what a line is, where an error stands, and the small grammars of values."""

from __future__ import annotations

import pytest

from sdp import SdpSyntaxError, SessionDescription
from sdp.grammar import Grammar
from tests.rows import by_row


@by_row(
    ("text", "line", "column", "expected"),
    [
        ("", 1, 1, '"v=0"'),
        ("\n", 1, 1, '"v=0"'),
        ("v=1\n", 1, 1, '"v=0"'),
        ("v=0x\n", 1, 1, '"v=0"'),
        (" v=0\n", 1, 1, '"v=0"'),
        ("v=0\no\n", 2, 2, '"="'),
        ("v=0\n=x\n", 2, 1, "a lower-case type letter"),
        ("v=0\nS=x\n", 2, 1, "a lower-case type letter"),
        ("v=0\n\ns=-\n", 2, 1, "a lower-case type letter"),
        ("v=0\ns=-\n a=x\n", 3, 1, "a lower-case type letter"),
        ("v=0\ns=a\rb\n", 2, 4, "a character other than NUL and CR"),
        ("v=0\ns=a\0b\rc\n", 2, 4, "a character other than NUL and CR"),
        ("v=0\ns=a\rb\0\n", 2, 4, "a character other than NUL and CR"),
        ("v=0\nx\ns=\0\n", 2, 2, '"="'),
        ("v=0\ns=a\ud800\n", 2, 4, "a Unicode character, not half of a surrogate pair"),
        ("v=0\nm=audio 9 RTP/AVP 0\nm=audio\n", 3, 8, "a space and a port"),
    ],
)
def test_a_text_that_is_no_description_is_refused_where_it_goes_wrong(
    text: str, line: int, column: int, expected: str
) -> None:
    """Line and column of the first thing that is not of the form, and what was expected there."""
    with pytest.raises(SdpSyntaxError) as caught:
        SessionDescription.parse(text, strict=True)
    assert (caught.value.line, caught.value.column, caught.value.expected) == (line, column, expected)


@by_row(
    ("text", "lines", "mended"),
    [
        ("\ufeffv=0\ns=-\n", ("v=0", "s=-"), (1,)),
        ("\r\nv=0 \r\ns=-\r\n", ("v=0", "s=-"), (1, 2)),
        ("v=0\r\r\ns=-\r\r\n", ("v=0", "s=-"), (1, 2)),
        ("v=0\n\ns=-\n", ("v=0", "s=-"), (2,)),
        ("v=0\nnonsense\nS=x\n=x\no\ns=-\n", ("v=0", "s=-"), (2, 3, 4, 5)),
        ("v=0\n a=x\n", ("v=0", "a=x"), (2,)),
        ("v=0\na=x\0y\nb=AS:6\r4\na=y\n", ("v=0", "a=y"), (2, 3)),
        ("v=0\nc=IN IP4 192.0.2.1\0x\n", ("v=0", "c=IN IP4 192.0.2.1\ufffdx"), (2,)),
        ("v=0\ns=a\rb\n", ("v=0", "s=a\ufffdb"), (2,)),
    ],
)
def test_lines_that_no_call_needs_are_mended_or_left_out(
    text: str, lines: tuple[str, ...], mended: tuple[int, ...]
) -> None:
    """The lines that stay are of the form, and the numbers of the others are kept."""
    description = SessionDescription.parse(text)
    assert (description.lines, description.mended) == (lines, mended)
    with pytest.raises(SdpSyntaxError):
        SessionDescription.parse(text, strict=True)


@by_row(
    ("line", "read"),
    [
        ("m=video", "m=video 0 RTP/AVP 0"),
        ("m=video x RTP/AVP 96 97", "m=video 0 RTP/AVP 96 97"),
        ("m=image 70000 udptl t38", "m=image 0 udptl t38"),
        ("m=", "m=unknown 0 RTP/AVP 0"),
        ("m", "m=unknown 0 RTP/AVP 0"),
        ("m=@@ 9 RTP/AVP 8", "m=unknown 0 RTP/AVP 8"),
        ("m=5004 RTP/AVP 8", "m=unknown 0 RTP/AVP 8"),
        ("m audio", "m=audio 0 RTP/AVP 0"),
    ],
)
def test_a_section_with_a_malformed_line_is_a_refused_one(line: str, read: str) -> None:
    """Kind, protocol and formats stay as far as they can be told; its attributes go, not to the section before."""
    description = SessionDescription.parse(f"v=0\nm=audio 9 RTP/AVP 0\n{line}\na=x\n")
    assert [section.lines for section in description.media] == [("m=audio 9 RTP/AVP 0",), (read,)]
    assert description.mended == (3,)


@by_row("line", ["m =audio 9 RTP/AVP 0", "M audio 9 RTP/AVP 0", "m= audio 9 RTP/AVP 0"])
def test_a_misspelt_media_line_is_read(line: str) -> None:
    """Blanks and capitals around the sign change nothing that the line says."""
    description = SessionDescription.parse(f"v=0\n{line}\na=x\n")
    assert [(str(section.media_line), section.has("x")) for section in description.media] == [
        ("audio 9 RTP/AVP 0", True)
    ]


def test_lines_of_unknown_types_and_empty_values_are_lines() -> None:
    """A lower-case letter and "=" make a line, whatever follows."""
    text = "v=0\r\ns=\r\nf=invalid:yes\r\na=\r\na=:\r\n"
    assert str(SessionDescription.parse(text)) == text


def test_unicode_line_separators_do_not_end_a_line() -> None:
    """Only CRLF and LF do (RFC 8866 section 9)."""
    text = "v=0\r\ns=a\u2028b\u0085c\x0bd\r\n"
    assert str(SessionDescription.parse(text)) == text


def test_mixed_line_ends_are_read() -> None:
    """CRLF and LF in one text."""
    assert SessionDescription.parse("v=0\ns=-\r\nt=0 0\n").lines == ("v=0", "s=-", "t=0 0")


def test_a_grammar_names_the_part_that_is_missing() -> None:
    """The longest run of parts that fits tells column and part."""
    grammar = Grammar(("a letter", "[a-z]"), ("a digit", "[0-9]"))
    assert grammar.match("a1")[0] == "a1"
    for value, column, expected in (("1", 1, "a letter"), ("a", 2, "a digit"), ("a1x", 3, "the end of the line")):
        with pytest.raises(SdpSyntaxError) as caught:
            grammar.match(value)
        assert (caught.value.column, caught.value.expected) == (column, expected)
