"""A usual INVITE, and where published messages are."""

from __future__ import annotations

from tests.cases import DATA

TORTURE = DATA / "rfc4475"
"""Folder of the messages of RFC 4475."""

INVITE = (
    b"INVITE sip:bob@biloxi.example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP client.atlanta.example.com:5060;branch=z9hG4bK74bf9;rport\r\n"
    b"Max-Forwards: 70\r\n"
    b"From: Alice <sip:alice@atlanta.example.com>;tag=9fxced76sl\r\n"
    b"To: Bob <sip:bob@biloxi.example.com>\r\n"
    b"Call-ID: 3848276298220188511@atlanta.example.com\r\n"
    b"CSeq: 1 INVITE\r\n"
    b"Contact: <sip:alice@client.atlanta.example.com;transport=tcp>\r\n"
    b"Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, REFER, NOTIFY\r\n"
    b"Supported: timer, replaces, norefersub\r\n"
    b"User-Agent: Desk/1.0\r\n"
    b"Session-Expires: 1800\r\n"
    b"Min-SE: 90\r\n"
    b"Content-Type: application/sdp\r\n"
    b"Content-Length: 0\r\n"
    b"\r\n"
    b"v=0\r\n"
    b"o=alice 2890844526 2890844526 IN IP4 client.atlanta.example.com\r\n"
    b"s=-\r\n"
    b"c=IN IP4 192.0.2.101\r\n"
    b"t=0 0\r\n"
    b"m=audio 49172 RTP/AVP 0\r\n"
    b"a=rtpmap:0 PCMU/8000\r\n"
)
"""A usual INVITE with SDP whose Content-Length `invite()` sets."""


def invite(*changes: tuple[bytes, bytes]) -> bytes:
    """The usual INVITE with parts replaced, its Content-Length right unless a change says otherwise."""
    head, _, body = INVITE.partition(b"\r\n\r\n")
    head = head.replace(b"Content-Length: 0", b"Content-Length: %d" % len(body))
    data = head + b"\r\n\r\n" + body
    for old, new in changes:
        if old not in data:
            raise AssertionError(f"{old!r} is not in the message")
        data = data.replace(old, new, 1)
    return data
