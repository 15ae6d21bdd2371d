"""Cutting streams into messages: any chunking, keep-alives, bad messages among good ones, limits."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from gateway.sip.message.framing import Broken, StreamFramer
from gateway.sip.message.message import Request
from gateway.sip.message.parser import KeepAlive, Limits, parse_message
from tests.rows import by_row
from tests.sip.corpora import invite

GOOD = invite()
EMPTY = invite().partition(b"\r\n\r\n")[0].replace(b"INVITE", b"OPTIONS")
EMPTY = b"\r\n".join(b"Content-Length: 0" if x.startswith(b"Content-Length") else x for x in EMPTY.split(b"\r\n"))
EMPTY += b"\r\n\r\n"


@given(st.lists(st.sampled_from([GOOD, EMPTY]), min_size=1, max_size=4), st.data())
def test_chunks_do_not_matter(messages: list[bytes], data: st.DataObject) -> None:
    """However a stream is cut, the same messages come out in order."""
    stream = b"".join(messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    framer = StreamFramer()
    frames = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        frames += framer.feed(stream[start:end])
    assert frames == [parse_message(one) for one in messages]
    assert framer.unfinished == 0


def test_single_bytes_are_enough() -> None:
    """A message that trickles in byte by byte is one message."""
    framer = StreamFramer()
    frames = [frame for byte in GOOD for frame in framer.feed(bytes([byte]))]
    assert frames == [parse_message(GOOD)]


def test_pings_and_pongs_are_told_apart() -> None:
    """Two CRLFs are a ping, one is a pong, whatever the chunks; around messages they change nothing."""
    assert StreamFramer().feed(b"\r\n\r\n") == [KeepAlive.PING]
    framer = StreamFramer()
    assert framer.feed(b"\r") == []
    assert framer.feed(b"\n") == [KeepAlive.PONG]
    assert framer.feed(b"\r\n") == [KeepAlive.PING]
    assert framer.feed(b"\r\n\r\n" + EMPTY + b"\r\n\r\n") == [KeepAlive.PING, parse_message(EMPTY), KeepAlive.PING]


@by_row(
    ("pieces", "answered", "frames"),
    [
        ((b"\r\n",), True, [KeepAlive.PONG]),
        ((b"\r", b"\n"), True, [KeepAlive.PONG]),
        ((b"\r\n\r\n",), False, [KeepAlive.PING]),
        ((b"\r\n", b"\r\n"), False, [KeepAlive.PONG, KeepAlive.PING]),
        ((b"\r\n\r", b"\n"), False, [KeepAlive.PONG, KeepAlive.PING]),
        ((b"\r\n", b"\r\n\r\n"), True, [KeepAlive.PONG, KeepAlive.PING]),
        ((b"\r\n\r\n", b"\r\n"), True, [KeepAlive.PING, KeepAlive.PONG]),
        ((b"\r\n\r\n\r\n",), True, [KeepAlive.PING, KeepAlive.PONG]),
        ((b"\r\n" + EMPTY,), True, [KeepAlive.PONG, parse_message(EMPTY)]),
    ],
)
def test_a_pong_is_no_half_of_a_ping(pieces: tuple[bytes, ...], answered: bool, frames: list[object]) -> None:
    """While a keep-alive of ours waits, a lone CRLF answers it, and two are the peer's own, in one piece or in two."""
    framer = StreamFramer()
    framer.expect_pong()
    assert [frame for piece in pieces for frame in framer.feed(piece)] == frames
    assert framer.take_pong() is answered


def test_a_stray_crlf_answers_nothing() -> None:
    """Nor does one that comes when nobody waits any more; whoever asks again is answered again."""
    framer = StreamFramer()
    framer.feed(b"\r\n")
    assert not framer.take_pong()
    framer = StreamFramer()
    framer.expect_pong()
    assert not framer.take_pong()
    framer.feed(b"\r\n")
    assert not framer.take_pong()
    framer = StreamFramer()
    for _ in range(3):
        framer.expect_pong()
        assert framer.feed(b"\r\n") == [KeepAlive.PONG]
        assert framer.take_pong()


def test_a_flood_of_pings_is_one_frame() -> None:
    """Thousands of CRLFs in one read cost one answer."""
    assert StreamFramer().feed(b"\r\n" * 20_000) == [KeepAlive.PING]


def test_a_bad_message_does_not_hurt_the_next() -> None:
    """Where the length is beyond doubt the stream goes on behind a message that cannot be read."""
    bad = invite((b"CSeq: 1 INVITE", b"CSeq: 1 BYE"))
    first, second = StreamFramer().feed(bad + GOOD)
    assert isinstance(first, Broken)
    assert (first.closes, first.error.status) == (False, 400)
    assert second == parse_message(GOOD)


@by_row(
    ("old", "new"),
    [
        (b"Content-Length: 151", b"X-Length: 151"),
        (b"Content-Length: 151", b"Content-Length: -1"),
        (b"Content-Length: 151", b"Content-Length: 151\r\nContent-Length: 0"),
        (b"Content-Length: 151", b"Content-Length: 4294967295"),
        (b"Content-Length: 151", b"Content-Length: 99999999999999999999999"),
    ],
)
def test_a_length_in_doubt_closes(old: bytes, new: bytes) -> None:
    """Without one good Content-Length the place of the next message is lost."""
    body = len(GOOD.partition(b"\r\n\r\n")[2])
    data = invite((old.replace(b"151", b"%d" % body), new.replace(b"151", b"%d" % body)))
    framer = StreamFramer()
    frames = framer.feed(data + GOOD)
    assert len(frames) == 1
    assert isinstance(frames[0], Broken)
    assert frames[0].closes
    assert frames[0].error.status in (400, 513)
    assert framer.closed
    assert framer.feed(GOOD) == []


def test_a_head_without_end_is_bounded() -> None:
    """An endless header is cut off at the limit, not kept."""
    framer = StreamFramer(Limits(head=1000))
    assert framer.feed(b"INVITE sip:a@b SIP/2.0\r\nX: ") == []
    frames = framer.feed(b"x" * 1000)
    assert isinstance(frames[0], Broken)
    assert (frames[0].closes, frames[0].error.status) == (True, 513)
    assert framer.unfinished == 0


def test_an_unfinished_message_shows() -> None:
    """The shell can see that a message is awaited and bound the time."""
    framer = StreamFramer()
    framer.feed(GOOD[:-1])
    assert framer.unfinished > 0
    assert framer.feed(GOOD[-1:]) == [parse_message(GOOD)]
    framer.feed(GOOD.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
    assert framer.unfinished > 0


@given(st.binary(max_size=400))
def test_any_bytes_give_frames(data: bytes) -> None:
    """The framer never raises."""
    framer = StreamFramer()
    for frame in framer.feed(data + b"\r\n\r\n" + GOOD):
        assert isinstance(frame, Request | KeepAlive | Broken) or frame.is_final or frame.is_provisional


def test_byte_by_byte_takes_linear_time() -> None:
    """The end of a head is not searched from the start again with every byte."""
    framer = StreamFramer()
    data = b"INVITE sip:a@b SIP/2.0\r\nX: " + b"x" * 32_000
    started = time.process_time()
    for position in range(len(data)):
        framer.feed(data[position : position + 1])
    # Searching from the start each time would touch 500 MB here.
    assert time.process_time() - started < 0.5
