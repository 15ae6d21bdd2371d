"""What gateways of one cluster send each other is believed, once, now, and by the one it is for."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from gateway.access.nodes import HEADER, NODE, WINDOW, Nodes
from gateway.sip.flow import Flow
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request
from gateway.sip.message.uri import Uri
from tests.rows import by_row

ONE, TWO, THREE = "sip:10.0.0.1:5060", "sip:10.0.0.2:5060", "sip:10.0.0.3:5060"
PLACES = {("10.0.0.1", 5060): ONE, ("10.0.0.2", 5060): TWO, ("10.0.0.3", 5060): THREE}
TO_TWO = Flow("udp", "10.0.0.2", 5060)
SOURCE = Flow("udp", "10.0.0.1", 5060)
KEY = bytes(range(32))


class Clock:
    """Seconds, turned by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def gateway(node: str, clock: Callable[[], float], key: bytes = KEY, start: str = "1") -> Nodes:
    """One that runs as its process of that name, and takes every other one for the first of its own."""
    salts = itertools.count()
    random = lambda count: next(salts).to_bytes(count)  # noqa: E731
    return Nodes(node, key, clock, random, lambda *place: PLACES.get(place), start, lambda node: "1")


def invite(method: str = "INVITE", *headers: tuple[str, str], call_id: str = "c1", cseq: int = 1) -> Request:
    return build.request(
        method,
        Uri.parse("sip:alice@gw.test"),
        from_=NameAddr(Uri.parse("sip:bob@gw.test")).with_tag("a"),
        to=NameAddr(Uri.parse("sip:alice@gw.test")),
        call_id=call_id,
        cseq=cseq,
        headers=headers,
    )


def test_a_gateway_knows_another_and_what_it_tells() -> None:
    """Of a call, and of a request that tells nothing."""
    clock = Clock()
    one, two = gateway(ONE, clock), gateway(TWO, clock)
    told = {"user": "alice", "caller": {"uri": "sip:bob@gw.test"}}
    sent = one.sign(invite("INVITE", one.field(told)), TO_TWO)
    assert two.verify(sent, SOURCE) == NODE + ONE
    assert told.items() <= two.told(sent).items()
    assert two.verify(one.sign(invite("BYE"), TO_TWO), SOURCE) == NODE + ONE


def test_nobody_else_is_told_anything() -> None:
    """Neither the field nor a seal leaves for an address that is no gateway's; nor by another port of one."""
    one = gateway(ONE, Clock())
    request = invite("INVITE", one.field({"user": "alice"}))
    for elsewhere in (Flow("udp", "203.0.113.9", 5060), Flow("udp", "10.0.0.2", 5070)):
        assert HEADER not in one.sign(request, elsewhere).headers
        assert HEADER not in one.sign(invite(), elsewhere).headers


def test_a_request_counts_once_and_a_new_one_again() -> None:
    """Whoever has overheard it and sends it again is a stranger; so is a copy in the time after it is forgotten."""
    clock = Clock()
    one, two = gateway(ONE, clock), gateway(TWO, clock)
    sent = one.sign(invite(), TO_TWO)
    assert two.verify(sent, SOURCE) is not None
    assert two.verify(sent, SOURCE) is None
    assert two.verify(one.sign(invite(), TO_TWO), SOURCE) is not None
    clock.now += 3 * WINDOW
    assert two.verify(one.sign(invite(), TO_TWO), SOURCE) is not None
    assert two.verify(sent, SOURCE) is None


def test_a_request_of_a_clock_that_is_ahead_counts_once_for_as_long_as_it_is_believed() -> None:
    """It is not too old until two windows after it came, whatever comes meanwhile."""
    clock = Clock()
    one, two = gateway(ONE, lambda: clock.now + WINDOW - 5), gateway(TWO, clock)
    sent = one.sign(invite(), TO_TWO)
    assert two.verify(sent, SOURCE) is not None
    clock.now += WINDOW + 10
    assert two.verify(one.sign(invite(), TO_TWO), SOURCE) is not None
    assert two.verify(sent, SOURCE) is None
    assert two.refused == {"came before": 1}


