"""The torture messages of IPv6, written from RFC 5118 section 4, and what a user agent answers to each."""

from __future__ import annotations

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
