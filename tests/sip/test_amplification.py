"""Toward an address that has proved nothing: never one octet more than came from it, retransmissions included."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sip.auth.server import DigestServer
from gateway.sip.config import CoreConfig
from gateway.sip.errors import SipSyntaxError
from gateway.sip.flow import Flow
from gateway.sip.invite.events import Accepted, Refused, Verdict
from gateway.sip.message.message import Request, Response
from gateway.sip.message.parser import parse_message
from gateway.sip.message.values import AuthValue
from gateway.sip.requests.checks import KNOWN_METHODS
from gateway.sip.transactions.admission import AdmissionLimits, Proofs
from gateway.sip.transactions.answers import fitting
from gateway.sip.transactions.config import StackConfig
from gateway.sip.transactions.layer import Stack
from gateway.sip.transactions.peers import Strangers
from gateway.testing.clock import ManualClock
from gateway.testing.network import LossyNetwork
from gateway.testing.sip_peer import AgentNode
from tests.rows import by_row

DATA = Path(__file__).parents[1] / "data" / "sip"
STRANGER = ("127.0.0.1", 5070)
FREE = CoreConfig(stack=StackConfig(admission=AdmissionLimits(rate=0)))
SECRET = bytes(range(32))


def register(name: str) -> bytes:
    """The octets that a phone sent; "..., bare" without what it need not have said."""
    name, _, bare = name.partition(", ")
    sent = (DATA / f"{name}.txt").read_bytes()
    return (
        re.sub(rb"(?:Supported|Accept|User-Agent): [^\r]*\r\n|;transport=udp|;\+sip\.instance=[^\r]*", b"", sent)
        if bare
        else sent
    )


class Wary:
    """Challenges everybody for one realm, but lets OPTIONS in without a name; counts what went in and out."""

    def __init__(self, realm: str, algorithms: tuple[str, ...], config: CoreConfig = FREE) -> None:
        self.digest = DigestServer(realm, SECRET, algorithms)
        self.network = LossyNetwork(ManualClock())
        self.node = AgentNode(self.network, ("192.0.2.1", 5060), config)
        self.node.verdict = self.judge
        self.bytes_in = self.bytes_out = 0
        self.answers: list[Response] = []

    def judge(self, request: Request, source: Flow) -> Verdict | None:
        if request.method == "OPTIONS":
            return Accepted(None)
        values = self.digest.challenges(0.0, salt=b"salt", source=source.host)
        return Refused(401, None, tuple(("WWW-Authenticate", str(value)) for value in values))

    def feed(self, data: bytes, source: tuple[str, int] = STRANGER) -> None:
        self.bytes_in += len(data)
        self.node.receive(data, source, self.network.clock.now)
        self.collect()

    def collect(self) -> None:
        for data, _ in self.node.drain():
            self.bytes_out += len(data)
            answer = parse_message(data)
            assert isinstance(answer, Response)
            self.answers.append(answer)

    def wait(self, seconds: float) -> None:
        """Let timers fire: nothing may be sent by them."""
        end = self.network.clock.now + seconds
        while (deadline := self.node.deadline()) is not None and deadline <= end:
            self.network.clock.move_to(max(deadline, self.network.clock.now))
            self.node.handle_timer(deadline)
            self.collect()
        self.network.clock.move_to(end)


def request(method: str, *, extra: str = "", padding: int = 0, to_tag: str = "", branch: str = "z9hG4bKb") -> bytes:
    lines = [
        f"{method} sip:g SIP/2.0",
        f"Via: SIP/2.0/UDP 10.0.0.1;branch={branch};rport",
        "From: <sip:a@h>;tag=f",
        f"To: <sip:b@g>{';tag=' + to_tag if to_tag else ''}",
        "Call-ID: c",
        f"CSeq: 1 {method}",
        *([extra] if extra else []),
        *([f"Pad: {'x' * padding}"] if padding else []),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@by_row("algorithms", [("MD5",), ("SHA-256", "MD5"), ("SHA-512-256", "SHA-256", "MD5")])
@by_row("realm", ["127.0.0.1", "gateway.example.com"])
@by_row("name", ["register_baresip", "register_pjsua", "register_linphone", "register_linphone, bare"])
def test_the_shortest_register_of_a_real_phone_is_challenged(
    name: str, realm: str, algorithms: tuple[str, ...]
) -> None:
    """A challenge that every phone can answer, and not an octet over what the phone sent."""
    wary = Wary(realm, algorithms)
    wary.feed(register(name))
    [answer] = wary.answers
    challenge = answer.www_authenticate[-1]
    assert answer.status == 401
    assert (challenge.get("realm"), challenge.get("algorithm") or "MD5") == (realm, "MD5")
    assert wary.digest.gave(challenge.get("nonce"), STRANGER[0])
    assert wary.bytes_out <= wary.bytes_in


METHODS = (*sorted(KNOWN_METHODS - {"ACK", "CANCEL"}), "MAGIC")


@by_row("method", METHODS)
@by_row(
    "extra",
    ["", "Require: magic", "Content-Type: image/png\r\nContent-Length: 0", "Min-SE: abc", "Authorization: Digest ,"],
)
@by_row("padding", [0, 60, 150, 400, 1200])
def test_a_stranger_never_gets_more_than_it_sent(method: str, extra: str, padding: int) -> None:
    """Summed over three copies of each request and 40 s of timers; and it is a challenge before 405, 415 or 420."""
    wary = Wary("gateway.example", ("SHA-256", "MD5"))
    data = request(method, extra=extra, padding=padding)
    for _ in range(3):
        wary.feed(data)
        wary.wait(1.0)
        assert wary.bytes_out <= wary.bytes_in
    wary.wait(40.0)
    assert wary.bytes_out <= wary.bytes_in
    if method != "OPTIONS":
        assert {answer.status for answer in wary.answers} <= {400 if "Authorization" in extra else 401}
    if padding >= 150:
        assert wary.answers


@by_row("method", ["BYE", "INFO", "UPDATE", "INVITE", "CANCEL", "PRACK"])
def test_a_request_in_a_dialog_that_nobody_knows_is_no_lever(method: str) -> None:
    """481, or nothing where even that is longer."""
    wary = Wary("gateway.example", ("MD5",))
    for padding in (0, 0, 100, 300):
        wary.feed(request(method, to_tag="ours", padding=padding))
        wary.wait(40.0)
        assert wary.bytes_out <= wary.bytes_in
    assert {answer.status for answer in wary.answers} == {481}


@by_row("data", [b"OPTIONS x SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKa\r\n\r\n", b"\r\n\r\n", b"\0" * 9])
def test_what_cannot_be_read_is_no_lever(data: bytes) -> None:
    """A 400 with its detail is cut like any answer."""
    wary = Wary("gateway.example", ("MD5",))
    wary.feed(data)
    assert wary.bytes_out <= wary.bytes_in


def test_a_slow_verdict_sends_a_stranger_no_100() -> None:
    """The 100 after 200 ms would take the room of the refusal; a proven caller gets it with the verdict."""
    wary = Wary("gateway.example", ("MD5",))
    wary.node.verdict = lambda request, source: None
    data = request("INVITE", extra="Contact: <sip:a@10.0.0.1>", padding=300)
    wary.feed(data)
    wary.wait(1.0)
    wary.feed(data)
    assert wary.answers == []
    [verdict] = wary.node.open_verdicts
    verdict(Accepted("alice"))
    wary.collect()
    assert [answer.status for answer in wary.answers] == [100]


@pytest.mark.parametrize(("copies", "statuses"), [(1, []), (2, [401])])
def test_what_a_stranger_repeats_before_the_verdict_counts_once(copies: int, statuses: list[int]) -> None:
    """An answer larger than one copy goes out for two, with no octet more than came."""
    wary = Wary("gateway.example", ("MD5",))
    wary.node.verdict = lambda request, source: None
    data = request("INVITE")
    for _ in range(copies):
        wary.feed(data)
    [verdict] = wary.node.open_verdicts
    verdict(Refused(401, None, (("WWW-Authenticate", f'Digest realm="{"r" * 30}", nonce="{"n" * 30}"'),)))
    wary.collect()
    assert wary.bytes_out <= wary.bytes_in
    assert [one.status for one in wary.answers] == statuses


def test_a_proven_source_gets_whole_answers_however_short_its_question() -> None:
    """405 with Allow and 420 with Unsupported, to a user's phone in two octets or two thousand."""
    wary = Wary("gateway.example", ("MD5",))
    wary.node.verdict = lambda request, source: Accepted("alice")
    wary.feed(request("PUBLISH"))
    wary.feed(request("OPTIONS", branch="z9hG4bKc"))
    wary.feed(request("INFO", branch="z9hG4bKd", to_tag="gone"))
    refused, options, gone = wary.answers
    assert (refused.status, "INVITE" in refused.allow) == (405, True)
    assert (options.status, "INVITE" in options.allow, len(options.accept)) == (200, True, 1)
    assert gone.status == 481
    assert wary.bytes_out > wary.bytes_in


