"""Next hops, lookups, response ways, loops and hop limits as pure decisions; and what a UAS refuses first."""

from __future__ import annotations

import pytest

from gateway.sip.errors import SipBuildError
from gateway.sip.locate import (
    AddressLookup,
    NaptrLookup,
    NaptrRecord,
    SrvLookup,
    SrvRecord,
    Target,
    contact_uri,
    direct_flow,
    merged_key,
    next_hop,
    order_srv,
    plan,
    response_targets,
    srv_of_naptr,
    strip_own_route,
    target_of,
)
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr, Via
from gateway.sip.message.build import Refusal
from gateway.sip.message.message import Request
from gateway.sip.message.uri import Uri
from gateway.sip.requests.checks import Capabilities, inspect
from tests.rows import by_row

A = NameAddr(Uri.of("a", "h")).with_tag("1")
OWN = {("192.0.2.100", 5060)}


def request(*headers: tuple[str, object], method: str = "INVITE", body: bytes = b"", kind: str = "") -> Request:
    made = build.request(
        method,
        Uri.parse("sip:bob@b.example"),
        from_=A,
        to=A.with_tag(None),
        call_id="c",
        cseq=1,
        headers=headers,
        body=body,
        content_type=kind or None,
    )
    return build.with_via(made, Via("UDP", "192.0.2.1"))


@by_row(
    ("uri", "target"),
    [
        ("sip:bob@b.example", Target("b.example")),
        ("sip:bob@b.example:5070;transport=TCP", Target("b.example", 5070, "tcp")),
        ("sips:bob@b.example", Target("b.example", None, None, True)),
        ("sips:bob@b.example;transport=tcp", Target("b.example", None, "tls", True)),
        ("sips:bob@b.example;transport=ws", Target("b.example", None, "wss", True)),
        ("sip:bob@b.example;maddr=192.0.2.9", Target("192.0.2.9")),
        ("sip:bob@[2001:db8::1]:5061", Target("2001:db8::1", 5061)),
    ],
)
def test_a_uri_names_its_target(uri: str, target: Target) -> None:
    """Host or maddr, port, transport, and whether only TLS will do."""
    assert target_of(Uri.parse(uri)) == target


@by_row("uri", ["tel:+1", "urn:service:sos", "sip:a@h;transport=%0d%0a", "sip:a@h;transport=a%20b"])
def test_a_uri_that_names_no_host_or_transport_is_refused(uri: str) -> None:
    """There is nothing to look up."""
    with pytest.raises(SipBuildError):
        target_of(Uri.parse(uri))


def test_the_top_route_comes_before_the_request_uri() -> None:
    """RFC 3261 8.1.2."""
    assert str(next_hop(request())) == "sip:bob@b.example"
    assert str(next_hop(request(("Route", "<sip:p1;lr>, <sip:p2;lr>")))) == "sip:p1;lr"
    assert str(next_hop(request(("Route", "<sip:strict>")))) == "sip:bob@b.example"


def test_an_address_or_a_port_needs_no_srv() -> None:
    """RFC 3263 4.2: a numeric host or an explicit port goes straight to A and AAAA."""
    assert plan(Target("192.0.2.1")) == (AddressLookup("192.0.2.1", 5060, "udp", True),)
    assert plan(Target("2001:db8::1", None, "tcp")) == (AddressLookup("2001:db8::1", 5060, "tcp", True),)
    assert plan(Target("b.example", 5070)) == (AddressLookup("b.example", 5070, "udp"),)
    assert plan(Target("192.0.2.1", None, None, True)) == (AddressLookup("192.0.2.1", 5061, "tls", True),)


def test_a_named_transport_needs_no_naptr() -> None:
    """RFC 3263 4.1: SRV of that transport, then the address with its default port; no listener of ours is needed."""
    assert plan(Target("b.example", 80, "ws"), ("udp",)) == (AddressLookup("b.example", 80, "ws"),)
    assert plan(Target("b.example", None, "tcp")) == (
        SrvLookup("_sip._tcp.b.example", "tcp"),
        AddressLookup("b.example", 5060, "tcp"),
    )


def test_a_bare_name_asks_naptr_then_srv_then_the_address() -> None:
    """RFC 3263 4.1 and 4.2 in their order, over the transports that we speak."""
    assert plan(Target("b.example"), ("tcp", "udp")) == (
        NaptrLookup("b.example", ("SIP+D2U", "SIP+D2T")),
        SrvLookup("_sip._tcp.b.example", "tcp"),
        SrvLookup("_sip._udp.b.example", "udp"),
        AddressLookup("b.example", 5060, "udp"),
    )
    assert plan(Target("b.example"), ("ws", "tcp"))[-1] == AddressLookup("b.example", 80, "ws")


