"""Ladders: messages of one call in order of time, without secrets, within their bound of memory."""

from __future__ import annotations

import pytest

from gateway.net.tap import Direction
from gateway.observe.ladder import Ladders
from gateway.observe.message_log import names_of
from gateway.sip.flow import Flow
from gateway.testing.clock import ManualClock
from tests.rows import by_row

FLOW = Flow.parse("udp:192.0.2.1:5060")


def _message(call_id: str, body: str = "") -> bytes:
    return f"INVITE sip:a@b SIP/2.0\r\nCall-ID: {call_id}\r\n\r\n{body}".encode()


def test_sip_and_web_stand_on_one_time_line_without_secrets() -> None:
    """By the names of the call; those of other calls are not among them."""
    clock = ManualClock()
    ladders = Ladders(1_000_000, clock)
    ladders.web("w1", "in", "alice", "offer", "v=0\r\na=ice-pwd:secretsecretsecretsecret\r\n")
    clock.advance(1)
    ladders.message(Direction.OUT, _message("s1"), FLOW, 0.0)
    ladders.message(Direction.OUT, _message("s2"), FLOW, 0.0)
    ladders.message(Direction.IN, b"\r\n\r\n", FLOW, 0.0)
    ladders.message(Direction.IN, b"INVITE sip:a:secret@b SIP/2.0\r\nCall-ID: s3\r\n\r\n", FLOW, 0.0)
    assert "secret" not in ladders.of(["s3"])[0].title
    clock.advance(1)
    ladders.web("w1", "out", "alice", "answer", "v=0")
    found = ladders.of(["s1", "w1", "s1", "unknown"])
    assert [rung.title for rung in found] == ["offer", "INVITE sip:a@b SIP/2.0", "answer"]
    assert [rung.peer for rung in found] == ["web:alice", str(FLOW), "web:alice"]
    assert "secret" not in found[0].text


@by_row("line", ["Call-ID: x1", "call-id :  x1", "i: x1", "CALL-ID:\tx1 "])
def test_a_message_is_of_its_call_however_the_header_is_written(line: str) -> None:
    """In long form and in short; what is said in a body is no header."""
    ladders = Ladders(1_000_000, ManualClock())
    ladders.message(Direction.IN, f"BYE sip:b SIP/2.0\r\n{line}\r\nCSeq: 1 BYE\r\n\r\n".encode(), FLOW, 0.0)
    ladders.message(Direction.IN, f"BYE sip:b SIP/2.0\r\nCSeq: 1 BYE\r\n\r\n\r\n{line}\r\n".encode(), FLOW, 0.0)
    assert [rung.title for rung in ladders.of(["x1"])] == ["BYE sip:b SIP/2.0"]


@pytest.mark.parametrize("between", [b"", b"Subject: x\r\n"])
def test_what_stands_in_a_body_names_no_call(between: bytes) -> None:
    """A Call-ID that the body begins with, or has further down, is nobody's; after empty lines the head's still is."""
    body = b"\r\n" + between + b"Call-ID: forged\r\nCSeq: 1 BYE\r\n"
    assert names_of(b"MESSAGE sip:a SIP/2.0\r\nCSeq: 1 MESSAGE\r\n" + body) == ("MESSAGE", None)
    assert names_of(b"\r\n\r\nMESSAGE sip:a SIP/2.0\r\nCall-ID: mine\r\nCSeq: 1 MESSAGE\r\n" + body) == (
        "MESSAGE",
        "mine",
    )
    assert names_of(b"MESSAGE sip:a SIP/2.0\r\ni: short\r\nCSeq: 1 MESSAGE\r\n" + body) == ("MESSAGE", "short")
    assert names_of(b"MESSAGE sip:a SIP/2.0\r\nCSeq: 1 MESSAGE\r\nCall-ID: cut") == ("MESSAGE", "cut")


def test_the_oldest_calls_are_given_up_and_one_call_cannot_take_everything() -> None:
    """However many messages strangers send, and however long."""
    ladders = Ladders(100_000, ManualClock())
    for number in range(1_000):
        ladders.message(Direction.IN, _message(f"s{number}", "x" * 60_000), FLOW, 0.0)
    assert ladders.of(["s0"]) == []
    assert len(ladders.of(["s999"])) == 1
    kept = sum(len(rung.text) for number in range(1_000) for rung in ladders.of([f"s{number}"]))
    assert kept <= 100_000
    for _ in range(1_000):
        ladders.web("w", "in", "alice", "ping", "x")
    assert len(ladders.of(["w"])) < 1_000


def test_registrations_push_no_call_out() -> None:
    """However many phones refresh: neither a REGISTER nor its answer is kept, only what a call is made of."""
    ladders = Ladders(10_000, ManualClock())
    ladders.message(Direction.IN, _message("call"), FLOW, 0.0)
    for number in range(1_000):
        for start in ("REGISTER sip:b SIP/2.0", "SIP/2.0 200 OK"):
            message = f"{start}\r\nCall-ID: r{number}\r\nCSeq: {number} REGISTER\r\n\r\n".encode()
            ladders.message(Direction.IN, message, FLOW, 0.0)
    assert len(ladders.of(["call"])) == 1
    assert ladders.of(["r999"]) == []


def test_none_are_kept_where_there_is_no_memory_for_them() -> None:
    """limits.ladder_memory: 0."""
    ladders = Ladders(0, ManualClock())
    ladders.web("w", "in", "alice", "offer", "x")
    assert ladders.of(["w"]) == []


def test_what_nobody_looks_at_takes_no_more_than_its_memory() -> None:
    """Messages of many calls, of which the latest are there."""
    ladders = Ladders(10_000, ManualClock())
    for number in range(1_000):
        ladders.message(Direction.IN, _message(f"s{number}"), FLOW, 0.0)
        assert len(ladders._fresh) < 64
        assert ladders._size <= 10_000
    assert [len(ladders.of([name])) for name in ("s999", "s0")] == [1, 0]