@pytest.mark.parametrize("seconds", [-WINDOW - 1, WINDOW + 1])
def test_a_request_of_another_time_is_a_strangers(seconds: float) -> None:
    """Late, or from a clock that is wrong: each is counted, and named once a minute."""
    clock = Clock()
    one, two = gateway(ONE, lambda: clock.now - seconds), gateway(TWO, clock)
    for times in (1, 2):
        with capture_logs() as logs:
            for _ in range(3):
                assert two.verify(one.sign(invite(), TO_TWO), SOURCE) is None
        [line] = logs
        assert (line["node"], line["reason"]) == (ONE, "right seal, wrong time")
        assert line["sealed_seconds_ago"] == seconds
        assert two.refused == {"right seal, wrong time": 3 * times}
        clock.now += 61


def test_a_request_for_another_gateway_or_the_process_before_is_a_strangers() -> None:
    """What was sent to one of them opens none of the others; nor the same one started anew."""
    clock = Clock()
    one, three = gateway(ONE, clock), gateway(THREE, clock)
    sent = one.sign(invite(), TO_TWO)
    assert three.verify(sent, SOURCE) is None
    assert three.refused == {"for another gateway": 1}
    again = gateway(TWO, clock, start="2")
    assert again.verify(sent, SOURCE) is None
    assert again.refused == {"for the process before": 1}


@pytest.mark.parametrize("seconds", [-WINDOW + 1, WINDOW - 1])
def test_a_gateway_that_has_just_begun_believes_clocks_that_differ(seconds: float) -> None:
    """What was sealed for this very process is believed at once, however early the sender's clock says it was."""
    clock = Clock()
    one, two = gateway(ONE, lambda: clock.now + seconds), gateway(TWO, clock)
    assert two.verify(one.sign(invite(), TO_TWO), SOURCE) == NODE + ONE


def test_a_seal_on_another_description_or_contact_is_broken() -> None:
    """Whoever overhears a call has its sound sent nowhere else."""
    clock = Clock()
    one, two = gateway(ONE, clock), gateway(TWO, clock)
    called = invite("INVITE", ("Contact", "<sip:bob@10.0.0.1>"))
    sent = one.sign(Request(called.method, called.uri, called.headers, b"v=0"), TO_TWO)
    elsewhere = sent.headers.with_("Contact", "<sip:mallory@203.0.113.9>")
    for forged in (
        Request(sent.method, sent.uri, sent.headers, b"v=1"),
        Request(sent.method, sent.uri, sent.headers),
        Request(sent.method, sent.uri, elsewhere, sent.body),
        Request(sent.method, sent.uri, sent.headers.without("Contact"), sent.body),
    ):
        assert two.verify(forged, SOURCE) is None
    assert two.verify(sent, SOURCE) == NODE + ONE


def test_whoever_changes_a_request_breaks_its_seal() -> None:
    """Method, Request-URI, Call-ID, CSeq, or what it tells; and whoever has another key."""
    clock = Clock()
    one, two = gateway(ONE, clock), gateway(TWO, clock)
    sent = one.sign(invite("INVITE", one.field({"user": "alice"})), TO_TWO)
    value = sent.headers.get(HEADER) or ""
    text, _, seal = value.partition(".")
    other, _, _ = (one.sign(invite("INVITE", one.field({"user": "bob"})), TO_TWO).headers.get(HEADER) or "").partition(
        "."
    )
    moved = Request(sent.method, Uri.parse("sip:carol@gw.test"), sent.headers, sent.body)
    for forged in (
        invite("BYE", (HEADER, value)),
        invite("INVITE", (HEADER, value), call_id="c2"),
        invite("INVITE", (HEADER, value), cseq=2),
        moved,
        invite("INVITE", (HEADER, f"{other}.{seal}")),
        gateway(ONE, clock, bytes(32)).sign(invite(), TO_TWO),
    ):
        assert two.verify(forged, SOURCE) is None
    assert two.verify(invite("INVITE", (HEADER, f"{text}.{seal}")), SOURCE) is not None


