"""RFC 5118: the torture messages of IPv6, written from the RFC's section 4, and what each is answered on the wire."""

from __future__ import annotations

import pytest

from gateway.sip.message.parser import parse_message
from tests.sip.wire import over_tcp, over_udp

COMMON = """To: sip:user@example.com
From: sip:user@example.com;tag=81x2
{via}
Call-ID: SSG9559905523997077@hlau_4100
Max-Forwards: 70
{contact}
CSeq: 98176 {method}
"""

SDP6 = (
    "v=0\no=assistant 971731711378798081 0 IN IP6 2001:db8::20\ns=Live video feed\nc=IN IP6 2001:db8::20\nt=0 0\n"
    "m=audio 6000 RTP/AVP 0\n"
)
SEEN = "[2001:db8::9:1];received="
MIXED = "[2001:db8::9:1]:6050|192.0.2.1|[2001:db8::9:255];received=[2001:db8::9:255]"
MAPPED = "[::ffff:192.0.2.10]:19823"
SDP46 = SDP6.replace("c=IN IP6 2001:db8::20\n", "").replace("RTP/AVP 0\n", "RTP/AVP 0\nc=IN IP6 2001:db8::1\n") + (
    "m=video 6024 RTP/AVP 107\nc=IN IP4 192.0.2.1\na=rtpmap:107 H263-1998/90000\n"
)


def message(
    method: str, uri: str, via: str = "[2001:db8::9:1]", contact: str = "<sip:user@[2001:db8::1]>", body: str = ""
) -> bytes:
    vias = "\n".join(f"Via: SIP/2.0/UDP {one};branch=z9hG4bKas3-111{n}" for n, one in enumerate(via.split("|")))
    head = COMMON.format(via=vias, contact=f"Contact: {contact}", method=method)
    sdp = body.replace("\n", "\r\n")
    kind = "Content-Type: application/sdp\n" if body else ""
    text = f"{method} {uri} SIP/2.0\n{head}{kind}Content-Length: {len(sdp)}\n\n".replace("\n", "\r\n") + sdp
    return text.encode()


MESSAGES = {
    "4.1 a reference in brackets": (message("REGISTER", "sip:[2001:db8::10]"), 200),
    "4.2 without brackets": (message("REGISTER", "sip:2001:db8::10"), 400),
    "4.3 5070 is part of the address": (message("REGISTER", "sip:[2001:db8::10:5070]"), 200),
    "4.4 5070 is the port": (message("REGISTER", "sip:[2001:db8::10]:5070"), 200),
    "4.5 received in brackets": (
        message("OPTIONS", "sip:[2001:db8::10]", SEEN + "[2001:db8::9:255]"),
        200,
    ),
    "4.5 received without": (message("OPTIONS", "sip:[2001:db8::10]", SEEN + "2001:db8::9:255"), 200),
    "4.6 SDP with an address": (message("INVITE", "sip:user@[2001:db8::10]", body=SDP6), 200),
    "4.7 both families in the headers": (
        message(
            "OPTIONS",
            "sip:user@host.example.com",
            "[2001:db8::9:1]:6050|192.0.2.1|[2001:db8::9:255];received=[2001:db8::9:255]",
        ),
        200,
    ),
    "4.8 both families in the SDP": (message("INVITE", "sip:user@[2001:db8::10]", body=SDP46), 200),
    "4.9 addresses mapped from IPv4": (
        message(
            "INVITE", "sip:user@example.com", "[::ffff:192.0.2.10]:19823", "<sip:user@[::ffff:192.0.2.10]:19823>", SDP6
        ),
        200,
    ),
    "4.10 three colons": (message("OPTIONS", "sip:user@[2001:db8:::192.0.2.1]"), 200),
}


@pytest.mark.parametrize("name", MESSAGES)
async def test_an_ipv6_message_gets_its_answer(name: str) -> None:
    """Over UDP and over TCP alike."""
    data, status = MESSAGES[name]
    assert (await over_udp(data))[:1] == [status]
    assert (await over_tcp(data))[:1] == [status]


def test_the_port_is_what_stands_behind_the_bracket() -> None:
    """4.3 and 4.4 differ in nothing else."""
    part, port = (parse_message(MESSAGES[name][0]) for name in list(MESSAGES)[2:4])
    assert (part.uri.host, part.uri.port) == ("[2001:db8::10:5070]", None)  # type: ignore[union-attr]
    assert (port.uri.host, port.uri.port) == ("[2001:db8::10]", 5070)  # type: ignore[union-attr]


def test_received_is_read_with_and_without_brackets() -> None:
    """RFC 3261 says without, its examples and old clients with (4.5)."""
    values = {parse_message(MESSAGES[name][0]).top_via.received for name in list(MESSAGES)[4:6]}
    assert values == {"2001:db8::9:255"}
