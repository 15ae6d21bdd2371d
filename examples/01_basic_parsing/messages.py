"""What came from the wire."""

from __future__ import annotations

# An old phone's INVITE: compact names (v, f, t, i, m, c, l), a folded Subject, two Record-Route fields of which one
# holds two values, and a header that no RFC knows.
INVITE = b"""\
INVITE sip:bob@biloxi.example.com SIP/2.0
v: SIP/2.0/UDP proxy.atlanta.example.com;branch=z9hG4bK4b43c2ff
v: SIP/2.0/UDP 192.0.2.1:5062;rport=40123;received=198.51.100.9;branch=z9hG4bK74bf9
Record-Route: <sip:edge.biloxi.example.com;lr>, <sip:core.atlanta.example.com;lr>
Record-Route: <sip:edge.atlanta.example.com;lr>
Max-Forwards: 68
f: "Alice \\"Al\\" Liddell" <sip:alice@atlanta.example.com>;tag=9fxced76sl
t: Bob <sip:bob@biloxi.example.com>
i: 3848276298220188511@atlanta.example.com
CSeq: 2 INVITE
m: <sip:alice@192.0.2.1:5062;transport=udp>;expires=300
Subject: lunch,
 perhaps at noon
X-Phone-Mood: curious
c: application/sdp
l: 131

v=0
o=alice 1 1 IN IP4 192.0.2.1
s=-
c=IN IP4 192.0.2.1
t=0 0
m=audio 49170 RTP/AVP 0 101
a=rtpmap:101 telephone-event/8000
""".replace(b"\n", b"\r\n")

RINGING = b"""\
SIP/2.0 180 Ringing
Via: SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bK74bf9
From: <sip:alice@atlanta.example.com>;tag=9fxced76sl
To: <sip:bob@biloxi.example.com>;tag=8321234356
Call-ID: 3848276298220188511@atlanta.example.com
CSeq: 2 INVITE
Contact: <sip:bob@192.0.2.4>
Content-Length: 0

""".replace(b"\n", b"\r\n")