def test_a_call_that_is_let_in_without_a_name_gets_whole_answers() -> None:
    """A 200 to INVITE without its Record-Route or body would be worse than none; only OPTIONS is cut short."""
    wary = Wary("gateway.example", ("MD5",))
    wary.node.verdict = lambda request, source: Accepted(None)
    wary.node.on_call = lambda session, log: session.answer(b"v=0\r\n")  # type: ignore[attr-defined]
    wary.feed(request("INVITE", extra="Contact: <sip:a@10.0.0.1>\r\nRecord-Route: <sip:p;lr>"))
    [answer] = wary.answers
    assert (answer.status, len(answer.record_route), answer.body) == (200, 1, b"v=0\r\n")


def test_a_proof_is_of_one_port_and_ends() -> None:
    """Another port of the same address has proved nothing; after `proof_lifetime` nor has the first."""
    proofs = Proofs(AdmissionLimits(proof_lifetime=10.0, proven=2))
    proofs.add(Flow("udp", "192.0.2.1", 5060), 0.0)
    assert proofs.has(Flow("udp", "192.0.2.1", 5060), 9.9)
    assert not proofs.has(Flow("udp", "192.0.2.1", 5061), 0.0)
    assert not proofs.has(Flow("udp", "192.0.2.1", 5060), 10.0)
    proofs.add(Flow("ws", "192.0.2.1", 0, "browser"), 0.0)
    assert not proofs.has(Flow("ws", "192.0.2.1", 0, "another"), 0.0)
    for port in range(10):
        proofs.add(Flow("udp", "192.0.2.2", port), 1.0)
    assert len(proofs) == 2


