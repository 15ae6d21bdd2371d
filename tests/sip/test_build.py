"""Building messages from messages."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sip.errors import SipBuildError, SipSyntaxError
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr, Via
from gateway.sip.message.message import Message, Request
from gateway.sip.message.parser import parse_message
from gateway.sip.message.uri import Uri
from tests.rows import by_row
from tests.sip.corpora import invite

ALICE = NameAddr(Uri.of("alice", "example.com"), "Alice").with_tag("a1")
BOB = NameAddr(Uri.of("bob", "example.com"))


def received(*changes: tuple[bytes, bytes]) -> Request:
    message = parse_message(invite(*changes))
    assert isinstance(message, Request)
    return message


def made(**changes: object) -> Request:
    arguments: dict[str, object] = {"from_": ALICE, "to": BOB, "call_id": "c1", "cseq": 1, **changes}
    return build.request("INVITE", Uri.parse("sip:bob@h;method=INVITE?x=y"), **arguments)  # type: ignore[arg-type]  # a test's free keywords


def test_a_request_has_what_every_request_needs() -> None:
    """Max-Forwards, From, To, Call-ID, CSeq; no URI headers in the Request-URI; Via on top when it is sent."""
    message = build.with_via(made(route=[NameAddr(Uri.parse("sip:p;lr"))], contact=BOB), Via("UDP", "h", 5060))
    assert str(message.uri) == "sip:bob@h"
    names = [name for name, _ in message.headers]
    assert names == ["Via", "Max-Forwards", "Route", "From", "To", "Call-ID", "CSeq", "Contact"]
    assert parse_message(message.write()) == message


def test_a_body_needs_its_type() -> None:
    """Content-Type goes with every body and with no other message."""
    assert made(body=b"x", content_type="text/plain").content_type is not None
    assert made(content_type="text/plain").content_type is None
    with pytest.raises(SipBuildError):
        made(body=b"x")
    with pytest.raises(SipBuildError):
        build.response(received(), 200, body=b"x")


@by_row("bad", ["\r\nX: 1", "\n", "\x00", "\x7f", "a\x0bb"])
def test_no_argument_takes_a_line_break(bad: str) -> None:
    """Every string argument of every builder refuses control bytes."""
    text = f"x{bad}"
    attempts: list[Callable[[], Message]] = [
        lambda: made(call_id=text),
        lambda: made(content_type=text, body=b"x"),
        lambda: made(headers=[("Subject", text)]),
        lambda: made(headers=[(text, "x")]),
        lambda: made(from_=NameAddr(ALICE.uri, text)),
        lambda: made(to=NameAddr(Uri("sip", text, "h"))),
        lambda: made(contact=NameAddr(Uri("sip", "a", text))),
        lambda: made(route=[NameAddr(Uri("sip", "a", "h", params=((text, None),)))]),
        lambda: build.request(text, BOB.uri, from_=ALICE, to=BOB, call_id="c", cseq=1),
        lambda: build.response(received(), 200, text),
        lambda: build.response(received(), 200, to_tag=text),
        lambda: build.response(received(), 200, headers=[("Warning", text)]),
        lambda: build.with_via(received(), Via("UDP", text)),
        lambda: build.with_via(received(), Via("UDP", "h", params=(("branch", text),))),
        lambda: build.cancel(received(), [("Reason", text)]),
        lambda: build.Refusal(480, text).response(received()),
    ]
    for attempt in attempts:
        with pytest.raises(SipBuildError):
            attempt().write()


def test_a_call_id_is_one_word() -> None:
    """White space would end it."""
    for bad in ("", "a b", "a\tb"):
        with pytest.raises(SipBuildError):
            made(call_id=bad)


def test_a_response_copies_what_the_rfc_says() -> None:
    """Every Via in order, From, To with our tag, Call-ID, CSeq (RFC 3261 8.2.6.2)."""
    request = received((b"Max-Forwards", b"Via: SIP/2.0/TCP second;branch=z9hG4bK2\r\nMax-Forwards"))
    answer = build.response(request, 180, to_tag="t1")
    assert answer.phrase == "Ringing"
    assert answer.via == request.via
    assert answer.to_tag == "t1"
    assert (answer.from_, answer.call_id, answer.cseq) == (request.from_, request.call_id, request.cseq)
    assert "Max-Forwards" not in answer.headers
    assert parse_message(answer.write()) == answer


def test_a_tag_that_is_there_stays() -> None:
    """In a dialog the To tag is the peer's copy of ours."""
    request = received((b"To: Bob <sip:bob@biloxi.example.com>", b"To: <sip:bob@biloxi.example.com>;tag=old"))
    assert build.response(request, 200, to_tag="new").to_tag == "old"


