"""Multipart bodies: found, nested, bounded, written."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sip.errors import SipBuildError, SipSyntaxError
from gateway.sip.message.fields import Headers
from gateway.sip.message.message import Request
from gateway.sip.message.multipart import BodyLimits, Part, find_part, parts_of, write_multipart
from gateway.sip.message.uri import Uri
from gateway.sip.message.values import MediaType
from tests.rows import by_row

SDP = MediaType("application", "sdp")


def message(kind: str | None, body: bytes) -> Request:
    fields = [("Content-Type", kind)] if kind else []
    return Request("INVITE", Uri.of("a", "h"), fields, body)


def mixed(body: bytes, boundary: str = "b") -> Request:
    return message(f'multipart/mixed;boundary="{boundary}"', body)


def test_a_plain_body_is_its_own_part() -> None:
    """No multipart, one part; no body or no type, none."""
    assert find_part(message("application/sdp", b"v=0"), "application/sdp") == b"v=0"
    assert find_part(message("text/plain", b"x"), "application/sdp") is None
    assert parts_of(message(None, b"x")) == []
    assert parts_of(message("application/sdp", b"")) == []


def test_parts_are_found_between_preamble_and_epilogue() -> None:
    """Header fields, default type, empty parts, bodies with line breaks."""
    body = (
        b"preamble\r\n--b\r\nContent-Type: application/sdp\r\nContent-ID: <1>\r\n\r\nv=0\r\ns=-\r\n"
        b"\r\n--b  \r\n\r\nplain\r\n--b\r\nX-Long: a\r\n b\r\n\r\n\r\n--b--\r\nepilogue"
    )
    first, second, third = parts_of(mixed(body))
    assert (first.content_type, first.body, first.headers.get("Content-ID")) == (SDP, b"v=0\r\ns=-\r\n", "<1>")
    assert (second.content_type.essence, second.body) == ("text/plain", b"plain")
    assert (third.headers.get("X-Long"), third.body) == ("a b", b"")


def test_nested_parts_come_out_in_order() -> None:
    """A multipart within a multipart, as in RFC 5621."""
    kind, inner = write_multipart([Part(SDP, b"v=0")], "inner", "alternative")
    outer_kind, outer = write_multipart(
        [Part(MediaType("text", "plain"), b"hi"), Part(MediaType.parse(kind), inner)], "outer"
    )
    assert [part.body for part in parts_of(message(outer_kind, outer))] == [b"hi", b"v=0"]


def nested(depth: int) -> Request:
    kind, body = "application/sdp", b"v=0"
    for level in range(depth):
        kind, body = write_multipart([Part(MediaType.parse(kind), body)], f"b{level}")
    return message(kind, body)


def test_depth_parts_and_headers_are_bounded() -> None:
    """A multipart bomb is a 400."""
    assert find_part(nested(3), "application/sdp") == b"v=0"
    bombs = [
        nested(4),
        mixed(b"--b\r\n\r\nx\r\n" * 17 + b"--b--"),
        mixed(b"--b\r\n" + b"X: 1\r\n" * 17 + b"\r\nx\r\n--b--"),
        mixed(b"--b\r\nX: " + b"1" * 2000 + b"\r\n\r\nx\r\n--b--"),
    ]
    for bomb in bombs:
        with pytest.raises(SipSyntaxError) as caught:
            parts_of(bomb)
        assert (caught.value.status, caught.value.header) == (400, "Content-Type")


@by_row(
    "bad",
    [
        message("multipart/mixed", b"--b\r\n\r\nx\r\n--b--"),
        message('multipart/mixed;boundary="b "', b"--b\r\n\r\nx\r\n--b--"),
        mixed(b"x", "b" * 71),
        mixed(b"--b\r\n\r\nx"),
        mixed(b"nothing"),
        mixed(b"--b\r\nno empty line\r\n--b--"),
        mixed(b"--b\r\nno colon\r\n\r\nx\r\n--b--"),
        mixed(b"--b\r\nbad name : x\r\n\r\nx\r\n--b--"),
        mixed(b"--b\r\nX: \x00\r\n\r\nx\r\n--b--"),
        mixed(b"--b\r\nContent-Type: nonsense\r\n\r\nx\r\n--b--"),
    ],
)
def test_a_malformed_multipart_is_a_syntax_error(bad: Request) -> None:
    """Boundary missing or malformed, not closed, bad header lines."""
    with pytest.raises(SipSyntaxError):
        parts_of(bad)


def test_a_boundary_must_not_occur_in_a_part() -> None:
    """Otherwise a part could end itself and begin another."""
    for boundary, body in (("b", b"x\r\n--b--"), ("bad\r\n", b"x"), ("", b"x")):
        with pytest.raises(SipBuildError):
            write_multipart([Part(SDP, body)], boundary)
    with pytest.raises(SipBuildError):
        write_multipart([], "b")


@given(st.lists(st.binary(max_size=60).filter(lambda body: b"--bound" not in body), min_size=1, max_size=5))
def test_what_is_written_is_read_again(bodies: list[bytes]) -> None:
    """Any bytes survive, line breaks at their ends included."""
    parts = [Part(SDP, body, Headers([("Content-ID", f"<{index}>")])) for index, body in enumerate(bodies)]
    assert parts_of(message(*write_multipart(parts, "bound"))) == parts


@given(
    st.lists(st.sampled_from([b"--b", b"--", b"\r\n", b"x", b":", b" ", b"--b--", b"Content-Type: a/b"]), max_size=30)
)
def test_any_bytes_give_parts_or_a_syntax_error(pieces: list[bytes]) -> None:
    """Nothing else comes out."""
    try:
        parts_of(mixed(b"".join(pieces)))
    except SipSyntaxError:
        return


def test_a_body_of_near_boundaries_takes_linear_time() -> None:
    """64 KiB that almost match cost milliseconds."""
    limits = BodyLimits(parts=100_000)
    started = time.process_time()
    with pytest.raises(SipSyntaxError):
        parts_of(mixed(b"\r\n--b" * 13_000), limits)
    assert time.process_time() - started < 0.2