def test_who_answers_a_branch_of_ours_is_proven() -> None:
    """It could not have known the branch without having got our request."""
    network = LossyNetwork(ManualClock())
    node = AgentNode(network, ("192.0.2.1", 5060), FREE)
    plain = parse_message(request("OPTIONS"))
    assert isinstance(plain, Request)
    bare = plain.with_headers(plain.headers.without("Via"))
    node.core.stack.send_request(bare, Flow("udp", *STRANGER, "here"), 0.0)
    [(sent, _)] = node.drain()
    ours = parse_message(sent)
    node.receive(Response(200, "OK", ours.headers).write(), STRANGER, 0.0)
    node.receive(request("INFO", to_tag="gone"), STRANGER, 0.0)
    [(data, _)] = node.drain()
    assert len(data) > len(request("INFO", to_tag="gone"))


def test_a_trunks_source_is_told_everything() -> None:
    """Addresses that `sources` names are not forged by strangers, as far as we can know."""
    limits = AdmissionLimits(rate=0, trusted=("127.0.0.0/8",))
    wary = Wary("gateway.example", ("MD5",), CoreConfig(stack=StackConfig(admission=limits)))
    wary.node.verdict = lambda request, source: Accepted("trunk:pbx")
    wary.feed(request("PUBLISH"))
    assert wary.answers[0].allow


def test_an_invite_cancelled_before_the_verdict_is_no_lever() -> None:
    """Its 487 would be sent eleven times; what the stranger has paid for is all there is."""
    wary = Wary("gateway.example", ("MD5",))
    wary.node.verdict = lambda request, source: None
    wary.feed(request("INVITE", padding=300))
    wary.feed(request("CANCEL", padding=300))
    wary.wait(40.0)
    assert {answer.status for answer in wary.answers} >= {487}
    assert wary.bytes_out <= wary.bytes_in