def test_a_secure_target_never_goes_in_the_clear() -> None:
    """sips over anything but TLS and WSS has no plan (RFC 3261 26.2.2)."""
    without_listener = plan(Target("b.example", None, None, True), ("udp", "tcp"))
    assert {getattr(step, "transport", "tls") for step in without_listener} == {"tls"}
    assert plan(Target("b.example", None, "tcp", True)) == ()
    steps = plan(Target("b.example", None, None, True))
    assert steps == (
        NaptrLookup("b.example", ("SIPS+D2T",)),
        SrvLookup("_sips._tcp.b.example", "tls"),
        AddressLookup("b.example", 5061, "tls"),
    )
    assert plan(Target("b.example", None, "sctp")) == ()


def test_naptr_records_lead_to_srv_in_their_order() -> None:
    """Order, then preference; other flags and services are passed over (the example of RFC 3263 4.1)."""
    records = [
        NaptrRecord(90, 50, "s", "SIP+D2T", "_sip._tcp.example.com."),
        NaptrRecord(50, 50, "S", "SIPS+D2T", "_sips._tcp.example.com"),
        NaptrRecord(100, 50, "s", "sip+d2u", "_sip._udp.example.com"),
        NaptrRecord(10, 50, "u", "E2U+sip", "x"),
    ]
    found = srv_of_naptr(records, ("SIP+D2T", "SIP+D2U"))
    assert found == [SrvLookup("_sip._tcp.example.com", "tcp"), SrvLookup("_sip._udp.example.com", "udp")]


def test_srv_records_go_by_priority_and_weighted_chance() -> None:
    """RFC 2782: lower priority first, weight decides within one, weight 0 is tried too."""
    heavy, light, backup = SrvRecord(1, 90, 5060, "a"), SrvRecord(1, 10, 5060, "b"), SrvRecord(2, 0, 5060, "c")
    pool = [backup, heavy, light, SrvRecord(1, 5, 1, ".")]
    assert order_srv(pool, [0.99, 0.0, 0.0]) == [heavy, light, backup]
    assert order_srv(pool, [0.0, 0.0, 0.0]) == [light, heavy, backup]
    first = [order_srv(pool, [n / 100, 0.5, 0.5])[0] for n in range(100)]
    assert 85 <= first.count(heavy) <= 95


@by_row(
    ("via", "targets"),
    [
        ("SIP/2.0/UDP h:5070", [Target("h", 5070, "udp")]),
        ("SIP/2.0/UDP h:5070;received=192.0.2.1", [Target("192.0.2.1", 5070, "udp")]),
        ("SIP/2.0/UDP h:5070;received=192.0.2.1;rport=40000", [Target("192.0.2.1", 40000, "udp")]),
        ("SIP/2.0/UDP h;received=2001:db8::1", [Target("2001:db8::1", 5060, "udp")]),
        (
            "SIP/2.0/TLS h;received=192.0.2.1",
            [Target("192.0.2.1", 5061, "tls", True), Target("h", None, "tls", True)],
        ),
        (
            "SIP/2.0/TCP h;received=192.0.2.1;rport=40000",
            [Target("192.0.2.1", 5060, "tcp"), Target("h", None, "tcp")],
        ),
        ("SIP/2.0/UDP h;maddr=239.0.0.1;received=192.0.2.1", [Target("192.0.2.1", 5060, "udp")]),
    ],
)
def test_a_response_goes_back_by_its_top_via(via: str, targets: list[Target]) -> None:
    """received and rport before sent-by (RFC 3261 18.2.2, RFC 3581 section 4)."""
    assert list(response_targets(Via.parse(via))) == targets


def test_copies_of_one_request_have_one_key() -> None:
    """RFC 3261 8.2.2.2: same Call-ID, From tag and CSeq outside a dialog."""
    assert merged_key(request()) == ("c", "1", 1, "INVITE")
    assert merged_key(request()) == merged_key(request(("Via", "SIP/2.0/UDP other")))
    assert merged_key(request().with_header("To", A)) is None


def test_a_route_to_ourselves_is_taken_off() -> None:
    """Preloaded routes name us first (RFC 3261 16.4)."""
    ours = request(("Route", "<sip:192.0.2.100;lr>"), ("Route", "<sip:p2;lr>"))
    assert [str(hop.uri) for hop in strip_own_route(ours, OWN).route] == ["sip:p2;lr"]
    assert strip_own_route(request(("Route", "<sip:192.0.2.100;lr>")), OWN).route == ()
    for foreign in ("<sip:p2;lr>", "<sips:192.0.2.100;lr>", "<tel:+1>"):
        message = request(("Route", foreign))
        assert strip_own_route(message, OWN) is message