def test_a_100_has_no_tag_and_copies_the_timestamp() -> None:
    """RFC 3261 8.2.6.1: 100 belongs to no dialog."""
    request = received((b"Max-Forwards", b"Timestamp: 54\r\nMax-Forwards"))
    answer = build.response(request, 100, to_tag="t1")
    assert answer.to_tag is None
    assert answer.headers.get("Timestamp") == "54"
    assert build.response(request, 200, to_tag="t1").headers.get("Timestamp") is None


@by_row(("status", "copied"), [(100, 0), (180, 2), (200, 2), (302, 0), (404, 0)])
def test_record_route_is_copied_where_a_dialog_begins(status: int, copied: int) -> None:
    """RFC 3261 12.1.1."""
    request = received((b"Max-Forwards", b"Record-Route: <sip:p1;lr>\r\nRecord-Route: <sip:p2;lr>\r\nMax-Forwards"))
    assert len(build.response(request, status, to_tag="t").record_route) == copied


def test_the_ack_of_a_failure_belongs_to_its_invite() -> None:
    """RFC 3261 17.1.1.3: one Via, the response's To, the INVITE's everything else."""
    request = received((b"Max-Forwards", b"Route: <sip:p1;lr>\r\nMax-Forwards"))
    failure = build.response(request, 486, to_tag="t1")
    ack = build.ack_for_failure(request, failure)
    assert (ack.method, ack.uri, ack.via) == ("ACK", request.uri, request.via)
    assert (ack.to, ack.from_, ack.call_id) == (failure.to, request.from_, request.call_id)
    assert (ack.cseq.number, ack.cseq.method) == (1, "ACK")
    assert ack.route == request.route
    assert parse_message(ack.write()) == ack


def test_a_cancel_looks_like_its_invite() -> None:
    """RFC 3261 9.1: same Request-URI, top Via, tags, Route and number; only an INVITE has one."""
    request = received()
    cancel = build.cancel(request, [("Reason", "SIP;cause=200")])
    assert (cancel.method, cancel.uri, cancel.via) == ("CANCEL", request.uri, (request.top_via,))
    assert (cancel.from_, cancel.to, cancel.cseq.number) == (request.from_, request.to, 1)
    assert cancel.reason[0].cause == 200
    assert parse_message(cancel.write()) == cancel
    with pytest.raises(SipBuildError):
        build.cancel(build.ack_for_failure(request, build.response(request, 486)))


def test_a_refusal_builds_its_response() -> None:
    """Status, phrase and headers that were decided elsewhere."""
    answer = build.Refusal(423, headers=(("Min-Expires", 60),)).response(received(), "t1")
    assert (answer.status, answer.phrase, answer.min_expires) == (423, "Interval Too Brief", 60)
    assert build.Refusal(403, "Not You").response(received()).phrase == "Not You"
    assert build.Refusal(599).response(received()).phrase == ""


def test_an_error_without_partial_is_not_answered() -> None:
    """Nothing is known of who sent it."""
    assert build.error_response(SipSyntaxError("bad")) is None


@given(st.text(max_size=30))
def test_any_display_name_is_written_safely_or_refused(name: str) -> None:
    """A caller's name from the web side is text in the message, or no message."""
    try:
        data = build.with_via(made(from_=NameAddr(ALICE.uri, name).with_tag("a1")), Via("UDP", "h")).write()
    except SipBuildError:
        return
    again = parse_message(data)
    assert again.from_.display_name == name
    assert again.from_tag == "a1"
    assert len(again.headers) == 7