def test_a_repeated_datagram_costs_its_source_the_same_as_a_new_one() -> None:
    """The rate counts before the transaction is looked up."""
    limits = AdmissionLimits(rate=10, burst=20)
    tokens = iter(range(1_000_000))
    stack = Stack(
        StackConfig(admission=limits), token=lambda: f"t{next(tokens)}", sent_by=lambda flow: ("192.0.2.1", 5060)
    )
    flow = Flow("udp", *STRANGER)
    for _ in range(1000):
        stack.receive(request("OPTIONS"), flow, 0.0)
    assert stack.counts["over rate"] == 980


@by_row("kind", ["ACK", "response", "broken response"])
@by_row("transport", ["udp", "tcp"])
def test_what_is_never_answered_costs_a_tenth(kind: str, transport: str) -> None:
    """As many ACKs as a caller needs, but nobody's flood of what answers nothing is read."""
    limits = AdmissionLimits(rate=10, burst=20)
    stack = Stack(StackConfig(admission=limits), token=lambda: "t" * 20, sent_by=lambda flow: ("192.0.2.1", 5060))
    flow = Flow(transport, *STRANGER, "connection 1" if transport == "tcp" else "")
    data = request("ACK", to_tag="t") if kind == "ACK" else refusal().write()
    for _ in range(1000):
        if kind == "broken response":
            stack.receive(data.replace(b"CSeq:", b"CSeq"), flow, 0.0)
        elif transport == "udp":
            stack.receive(data, flow, 0.0)
        else:
            stack.receive_message(parse_message(data), flow, 0.0, len(data))
    assert stack.counts["over rate"] == pytest.approx(800, abs=1)
    assert stack.datagrams() == []


def test_a_stream_is_limited_like_datagrams() -> None:
    """Requests of a connection cost tokens, broken ones too."""
    limits = AdmissionLimits(rate=1, burst=2)
    stack = Stack(StackConfig(admission=limits), token=lambda: "t" * 20, sent_by=lambda flow: ("192.0.2.1", 5060))
    flow = Flow("tcp", *STRANGER, "connection 1")
    message = parse_message(request("OPTIONS"))
    for _ in range(5):
        stack.receive_message(message, flow, 0.0, 100)
    assert (len(stack.events()), stack.counts["over rate"]) == (1, 3)
    try:
        parse_message(b"OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bKq\r\nbroken\r\n\r\n")
    except Exception as error:
        stack.receive_broken(error, flow, 0.0, 60)  # type: ignore[arg-type]
    assert stack.datagrams() == []
    assert stack.counts["over rate"] == 4


# ---- the shapes


def refusal(*challenges: str, tag: str = "0123456789abcdef") -> Response:
    fields = [
        ("Via", "SIP/2.0/UDP 192.0.2.9;rport=5070;branch=z9hG4bKone;received=192.0.2.9, SIP/2.0/UDP 10.0.0.1"),
        ("From", "<sip:a@example.net>;tag=ft"),
        ("To", f"<sip:b@gateway.example>;tag={tag}"),
        ("Call-ID", "c1"),
        ("CSeq", "1 REGISTER"),
        *(("WWW-Authenticate", value) for value in challenges),
        ("Allow", "INVITE, ACK"),
        ("Server", "sip-webrtc-gateway"),
    ]
    return Response(401, "Unauthorized", fields)


FULL = str(AuthValue.parse('Digest realm="r", nonce="n", algorithm=MD5, qop="auth", stale=true'))


def test_shapes_lose_what_is_needed_least_first() -> None:
    """Server, then Allow, then the stronger challenge, then phrase and length, then qop; then nothing fits."""
    response = refusal('Digest realm="r", nonce="n", algorithm=SHA-256, qop="auth"', FULL)
    seen = []
    size = len(response.write())
    while (data := fitting(response, size)) is not None:
        assert len(data) <= size
        shape = parse_message(data)
        seen.append(
            (
                shape.server is not None,
                bool(shape.allow),
                len(shape.www_authenticate),
                "Content-Length" in shape.headers,
                shape.www_authenticate[-1].get("qop"),
            )
        )
        size = len(data) - 1
    assert seen == [
        (True, True, 2, True, "auth"),
        (False, True, 2, True, "auth"),
        (False, False, 2, True, "auth"),
        (False, False, 1, True, "auth"),
        (False, False, 1, False, "auth"),
        (False, False, 1, False, None),
        (False, False, 1, False, None),
    ]


