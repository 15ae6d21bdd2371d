"""What a usage will read is read at the door: a malformed value is 400 there, and never raises later."""

from __future__ import annotations

import pytest

from gateway.sip.flow import Flow
from gateway.sip.invite.events import Accepted, Refused, Verdict
from gateway.sip.message import build
from gateway.sip.message.message import Request, Response
from gateway.sip.message.parser import parse_message
from gateway.sip.requests.checks import KNOWN_METHODS, Capabilities
from gateway.sip.requests.inspection import inspect_ack, inspect_credentials, inspect_request, inspect_response
from gateway.testing.clock import ManualClock
from gateway.testing.network import LossyNetwork
from gateway.testing.sip_peer import AgentNode, Puppet, SessionLog
from tests.rows import by_row
from tests.sip.agents import is_idle

ALL = Capabilities(methods=tuple(sorted(KNOWN_METHODS)), extensions=("timer", "100rel", "outbound"))
PEER = ("192.0.2.9", 5070)
US = ("192.0.2.1", 5060)

BAD = {
    "Authorization": 'Digest realm="a" realm="b"',
    "Proxy-Authorization": "Digest ,,,",
    "Max-Forwards": "seventy",
    "Route": "<sip:",
    "Require": "a b",
    "Content-Type": "nonsense",
    "Content-Encoding": "a b",
    "Content-Disposition": "=",
    "Contact": "<sip:a@b",
    "Record-Route": "<<>>",
    "Supported": "@@",
    "Allow": "IN VITE",
    "Session-Expires": "soon",
    "Min-SE": "abc",
    "Accept": "application",
    "Replaces": "only-a-call-id",
    "Expires": "later",
    "RAck": "1 INVITE",
    "Path": "<sip:",
    "Refer-To": "<>",
    "Event": "=",
    "Subscription-State": "=",
    "Suppress-If-Match": "a b",
    "SIP-If-Match": "a b",
}
NEEDS = {
    "INVITE": ("Require", "Contact", "Record-Route", "Replaces"),
    "UPDATE": ("Require",),
    "PRACK": ("Require", "RAck"),
    "REGISTER": ("Require", "Contact", "Path"),
    "REFER": ("Require", "Contact", "Record-Route", "Refer-To"),
    "SUBSCRIBE": ("Require", "Contact", "Record-Route", "Event"),
    "NOTIFY": ("Require", "Contact", "Record-Route", "Event", "Subscription-State"),
    "BYE": ("Require",),
    "INFO": ("Require",),
    "OPTIONS": ("Require",),
    "MESSAGE": ("Require",),
    "PUBLISH": ("Require", "Event", "SIP-If-Match"),
}
"""Restated from the RFCs rather than taken from the code: headers without which a method cannot be done."""


def request(method: str, *lines: str, to_tag: str = "", call_id: str = "c1", branch: str = "one") -> Request:
    contact = [] if any(line.startswith("Contact:") for line in lines) else ["Contact: <sip:a@192.0.2.9:5070>"]
    head = [
        f"{method} sip:b@gateway.example SIP/2.0",
        f"Via: SIP/2.0/UDP 192.0.2.9:5070;rport;branch=z9hG4bK{branch}",
        "From: <sip:a@example.net>;tag=ft",
        f"To: <sip:b@gateway.example>{';tag=' + to_tag if to_tag else ''}",
        f"Call-ID: {call_id}",
        f"CSeq: 1 {method}",
        *contact,
        *lines,
        f"X-Padding: {'x' * 600}",
    ]
    message = parse_message(("\r\n".join(head) + "\r\nContent-Length: 0\r\n\r\n").encode())
    assert isinstance(message, Request)
    return message


def response(*lines: str, status: int = 200, method: str = "INVITE") -> Response:
    head = [
        f"SIP/2.0 {status} Whatever",
        "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKone",
        "From: <sip:a@example.net>;tag=ft",
        "To: <sip:b@gateway.example>;tag=tt",
        "Call-ID: c1",
        f"CSeq: 1 {method}",
        *lines,
    ]
    message = parse_message(("\r\n".join(head) + "\r\nContent-Length: 0\r\n\r\n").encode())
    assert isinstance(message, Response)
    return message


