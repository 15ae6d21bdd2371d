"""The stack as strangers see it: what is answered, what is not, and what it costs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sip.config import CoreConfig
from gateway.sip.flow import Flow
from gateway.sip.invite.events import Refused
from gateway.sip.message.message import Response
from gateway.sip.message.parser import parse_message
from gateway.sip.transactions.admission import Admission, AdmissionLimits
from gateway.sip.transactions.config import StackConfig
from gateway.sip.transactions.events import RequestReceived
from gateway.sip.transactions.layer import StackFullError
from gateway.testing.clock import ManualClock
from gateway.testing.network import LossyNetwork
from gateway.testing.sip_peer import AgentNode
from tests.rows import by_row
from tests.sip.stack_support import FREE, SOURCE, answers, stack_of, text

CORPUS = Path(__file__).parents[1] / "data" / "rfc4475"


def agent(config: CoreConfig | None = None) -> AgentNode:
    network = LossyNetwork(ManualClock())
    return AgentNode(network, ("192.0.2.1", 5060), config or CoreConfig(stack=FREE))


# ---- matching


def test_a_retransmission_is_not_a_new_request() -> None:
    """The same branch, sent-by and method is the same transaction (RFC 3261 17.2.3)."""
    stack = stack_of()
    for _ in range(3):
        stack.receive(text(), SOURCE, 0.0)
    assert len(stack.events()) == 1


@by_row("change", [{"branch": "z9hG4bKtwo"}, {"via": "192.0.2.9:5071"}, {"method": "INFO"}])
def test_another_branch_sent_by_or_method_is_another_transaction(change: dict[str, str]) -> None:
    """Two requests that share the rest are two."""
    stack = stack_of()
    stack.receive(text(to_tag="t"), SOURCE, 0.0)
    stack.receive(text(**{"to_tag": "t", **change}), SOURCE, 0.0)  # type: ignore[arg-type]
    assert len(stack.events()) == 2


@by_row("branch", ["", "z9hG4bK", "1", "old.style"])
def test_a_branch_without_cookie_is_matched_by_rfc_2543(branch: str) -> None:
    """Call-ID, From tag, CSeq, Via and Request-URI decide; a branch that is only the cookie is no branch."""
    stack = stack_of()
    stack.receive(text(branch=branch), SOURCE, 0.0)
    stack.receive(text(branch=branch), SOURCE, 0.0)
    stack.receive(text(branch=branch, cseq=2), SOURCE, 0.0)
    assert len(stack.events()) == 2


def test_a_request_by_two_ways_is_482_the_second_time() -> None:
    """Same Call-ID, From tag and CSeq, another branch, no To tag (RFC 3261 8.2.2.2)."""
    stack = stack_of()
    stack.receive(text(), SOURCE, 0.0)
    stack.receive(text(branch="z9hG4bKother"), SOURCE, 0.0)
    assert [response.status for response, _ in answers(stack)] == [482]


def test_the_same_request_may_come_again_when_the_first_is_forgotten() -> None:
    """A merged request is only one while the first is under way."""
    stack = stack_of()
    stack.receive(text(), SOURCE, 0.0)
    [event] = stack.events()
    assert isinstance(event, RequestReceived)
    stack.refuse(event.transaction, Response(403, "Forbidden"), 0.0)
    stack.receive(text(branch="z9hG4bKother"), SOURCE, 0.0)
    assert len(stack.events()) == 1


def test_a_phone_whose_pings_are_all_alike_is_answered_each_time() -> None:
    """The same OPTIONS under another branch is a new one as soon as the first is answered."""
    node = agent()
    for branch in ("z9hG4bKa", "z9hG4bKb", "z9hG4bKc"):
        node.receive(text(branch=branch), ("192.0.2.9", 5070), 0.0)
        assert [int(data.split(b" ")[1]) for data, _ in node.drain()] == [200]


# ---- the way back


def test_rport_brings_the_answer_to_the_port_it_came_from() -> None:
    """received and rport are filled in (RFC 3581 section 4)."""
    stack = stack_of(StackConfig(admission=AdmissionLimits(rate=0), transactions=0))
    stack.receive(text(via="10.0.0.1:5060;rport"), SOURCE, 0.0)
    [(response, flow)] = answers(stack)
    via = response.top_via
    assert (via.received, via.rport, flow) == ("192.0.2.9", 5070, SOURCE)


def test_without_rport_the_answer_goes_to_the_port_of_sent_by() -> None:
    """And always to the address it came from (RFC 3261 18.2.2); maddr is not followed."""
    stack = stack_of(StackConfig(admission=AdmissionLimits(rate=0), transactions=0))
    stack.receive(text(via="10.0.0.1:5099;maddr=198.51.100.1"), SOURCE, 0.0)
    [(response, flow)] = answers(stack)
    assert response.top_via.received == "192.0.2.9"
    assert flow == Flow("udp", "192.0.2.9", 5099, "here")


def test_only_the_top_via_is_stamped() -> None:
    """The other hops of a comma list stay as they are."""
    stack = stack_of(StackConfig(admission=AdmissionLimits(rate=0), transactions=0))
    data = text().replace(b"branch=z9hG4bKone", b"branch=z9hG4bKone, SIP/2.0/UDP 10.1.1.1;branch=z9hG4bKinner")
    stack.receive(data, SOURCE, 0.0)
    [(response, _)] = answers(stack)
    assert [via.host for via in response.via] == ["192.0.2.9", "10.1.1.1"]
    assert response.via[1].received is None


# ---- costs


def test_transactions_are_bounded_and_beyond_it_503_costs_nothing() -> None:
    """The table never grows over its limit; our own requests are refused too."""
    stack = stack_of(StackConfig(admission=AdmissionLimits(rate=0), transactions=10))
    for number in range(50):
        stack.receive(text(branch=f"z9hG4bK{number}", call_id=str(number)), SOURCE, 0.0)
    assert len(stack) == 10
    refused = answers(stack)
    assert [(response.status, response.retry_after) for response, _ in refused] == [(503, 5)] * 40
    with pytest.raises(StackFullError):
        stack.send_request(parse_message(text(extra="X: y")), SOURCE, 0.0)  # type: ignore[arg-type]


def test_a_flood_from_one_source_leaves_others_alone() -> None:
    """The bucket is per address; the flood is dropped in silence."""
    stack = stack_of(StackConfig(admission=AdmissionLimits(rate=10, burst=20)))
    for number in range(1000):
        stack.receive(text(branch=f"z9hG4bK{number}", call_id=str(number)), SOURCE, 0.0)
    assert len(stack.events()) == 20
    assert stack.datagrams() == []
    stack.receive(text(call_id="other"), Flow("udp", "192.0.2.10", 5060), 0.0)
    assert len(stack.events()) == 1


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1)), max_size=200))
def test_no_source_gets_more_than_its_burst_and_rate(arrivals: list[tuple[str, float]]) -> None:
    """Over any time t at most burst + rate * t requests are let in."""
    admission = Admission(AdmissionLimits(rate=5, burst=3))
    now = 0.0
    admitted: dict[str, int] = {}
    for source, pause in arrivals:
        now += pause
        admitted[source] = admitted.get(source, 0) + admission.admit(source, now)
    assert all(count <= 3 + 5 * now + 1e-6 for count in admitted.values())


def test_who_is_vouched_for_is_let_in_above_the_limit_and_nobody_else() -> None:
    """Another gateway of the cluster; that is asked only about who is over it."""
    admission, asked = Admission(AdmissionLimits(rate=1, burst=2)), []

    def vouched(source: str) -> bool:
        asked.append(source)
        return source == "192.0.2.12"

    admission.vouched = vouched
    assert [admission.admit("192.0.2.12", 0.0) for _ in range(5)] == [True] * 5
    assert [admission.admit("192.0.2.66", 0.0) for _ in range(5)] == [True] * 2 + [False] * 3
    assert asked == ["192.0.2.12"] * 3 + ["192.0.2.66"] * 3
    assert admission.refused == 3


@pytest.mark.parametrize("is_stream", [False, True])
def test_invites_of_a_trunk_have_a_limit_of_their_own(is_stream: bool) -> None:
    """Its other requests have none, nor have INVITEs of another trusted source; neither takes room of strangers."""
    limits = AdmissionLimits(
        rate=1, trusted=("192.0.2.0/24",), trunks=("192.0.2.9/32",), trunk_invites=1, trunk_burst=2
    )
    stack = stack_of(StackConfig(admission=limits))

    def passed(method: str, host: str, now: float) -> int:
        flow = Flow("tcp" if is_stream else "udp", host, 5070, "here")
        for number in range(4):
            data = text(method, branch=f"z9hG4bK{method}{host}{now}{number}", call_id=f"{host}{now}{number}")
            if is_stream:
                stack.receive_message(parse_message(data), flow, now, len(data))
            else:
                stack.receive(data, flow, now)
        return len(stack.events())

    assert (passed("INVITE", "192.0.2.9", 0.0), passed("OPTIONS", "192.0.2.9", 0.0)) == (2, 4)
    assert (stack.counts["over rate"], stack.admission.refused) == (2, 2)
    assert (passed("INVITE", "192.0.2.9", 1.0), passed("INVITE", "192.0.2.8", 1.0)) == (1, 4)
    assert len(stack.admission) == 0


def test_remembered_sources_are_bounded() -> None:
    """A million addresses do not fill the memory, and trusted ones are not limited at all."""
    trusted = frozenset(("198.51.100.0/24", "2001:db8::1"))
    admission = Admission(AdmissionLimits(rate=1, burst=1, sources=100, trusted=trusted))
    assert all(admission.admit(f"10.0.{number // 250}.{number % 250}", 0.0) for number in range(1000))
    assert len(admission) == 100
    assert all(admission.admit(trunk, 0.0) for trunk in ("198.51.100.7", "2001:db8::1") for _ in range(100))
    assert [admission.admit("2001:db8::2", 0.0) for _ in range(2)] == [True, False]


def test_a_stranger_hears_the_same_tag_each_time() -> None:
    """Stateless answers to copies of a request share their To tag (RFC 3261 8.2.7)."""
    node = agent()
    node.verdict = lambda request, source: Refused(403)
    tags = set()
    for _ in range(3):
        node.receive(text("REGISTER"), ("192.0.2.9", 5070), 0.0)
        tags |= {parse_message(data).to_tag for data, _ in node.drain()}
    assert len(tags) == 1
    assert None not in tags


def test_a_full_table_still_lets_calls_end() -> None:
    """A quarter of the room is kept for requests in dialogs; new ones are refused long before."""
    stack = stack_of(StackConfig(admission=AdmissionLimits(rate=0), transactions=8))
    for number in range(20):
        stack.receive(text(branch=f"z9hG4bK{number}", call_id=str(number)), SOURCE, 0.0)
    assert len(stack) == 8
    for number in range(5):
        stack.receive(text("BYE", branch=f"z9hG4bKb{number}", call_id=f"b{number}", to_tag="ours"), SOURCE, 0.0)
    assert len(stack) == 10
    assert [event.request.method for event in stack.events()[8:]] == ["BYE", "BYE"]  # type: ignore[union-attr]


# ---- bad input


@by_row(
    ("data", "status"),
    [
        (text(extra="To Without Colon"), 400),
        (text().replace(b"SIP/2.0\r\nVia", b"SIP/3.0\r\nVia", 1), 505),
        (text().replace(b"CSeq: 1 OPTIONS", b"CSeq: 1 INVITE"), 400),
        (text("ACK", extra="Bad Header"), None),
        (b"SIP/2.0 200 OK\r\nVia: broken\r\n\r\n", None),
        (b"\r\n\r\n", None),
        (b"\x00" * 40, None),
        (b"", None),
        (b"OPTIONS sip:x SIP/2.0\r\n\r\n", None),
    ],
)
def test_malformed_datagrams_get_their_error_or_silence(data: bytes, status: int | None) -> None:
    """An error that can be addressed is sent; responses, ACKs and noise get nothing."""
    stack = stack_of()
    stack.receive(data, SOURCE, 0.0)
    assert [response.status for response, _ in answers(stack)] == ([] if status is None else [status])
    assert len(stack) == 0


def corpus() -> list[Path]:
    return sorted(CORPUS.glob("*.dat"))


def test_no_torture_message_hurts_the_user_agent() -> None:
    """All of RFC 4475: answered or dropped, and the agent still takes a call afterwards."""
    node = agent()
    for path in corpus():
        node.receive(path.read_bytes(), ("192.0.2.9", 5070), 0.0)
        assert all(data.startswith(b"SIP/2.0 ") for data, _ in node.drain())
    node.receive(text("OPTIONS", call_id="after"), ("192.0.2.9", 5070), 0.0)
    assert [parse_message(data).status for data, _ in node.drain()] == [200]  # type: ignore[union-attr]


EXPECTED = {
    "badinv01": 400,
    "badvers": 505,
    "bext01": 420,
    "unkscm": 416,
    "invut": 415,
    "sdp01": 406,
    "mismatch01": 400,
    "scalar02": 400,
    "insuf": 400,
    "scalarlg": None,
    "bigcode": None,
    "bcast": None,
}


@by_row("name", EXPECTED)
def test_torture_messages_get_the_answer_that_rfc_4475_names(name: str) -> None:
    """The status of section 3, or silence."""
    node = agent()
    node.receive((CORPUS / f"{name}.dat").read_bytes(), ("192.0.2.9", 5070), 0.0)
    # An answer copies what was broken, so only its first line is sure to be readable.
    statuses = [int(data.split(b" ")[1]) for data, _ in node.drain()]
    assert statuses == ([] if EXPECTED[name] is None else [EXPECTED[name]])


@settings(max_examples=200)
@given(
    st.one_of(
        st.binary(max_size=400),
        st.tuples(st.binary(max_size=30), st.integers(0, 500), st.booleans()).map(
            lambda cut: (
                bytes(text("INVITE", extra="Contact: <sip:a@192.0.2.9>"))[: cut[1]]
                + cut[0]
                + (bytes(text("INVITE"))[cut[1] :] if cut[2] else b"")
            )
        ),
    )
)
def test_random_and_mutated_bytes_never_raise_and_never_leave_the_agent_broken(data: bytes) -> None:
    """Whatever comes, the next good request is answered."""
    node = agent()
    node.receive(data, ("192.0.2.9", 5070), 0.0)
    node.drain()
    node.receive(text("OPTIONS", call_id="after", branch="z9hG4bKafter"), ("192.0.2.9", 5070), 0.0)
    assert [parse_message(one).status for one, _ in node.drain()] == [200]  # type: ignore[union-attr]


# ---- responses


def test_a_response_that_is_not_ours_is_dropped_and_counted() -> None:
    """Unknown branch, more than one Via, another Call-ID: not our transaction's (RFC 3261 8.1.3.3)."""
    stack = stack_of()
    request = parse_message(text(extra="X: y"))
    stack.send_request(request.with_headers(request.headers.without("Via")), SOURCE, 0.0)  # type: ignore[arg-type]
    [(sent, _)] = stack.datagrams()
    ours = parse_message(sent)
    good = Response(200, "OK", ours.headers.only("Via", "From", "To", "Call-ID", "CSeq"))
    bad = [
        good.with_header("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKunknown"),
        good.with_headers(good.headers.add("Via", "SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKx")),
        good.with_header("Call-ID", "other"),
        good.with_header("From", "<sip:a@example.net>;tag=other"),
    ]
    for response in bad:
        stack.receive(response.write(), SOURCE, 0.0)
    assert stack.events() == []
    assert (stack.counts["stray response"], stack.counts["foreign response"]) == (1, 3)
    stack.receive(good.write(), SOURCE, 0.0)
    assert len(stack.events()) == 1