@by_row(
    ("uri", "flow"),
    [
        ("sip:a@192.0.2.7", "udp:192.0.2.7:5060"),
        ("sip:a@192.0.2.7;transport=TCP", "tcp:192.0.2.7:5060"),
        ("sips:a@192.0.2.7", "tls:192.0.2.7:5061"),
        ("sips:a@192.0.2.7:5070;transport=ws", "wss:192.0.2.7:5070"),
        ("sips:a@192.0.2.7;transport=tcp", "tls:192.0.2.7:5061"),
        ("sip:a@h.example;maddr=192.0.2.8", "udp:192.0.2.8:5060"),
        ("sip:a@[2001:db8::1];transport=tls", "tls:[2001:db8::1]:5061"),
        ("sip:a@[2001:DB8:0::1]", "udp:[2001:db8::1]:5060"),
        ("sip:a@[1:2:3]", "udp:[1:2:3]:5060"),
        ("sip:a@192.0.2.7;transport=sctp", "None"),
        ("sip:a@h.example", "None"),
    ],
)
def test_an_address_in_a_uri_leads_to_its_flow(uri: str, flow: str) -> None:
    """The same rules as for names: sips never goes in the clear, a transport has its own port."""
    assert str(direct_flow(Uri.parse(uri))) == flow


@by_row(
    ("place", "transport", "secure", "uri"),
    [
        (("192.0.2.1", 5060), "udp", False, "sip:a@192.0.2.1:5060"),
        (("192.0.2.1", None), "udp", False, "sip:a@192.0.2.1"),
        (("2001:db8::1", 5060), "tcp", False, "sip:a@[2001:db8::1]:5060;transport=tcp"),
        (("[2001:db8::1]", 5061), "tls", False, "sip:a@[2001:db8::1]:5061;transport=tls"),
        (("192.0.2.1", 5061), "tls", True, "sips:a@192.0.2.1:5061"),
        (("192.0.2.1", 443), "wss", True, "sips:a@192.0.2.1:443;transport=ws"),
        (("192.0.2.1", None), "ws", False, "sip:a@192.0.2.1;transport=ws"),
    ],
)
def test_our_contact_names_the_way_a_peer_reaches_us(
    place: tuple[str, int | None], transport: str, secure: bool, uri: str
) -> None:
    """RFC 3261 8.1.1.8, RFC 5630 3.1.3: whoever reads it back comes to the same transport."""
    contact = contact_uri("a", place, transport, secure=secure)
    assert str(contact) == uri
    back = direct_flow(contact)
    assert back is not None
    assert back.transport == transport


CAN = Capabilities(extensions=("timer", "replaces"))


def test_capabilities_are_told_in_options() -> None:
    """Allow, Accept and Supported (RFC 3261 11.2)."""
    fields = dict(CAN.headers())
    assert fields["Supported"] == "timer, replaces"
    assert fields["Accept"] == "application/sdp"
    assert "INVITE" in str(fields["Allow"])
    assert "Supported" not in dict(Capabilities().headers())


@by_row(
    ("message", "status", "header"),
    [
        (request(method="SUBSCRIBE"), 405, "Allow"),
        (request(method="FOO"), 501, "Allow"),
        (request(("Require", "timer, 100rel, x")), 420, "Unsupported"),
        (request(body=b"x", kind="text/plain"), 415, "Accept"),
        (request(("Content-Encoding", "gzip"), body=b"x", kind="application/sdp"), 415, "Accept-Encoding"),
        (request(method="INFO", body=b"x", kind="application/sdp"), 415, "Accept"),
        (request(("Accept", "text/plain")), 406, None),
        (request().with_uri(Uri.parse("tel:+1")), 416, None),
    ],
)
def test_what_we_cannot_serve_is_refused_by_name(message: Request, status: int, header: str | None) -> None:
    """RFC 3261 8.2.1 to 8.2.3, each with the header that tells what would do."""
    refusal = inspect(message, CAN)
    assert refusal is not None
    assert refusal.status == status
    assert [name for name, _ in refusal.headers] == ([header] if header else [])


@by_row(
    "message",
    [
        request(),
        request(("Require", "Timer")),
        request(body=b"x", kind="application/sdp"),
        request(body=b"x", kind="multipart/mixed;boundary=b"),
        request(("Content-Disposition", "render;handling=optional"), body=b"x", kind="text/plain"),
        request(("Accept", "text/plain, application/*")),
        request(method="INFO", body=b"x", kind="application/dtmf-relay"),
        request(method="BYE", body=b"x", kind="text/plain"),
        request(method="OPTIONS"),
    ],
)
def test_what_we_can_serve_goes_on(message: Request) -> None:
    """Optional bodies, ranges of Accept and bodies of other requests stop nothing."""
    assert inspect(message, CAN) is None


def test_unsupported_lists_only_what_is_missing() -> None:
    """A known option tag in Require is not named."""
    refusal = inspect(request(("Require", "timer, 100rel, x")), CAN)
    assert refusal == Refusal(420, headers=(("Unsupported", "100rel, x"),))