@by_row("value", ["", ".", "a", "a.b", "é.é", "W10.x", "x" * 20_000, "e30." + "A" * 43])
def test_what_a_stranger_writes_there_is_nothing(value: str) -> None:
    """It raises nothing, and tells nothing that is no object."""
    two = gateway(TWO, Clock())
    request = invite().with_headers(invite().headers.add(HEADER, value))
    assert two.verify(request, SOURCE) is None
    assert two.told(request) == {}
    assert two.verify(invite(), SOURCE) is None


def test_a_seal_over_what_no_gateway_writes_is_nothing() -> None:
    """A gateway of another version may say less, or otherwise."""
    clock = Clock()
    two = gateway(TWO, clock)
    mute = Nodes(ONE, KEY, lambda: "now", lambda count: bytes(count), lambda *place: TWO, "1", lambda node: "1")  # type: ignore[arg-type, return-value]
    assert two.verify(mute.sign(invite(), TO_TWO), SOURCE) is None


def test_a_gateway_that_is_to_show_a_certificate_is_a_stranger_without() -> None:
    """Whatever its seal says; and it is said what was lacking."""
    clock = Clock()
    shown: set[tuple[Flow, str]] = set()
    one = gateway(ONE, clock)
    two = Nodes(TWO, KEY, clock, bytes, PLACES.get, "1", lambda node: "1", lambda *what: what in shown)  # type: ignore[arg-type]
    assert two.verify(one.sign(invite(), TO_TWO), SOURCE) is None
    assert two.refused == {"without a certificate of its own": 1}
    shown.add((SOURCE, ONE))
    assert two.verify(one.sign(invite(cseq=2), TO_TWO), SOURCE) == NODE + ONE
    assert two.verify(one.sign(invite(cseq=3), TO_TWO), TO_TWO) is None


def test_a_value_that_is_too_long_is_nothing_whatever_its_seal() -> None:
    """Nobody has its HMAC taken of more than a header of ours has."""
    clock = Clock()
    one, two = gateway(ONE, clock), gateway(TWO, clock)
    for length, identity in ((1_000, NODE + ONE), (8_192, None)):
        sent = one.sign(invite("INVITE", one.field({"user": "a" * length})), TO_TWO)
        assert two.verify(sent, SOURCE) == identity


def test_so_many_requests_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is forgotten first, and would count again within its time."""
    monkeypatch.setattr("gateway.access.nodes._REMEMBERED", 2)
    clock = Clock()
    one, two = gateway(ONE, clock), gateway(TWO, clock)
    first, second, third = (one.sign(invite(cseq=number), TO_TWO) for number in (1, 2, 3))
    for sent in (first, second, third):
        assert two.verify(sent, SOURCE) is not None
    assert [two.verify(sent, SOURCE) is not None for sent in (second, third, first)] == [False, False, True]


def test_so_many_lines_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger with the key who calls itself otherwise each time fills the log, but no memory."""
    monkeypatch.setattr("gateway.access.nodes._SAID", 2)
    clock = Clock()
    two = gateway(TWO, clock)

    def lines(*nodes: str) -> list[str]:
        with capture_logs() as logs:
            for node in nodes:
                assert two.verify(gateway(node, lambda: clock.now - 2 * WINDOW).sign(invite(), TO_TWO), SOURCE) is None
        return [line["node"] for line in logs]

    assert lines("a", "b", "a", "c") == ["a", "b", "c"]
    assert lines("c", "b", "a") == ["a"]
