"""Corners of transactions and sessions that no call comes to: messages made to get there."""

from __future__ import annotations

import pytest

from gateway.sip.errors import SipSyntaxError
from gateway.sip.flow import Flow
from gateway.sip.message import build
from gateway.sip.message.fields import Headers
from gateway.sip.message.message import Request
from gateway.sip.message.parser import parse_message
from gateway.sip.transactions.admission import Admission, AdmissionLimits
from gateway.sip.transactions.answers import fitting
from gateway.sip.transactions.config import StackConfig
from gateway.sip.transactions.events import RequestReceived
from gateway.sip.transactions.layer import Stack
from gateway.sip.transactions.via import stamp
from tests.sip.agents import answer, stage_with_invite

STRANGER = Flow("udp", "192.0.2.9", 5070, "here")
STREAM = Flow("tcp", "192.0.2.9", 5070, "here")
OPTIONS = (
    b"OPTIONS sip:gw.test SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5070;rport;branch=z9hG4bKcorner\r\n"
    b"From: <sip:a@b.test>;tag=a\r\nTo: <sip:gw.test>\r\nCall-ID: corner\r\nCSeq: 1 OPTIONS\r\n"
    b"Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)


def stack() -> Stack:
    return Stack(
        StackConfig(admission=AdmissionLimits(rate=0)), token=lambda: "token", sent_by=lambda _: ("192.0.2.1", 5060)
    )


def request(data: bytes = OPTIONS) -> Request:
    message = parse_message(data)
    assert isinstance(message, Request)
    return message


def test_what_is_no_address_is_trusted_by_nobody() -> None:
    """A flow may carry a name where a proxy put one."""
    admission = Admission(AdmissionLimits(trusted=("192.0.2.0/24",)))
    assert not admission.is_trusted("phone.example")
    assert admission.is_trusted("192.0.2.7")


def test_a_challenge_of_another_scheme_is_left_as_it_is() -> None:
    """Only of a digest do we know what may go (RFC 7616 section 3.3)."""
    basic = build.response(request(), 401, to_tag="t", headers=(("WWW-Authenticate", 'Basic realm="r", charset="U"'),))
    shortest = min(len(data) for size in range(120, 600) if (data := fitting(basic, size)) is not None)
    told = fitting(basic, shortest)
    assert told is not None
    assert b'Basic realm="r", charset="U"' in told


def test_a_refusal_of_what_has_no_readable_to_is_as_short_as_it_can_be_all_the_same() -> None:
    """Its To goes back as it came; there is no tag in it that could be cut."""
    refusal = build.response(request(), 400, to_tag="t").with_headers(
        request().headers.only("Via", "From", "Call-ID", "CSeq").add("To", "no address <")
    )
    shortest = min(len(data) for size in range(120, 600) if (data := fitting(refusal, size)) is not None)
    assert b"t:no address <\r\n" in (fitting(refusal, shortest) or b"")


def test_a_call_knows_whether_anybody_has_answered_it_at_all() -> None:
    """A 100 says that somebody is there; silence is not tried again in the same words."""
    stage, _, session, invite = stage_with_invite()
    assert not session.has_responded
    stage.send(answer(invite, 100))
    assert session.has_responded


def test_a_request_without_via_or_with_one_that_is_none_goes_nowhere() -> None:
    """There is no way to answer it."""
    made = stack()
    bare = request().with_headers(request().headers.without("Via"))
    made.receive_message(bare, STREAM, 0.0, 100)
    assert made.counts["request without Via"] == 1
    broken = request().with_header("Via", "no via at all")
    made.receive_message(broken, STREAM, 0.0, 100)
    assert (made.events(), made.datagrams()) == ([], [])
    with pytest.raises(SipSyntaxError):
        stamp(Headers([]), STREAM)


def test_a_datagram_of_nobody_that_comes_back_changes_nothing() -> None:
    """Anybody can send an ICMP message; only the branch of a request of ours in it counts."""
    made = stack()
    made.unreachable(OPTIONS, STRANGER, 0.0)
    made.unreachable(b"", STRANGER, 0.0)
    assert made.counts["stray unreachable"] == 2


def test_a_stranger_is_sent_no_provisional_answer() -> None:
    """The room that its request paid for is kept for the refusal (see docs of amplification)."""
    made = stack()
    made.receive(OPTIONS, STRANGER, 0.0)
    (event,) = made.events()
    assert isinstance(event, RequestReceived)
    made.respond(event.transaction, build.response(event.request, 100), 0.0)
    assert made.datagrams() == []
    assert made.counts["answer would amplify"] == 1


def test_a_ping_is_answered_on_a_stream_alone() -> None:
    """RFC 5626 section 4.4.1; on UDP it would be an answer to a forged address."""
    made = stack()
    made.receive(b"\r\n\r\n", STRANGER, 0.0)
    assert made.datagrams() == []
    made.receive(b"\r\n\r\n", STREAM, 0.0)
    assert made.datagrams() == [(b"\r\n", STREAM)]


def test_a_request_of_ours_that_comes_back_fails_at_once() -> None:
    """ICMP says that nobody is there (RFC 3261 section 18.4)."""
    made = stack()
    made.send_request(request().with_headers(request().headers.without("Via")), STRANGER, 0.0)
    ((data, flow),) = made.datagrams()
    made.unreachable(data, flow, 0.0)
    assert [type(event).__name__ for event in made.events()] == ["TransactionFailed"]


def test_an_ack_of_a_success_with_the_invites_branch_is_still_told() -> None:
    """Clients of RFC 2543 send it so; the transaction that stays for copies of the INVITE passes it on (RFC 6026)."""
    made = stack()
    made.receive(OPTIONS.replace(b"OPTIONS", b"INVITE"), STREAM, 0.0)
    (event,) = made.events()
    assert isinstance(event, RequestReceived)
    made.respond(event.transaction, build.response(event.request, 200, to_tag="ours"), 0.0)
    made.receive(
        OPTIONS.replace(b"OPTIONS", b"ACK").replace(b"To: <sip:gw.test>", b"To: <sip:gw.test>;tag=ours"), STREAM, 0.0
    )
    assert [type(event).__name__ for event in made.events()] == ["AckReceived"]