@by_row(("method", "header"), [(one, header) for one, names in NEEDS.items() for header in names])
def test_a_malformed_header_that_a_request_needs_is_400_and_named(method: str, header: str) -> None:
    """RFC 3261 21.4.1: the reason phrase says which one it was."""
    refusal = inspect_request(request(method, f"{header}: {BAD[header]}"), ALL)
    assert refusal is not None
    assert refusal.status == 400
    assert header in refusal.reason


@by_row("header", BAD)
@by_row("method", NEEDS)
def test_every_other_malformed_header_counts_as_absent(method: str, header: str) -> None:
    """RFC 3261 8.2: the request is served, the typed value is what an absent header has, and the name is counted."""
    if header in NEEDS[method]:
        return
    taken, counted = request(method, f"{header}: {BAD[header]}"), list[str]()
    assert inspect_request(taken, ALL, malformed=counted.append) is None
    assert counted == [header]
    attribute = "contacts" if header == "Contact" else header.lower().replace("-", "_")
    assert getattr(taken, attribute) in (None, ())


@by_row("header", ["Contact", "Record-Route", "Replaces"])
def test_in_a_dialog_target_and_route_stay_where_they_are(header: str) -> None:
    """A re-INVITE whose Contact cannot be read moves nobody, and is no reason to refuse it."""
    refresh = request("INVITE", f"{header}: {BAD[header]}", to_tag="t")
    assert inspect_request(refresh, ALL, in_dialog=True) is None


def test_a_type_that_cannot_be_read_is_400_where_there_is_a_body() -> None:
    """What the body is cannot be guessed; without a body nobody asks."""
    typed = request("INVITE", f"Content-Type: {BAD['Content-Type']}")
    whole = typed.with_headers(typed.headers)
    whole.body = b"v=0"
    assert inspect_request(typed, ALL) is None
    assert inspect_request(whole, ALL).status == 400  # type: ignore[union-attr]


@pytest.mark.parametrize("header", ["RAck", "Event"])
def test_a_needed_header_that_may_be_there_once_is_400_when_it_is_there_twice(header: str) -> None:
    """Which of the two would count nobody can say."""
    good, method = {"RAck": ("1 1 INVITE", "PRACK"), "Event": ("presence", "SUBSCRIBE")}[header]
    refusal = inspect_request(request(method, f"{header}: {good}", f"{header}: {good}"), ALL)
    assert refusal is not None
    assert (refusal.status, header in refusal.reason) == (400, True)


def test_a_malformed_multipart_is_400() -> None:
    """The description inside is read at the door, too (RFC 5621)."""
    whole = request("INVITE", "Content-Type: multipart/mixed").with_body(b"--x", "multipart/mixed")
    refusal = inspect_request(whole, ALL)
    assert refusal is not None
    assert refusal.status == 400


def test_the_checks_come_in_the_order_of_rfc_3261() -> None:
    """Method, scheme and Require (8.2.1, 8.2.2) before a header deeper in the message."""
    some = Capabilities(methods=("INVITE",))
    assert inspect_request(request("PUBLISH", "Min-SE: abc"), some).status == 405  # type: ignore[union-attr]
    assert inspect_request(request("INVITE", "Min-SE: abc", "Require: magic"), some).status == 420  # type: ignore[union-attr]


def test_a_call_without_hops_left_is_483_and_a_bye_is_not() -> None:
    """A loop of gateways ends; a request in a dialog is where it was going."""
    assert inspect_request(request("INVITE", "Max-Forwards: 0"), ALL).status == 483  # type: ignore[union-attr]
    assert inspect_request(request("INVITE", "Max-Forwards: 0", to_tag="t"), ALL) is None
    assert inspect_request(request("BYE", "Max-Forwards: 0", to_tag="t"), ALL) is None


def test_malformed_credentials_are_400_where_they_are_needed() -> None:
    """The answer is short: a stranger is told the header and no more. Those for proxies are none of ours."""
    bad = request("REGISTER", *(f"{name}: {BAD[name]}" for name in ("Authorization", "Proxy-Authorization")))
    refusal = inspect_credentials(bad)
    assert refusal is not None
    assert (refusal.status, refusal.reason) == (400, "Malformed Authorization")
    assert (bad.authorization, bad.proxy_authorization) == ((), ())
    assert inspect_credentials(request("REGISTER", f"Proxy-Authorization: {BAD['Proxy-Authorization']}")) is None
    assert inspect_credentials(request("REGISTER", 'Authorization: Digest realm="r", nonce="n"')) is None