BROWSER = Flow("ws", "192.0.2.9", 0, "browser")
DIALLED = Flow("ws", "192.0.2.9", 8080)
"""Asked by a connection of our own, which the dialer finds."""


@by_row(
    ("asked", "source", "counts"),
    [
        (SOURCE, SOURCE, True),
        (SOURCE, Flow("udp", "192.0.2.9", 40000), True),
        (SOURCE, Flow("tcp", "192.0.2.9", 5070, "1"), True),
        (SOURCE, Flow("udp", "198.51.100.9", 5070, "here"), False),
        (SOURCE, Flow("tcp", "2001:db8::9", 5070, "1"), False),
        (BROWSER, BROWSER, True),
        (BROWSER, Flow("ws", "192.0.2.9", 0, "another"), False),
        (BROWSER, SOURCE, False),
        (DIALLED, Flow("ws", "192.0.2.9", 8080, "ours", dialled=True), True),
        (DIALLED, Flow("ws", "192.0.2.9", 8081, "another", dialled=True), False),
        (DIALLED, Flow("ws", "198.51.100.9", 8080, "another"), False),
    ],
)
def test_a_response_counts_from_whom_was_asked(asked: Flow, source: Flow, counts: bool) -> None:
    """A server may answer from another port; browsers behind one web proxy share an address, not a connection."""
    stack = stack_of()
    request = parse_message(text())
    stack.send_request(request.with_headers(request.headers.without("Via")), asked, 0.0)  # type: ignore[arg-type]
    [(sent, _)] = stack.datagrams()
    good = Response(200, "OK", parse_message(sent).headers.only("Via", "From", "To", "Call-ID", "CSeq"))
    stack.receive(good.write(), source, 0.0)
    assert bool(stack.events()) is counts


def test_a_broken_transport_fails_its_transactions_at_once() -> None:
    """No waiting for timer F."""
    stack = stack_of()
    request = parse_message(text(extra="X: y"))
    stack.send_request(request.with_headers(request.headers.without("Via")), SOURCE, 0.0)  # type: ignore[arg-type]
    stack.transport_failed(SOURCE, 0.0)
    assert [type(event).__name__ for event in stack.events()] == ["TransactionFailed"]
    assert len(stack) == 0
