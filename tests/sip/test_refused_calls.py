"""Calls that are refused before anything is kept of them: their copies ring nobody, and their ACKs cost little."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from gateway.sip.flow import Flow
from gateway.sip.message.message import Request, Response
from gateway.sip.transactions import State
from gateway.sip.transactions.admission import AdmissionLimits
from gateway.sip.transactions.config import StackConfig
from gateway.sip.transactions.events import RequestReceived
from gateway.sip.transactions.layer import Stack
from gateway.sip.transactions.refusals import Refusals
from tests.rows import by_row
from tests.sip.stack_support import FREE, SOURCE, answers, stack_of, text

ELSEWHERE = Flow("udp", "192.0.2.77", 5070, "here")


def busy_once(transactions: int = 20_000, limits: Sequence[str] = ()) -> Stack:
    """A stack that has time for every call but the first, and names `limits` one after the other."""
    stack = stack_of(StackConfig(admission=AdmissionLimits(rate=0), transactions=transactions))
    asked = itertools.count()
    named = itertools.chain(limits, itertools.repeat(""))
    stack.admit_calls(lambda invite, source, known: next(asked) > 0, named.__next__)
    return stack


def test_a_copy_of_a_refused_call_begins_nothing() -> None:
    """It was on its way when the first was refused: whoever sent both has given up, and would be rung for nothing."""
    stack = busy_once()
    for when in (0.0, 0.1, 31.9):
        stack.receive(text("INVITE"), SOURCE, when)
    refused = answers(stack)
    assert [response.status for response, _ in refused] == [503, 503, 503]
    assert len({response.to_tag for response, _ in refused}) == 1
    assert stack.events() == []


def test_a_full_table_is_named_as_a_limit_and_lack_of_time_as_overload() -> None:
    """Each copy of a call has the Reason of the first, whatever has become of the limit."""
    full = stack_of(StackConfig(admission=AdmissionLimits(rate=0), transactions=0))
    late = busy_once(limits=("limits.delay",))
    for stack, reason in (
        (full, 'Q.850;cause=44;text="limit: sip.limits.max_transactions"'),
        (late, 'Q.850;cause=42;text="overloaded: limits.delay"'),
    ):
        for when in (0.0, 0.5):
            stack.receive(text("INVITE"), SOURCE, when)
        assert [response.headers.get("Reason") for response, _ in answers(stack)] == [reason] * 2


@pytest.mark.parametrize("again", [{"branch": "z9hG4bKtwo", "cseq": 2}, {"branch": "z9hG4bKtwo", "call_id": "c2"}])
def test_the_next_try_of_a_refused_call_is_let_in(again: dict[str, object]) -> None:
    """It has a branch of its own (RFC 3261 8.1.1.7)."""
    stack = busy_once()
    stack.receive(text("INVITE"), SOURCE, 0.0)
    stack.receive(text("INVITE", **again), SOURCE, 0.1)  # type: ignore[arg-type]
    assert len(stack.events()) == 1


@by_row(
    ("branch", "source", "when"),
    [
        ("z9hG4bKone", ELSEWHERE, 0.1),
        ("old", SOURCE, 0.1),
        ("z9hG4bK", SOURCE, 0.1),
        ("z9hG4bKone", SOURCE, 32.1),
    ],
)
def test_only_that_copy_is_refused(branch: str, source: Flow, when: float) -> None:
    """Not who has the same branch elsewhere, not one whose branch is not alone of its kind, and not for ever."""
    stack = busy_once()
    stack.receive(text("INVITE", branch=branch), SOURCE, 0.0)
    stack.receive(text("INVITE", branch=branch, call_id="c2", cseq=2), source, when)
    assert len(stack.events()) == 1


def test_another_phone_behind_the_same_address_may_have_the_same_branch() -> None:
    """Browsers draw it from ten million, and behind a proxy all have one address; sent-by differs (RFC 3261 17.2.3)."""
    stack = busy_once()
    stack.receive(text("INVITE", via="aaa.invalid"), SOURCE, 0.0)
    other = Flow("udp", SOURCE.host, 5071, "here")
    stack.receive(text("INVITE", via="bbb.invalid", call_id="c2"), other, 0.1)
    assert len(stack.events()) == 1
    ack = text("ACK", to_tag="t", via="bbb.invalid", call_id="c2")
    stack.receive(ack.replace(b"Call-ID", b"Call ID"), other, 0.2)
    assert stack.counts["malformed"] == 1


def test_a_call_refused_for_want_of_room_stays_refused() -> None:
    """Room that was made between two copies of it is for others."""
    stack = stack_of(StackConfig(admission=AdmissionLimits(rate=0), transactions=0))
    stack.receive(text("INVITE"), SOURCE, 0.0)
    stack.config = StackConfig(admission=AdmissionLimits(rate=0))
    stack.receive(text("INVITE"), SOURCE, 0.5)
    assert stack.events() == []
    assert len(answers(stack)) == 2


@pytest.mark.parametrize("first", [text("OPTIONS"), text("INVITE", to_tag="t")])
def test_only_what_begins_a_call_is_remembered(first: bytes) -> None:
    """Neither another request nor a re-INVITE that found no room says anything of a call with its branch."""
    stack = stack_of(StackConfig(admission=AdmissionLimits(rate=0), transactions=0))
    stack.receive(first, SOURCE, 0.0)
    assert [response.status for response, _ in answers(stack)] == [503]
    stack.config = FREE
    stack.receive(text("INVITE"), SOURCE, 0.5)
    assert len(stack.events()) == 1


def test_the_ack_of_a_copy_that_found_room_is_taken() -> None:
    """A re-INVITE that was refused for want of room is answered when it comes again, and its ACK ends that answer."""
    stack = stack_of(StackConfig(admission=AdmissionLimits(rate=0), transactions=0))
    stack.receive(text("INVITE", to_tag="t"), SOURCE, 0.0)
    stack.config = FREE
    stack.receive(text("INVITE", to_tag="t"), SOURCE, 0.5)
    [event] = stack.events()
    assert isinstance(event, RequestReceived)
    stack.respond(event.transaction, Response(491, "Request Pending"), 0.5)
    stack.receive(text("ACK", to_tag="t"), SOURCE, 0.6)
    assert event.transaction.state is State.CONFIRMED


@by_row("written", [b"Via:", b"v:", b"VIA :"])
@by_row(
    "via", ["192.0.2.9:5070;rport", "192.0.2.9", "[2001:DB8::9]:5070 ; rport", "[2001:db8::9]", "Phone.example;a=b;c"]
)
def test_the_ack_of_a_refusal_is_dropped_before_it_is_read(written: bytes, via: str) -> None:
    """It is half of what a refusal costs; another one, or from elsewhere, is read as any."""
    stack = busy_once()
    stack.receive(text("INVITE", via=via), SOURCE, 0.0)
    ack = text("ACK", to_tag="t", via=via).replace(b"Via:", written).replace(b"Call-ID", b"Call ID")
    stack.receive(ack, SOURCE, 0.1)
    assert "malformed" not in stack.counts
    stack.receive(ack, ELSEWHERE, 0.1)
    stack.receive(ack.replace(b"z9hG4bKone", b"z9hG4bKonf"), SOURCE, 0.1)
    stack.receive(ack, SOURCE, 32.1)
    assert stack.counts["malformed"] == 3


def test_the_ack_of_a_refusal_costs_its_source_nothing() -> None:
    """It is dropped though that one may send no more at the moment; another request is not answered."""
    stack = stack_of(StackConfig(admission=AdmissionLimits(rate=1, burst=1)))
    stack.admit_calls(lambda invite, source, known: False, lambda: "")
    stack.receive(text("INVITE"), SOURCE, 0.0)
    for _ in range(3):
        stack.receive(text("ACK", to_tag="t"), SOURCE, 0.0)
    assert stack.counts["over rate"] == 0
    stack.receive(text("OPTIONS", branch="z9hG4bKtwo"), SOURCE, 0.0)
    assert stack.counts["over rate"] == 1


def test_the_branch_of_an_ack_is_that_of_its_first_via() -> None:
    """One that came through a proxy has another behind a comma: that is not whose INVITE was refused."""
    stack = busy_once()
    stack.receive(text("INVITE"), SOURCE, 0.0)
    ack = text("ACK", to_tag="t", branch="").replace(b"Call-ID", b"Call ID")
    via = b"Via: SIP/2.0/UDP 192.0.2.9:5070;rport"
    assert via in ack
    stack.receive(ack.replace(via, via + b", SIP/2.0/UDP 192.0.2.8;branch=z9hG4bKone"), SOURCE, 0.1)
    assert stack.counts["malformed"] == 1


def test_of_what_looks_like_an_ack_little_is_read_before_its_rate_is_asked() -> None:
    """A datagram of 64 kB costs no more than a short one; an ACK whose Via is that far behind is read as any."""
    stack = busy_once()
    stack.receive(text("INVITE"), SOURCE, 0.0)
    ack = text("ACK", to_tag="t").replace(b"Call-ID", b"Call ID")
    for padding, read in ((400, 0), (1_000, 1), (60_000, 2)):
        stack.receive(ack.replace(b"Via: SIP/2.0/UDP ", b"Via: SIP/2.0/UDP" + b" " * padding), SOURCE, 0.1)
        assert stack.counts["malformed"] == read


def test_refusals_are_forgotten_once_nobody_repeats_what_was_refused() -> None:
    """Those that are younger stay."""
    stack = busy_once()
    refusals = stack._refusals
    for branch, when in (("z9hG4bKone", 0.0), ("z9hG4bKtwo", 20.0)):
        stack.admit_calls(lambda invite, source, known: False, lambda: "")
        stack.receive(text("INVITE", branch=branch, call_id=branch), SOURCE, when)
    for when, left in ((31.9, 2), (32.0, 1), (52.0, 0)):
        stack.receive(text("ACK", to_tag="t", branch="z9hG4bKother"), SOURCE, when)
        assert len(refusals) == left


def test_ten_thousand_refusals_are_remembered() -> None:
    """Of more, the oldest are forgotten."""
    refusals = Refusals()
    stack = stack_of()
    stack.receive(text("INVITE"), SOURCE, 0.0)
    [event] = stack.events()
    invite = event.request  # type: ignore[union-attr]
    assert isinstance(invite, Request)
    for port in range(10_001):
        refusals.add(invite, Flow("udp", f"host{port}", 5060, "here"), 0.0, "full")
    assert len(refusals) == 10_000
    assert refusals.reason(invite, Flow("udp", "host0", 5060, "here"), 1.0) is None
    assert refusals.reason(invite, Flow("udp", "host10000", 5060, "here"), 1.0) == "full"