@by_row(
    ("header", "bad"),
    [
        ("Contact", "<sip:a@b"),
        ("Require", "a b"),
        ("Supported", "@@"),
        ("Allow", "@@"),
        ("Session-Expires", "soon"),
        ("Min-SE", "abc"),
        ("RSeq", "first"),
        ("Expires", "later"),
        ("Min-Expires", "much"),
        ("Retry-After", "soon"),
        ("WWW-Authenticate", 'Digest realm="a" realm="b"'),
        ("Proxy-Authenticate", "Digest ,,"),
        ("Reason", "<<"),
        ("Record-Route", "<sip:"),
        ("Content-Type", "nonsense"),
    ],
)
def test_a_malformed_header_of_a_response_is_counted_and_absent(header: str, bad: str) -> None:
    """Nobody can refuse a response; what follows reads None or nothing and does not raise."""
    one = response(f"{header}: {bad}")
    assert inspect_response(one) == (header,)
    attribute = "contacts" if header == "Contact" else header.lower().replace("-", "_")
    assert getattr(one, attribute) in (None, ())


def test_an_ack_is_never_refused() -> None:
    """What is malformed in it counts as absent."""
    ack = request("ACK", "Content-Type: nonsense", "Authorization: Digest ,,")
    assert inspect_ack(ack) == ("Content-Type", "Authorization")
    assert ack.content_type is None


# ---- through a whole user agent


def agent_and_puppet() -> tuple[AgentNode, Puppet, LossyNetwork]:
    network = LossyNetwork(ManualClock())
    return AgentNode(network, US), Puppet(network, PEER), network


@by_row("header", ["Contact: <sip:a@b", "Record-Route: <<>>", "Require: a b", "Replaces: x"])
def test_a_malformed_invite_is_400_and_leaves_nothing(header: str) -> None:
    """No session, no transaction, no timer."""
    node, puppet, network = agent_and_puppet()
    node.on_call = lambda session, log: session.answer(b"v=0\r\n")  # type: ignore[attr-defined]
    puppet.send(request("INVITE", header), US)
    network.run(1.0)
    assert puppet.statuses() == [400]
    assert node.calls == []
    assert is_idle(node.core)


def test_a_malformed_2xx_is_acknowledged_and_the_call_stands() -> None:
    """Two Session-Expires in a 200 once left the call in Proceeding for ever."""
    node, puppet, network = agent_and_puppet()

    def answer(message: Request | Response) -> None:
        if isinstance(message, Request) and message.method == "INVITE":
            fields = (("Contact", "<sip:b@192.0.2.9:5070>"), ("Session-Expires", "90"), ("Session-Expires", "80"))
            puppet.send(build.response(message, 200, to_tag="theirs", headers=fields), US)

    puppet.react = answer
    invite = request("INVITE").with_body(b"v=0\r\n", "application/sdp")
    session = node.core.invite(invite.with_headers(invite.headers.without("Via", "X-Padding")), Flow("udp", *PEER))
    log = SessionLog(session)
    network.run(1.0)
    assert log.kinds == ["Answered"]
    assert [message.method for message in puppet.take() if isinstance(message, Request)] == ["INVITE", "ACK"]
    assert node.core.counts["malformed Session-Expires"] == 1


@by_row(
    ("method", "header", "status"),
    [
        ("REGISTER", "Authorization", 400),
        ("INVITE", "Authorization", 400),
        ("OPTIONS", "Authorization", 200),
        ("REGISTER", "Proxy-Authorization", 401),
        ("OPTIONS", "Proxy-Authorization", 200),
    ],
)
def test_malformed_credentials_refuse_only_who_needs_them(method: str, header: str, status: int) -> None:
    """Who has to prove who it is hears 400, once; what anybody may ask is answered."""
    node, puppet, network = agent_and_puppet()

    def verdict(one: Request, source: object) -> Verdict:
        assert (one.authorization, one.proxy_authorization) == ((), ())
        return Accepted("x") if one.method == "OPTIONS" else Refused(401)

    node.verdict = verdict
    puppet.send(request(method, f"{header}: {BAD[header]}"), US)
    network.run(1.0)
    assert puppet.statuses() == [status]