def test_the_shortest_shape_says_what_it_must() -> None:
    """Way back, challenge with stale, and a tag; `received` goes only where it repeats sent-by."""
    data = fitting(refusal(FULL), 245)
    assert data is not None
    shape = parse_message(data)
    assert isinstance(shape, Response)
    assert (shape.status, shape.phrase, shape.to_tag, shape.call_id) == (401, "", "01234567", "c1")
    assert (shape.via[0].received, shape.via[0].rport, len(shape.via)) == (None, 5070, 2)
    assert dict(shape.www_authenticate[0].params) == {"realm": "r", "nonce": "n", "stale": "true"}


@pytest.mark.parametrize("tag", ["", "short"])
def test_another_scheme_and_an_odd_to_stay_as_they_are(tag: str) -> None:
    """What cannot be shortened safely is not."""
    response = refusal('Bearer authz_server="x"', tag=tag or "t")
    if not tag:
        response = response.with_header("To", "<sip:")
    data = fitting(response, len(response.write()) - 60)
    assert data is not None
    assert b"Bearer" in data


def test_another_algorithm_than_the_default_is_named() -> None:
    """Only MD5 may be left out of a challenge (RFC 7616 3.3)."""
    response = refusal('Digest realm="r", nonce="n", algorithm=SHA-256')
    sizes = range(200, 400)
    bare = next(data for size in sizes if (data := fitting(response, size)) is not None)
    assert b"algorithm=SHA-256" in bare


@settings(max_examples=300)
@given(
    st.sampled_from(METHODS),
    st.integers(0, 600),
    st.lists(st.sampled_from(["again", "other", "ack", "cancel", "wait"]), max_size=12),
)
def test_no_order_of_requests_makes_a_lever(method: str, padding: int, steps: list[str]) -> None:
    """Whatever a stranger sends in whatever order, the sum of what it gets is at most the sum of what it sent."""
    wary = Wary("gateway.example", ("SHA-256", "MD5"))
    wary.feed(request(method, padding=padding))
    for number, step in enumerate(steps):
        if step == "wait":
            wary.wait(2.0)
        elif step in ("ack", "cancel"):
            wary.feed(request(step.upper(), padding=padding))
        else:
            branch = "z9hG4bKb" if step == "again" else f"z9hG4bK{number}"
            wary.feed(request(method, padding=padding, branch=branch))
        assert wary.bytes_out <= wary.bytes_in


def test_a_stranger_who_may_not_be_answered_hears_nothing_and_the_proven_all() -> None:
    """Silence is no answer; who has proved itself, on a connection too, is never asked about."""
    network = LossyNetwork(ManualClock())
    node = AgentNode(network, ("192.0.2.1", 5060), FREE)
    stack = node.core.stack
    asked: list[int] = []

    class Silence(Strangers):
        def may_answer(self, source: Flow, status: int) -> bool:
            asked.append(status)
            return False

    stack.peers = Silence()
    for flow in (Flow("udp", "192.0.2.9", 5060), Flow("tcp", "192.0.2.9", 5060, "1")):
        stack.receive_broken(_broken(), flow, 0.0, 500)
        assert stack.datagrams() == []
    assert (len(asked), stack.counts["not answered"]) == (2, 2)
    stack._proofs.add(Flow("tcp", "192.0.2.9", 5060, "1"), 0.0)
    stack.receive_broken(_broken(), Flow("tcp", "192.0.2.9", 5060, "1"), 0.0, 500)
    assert (len(asked), len(stack.datagrams())) == (2, 1)


def _broken() -> SipSyntaxError:
    with pytest.raises(SipSyntaxError) as caught:
        parse_message(request("OPTIONS").replace(b"CSeq: ", b"CSeq: x"))
    return caught.value
