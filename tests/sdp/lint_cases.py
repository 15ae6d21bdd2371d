"""What the lint finds, case by case, and a description in which it finds nothing."""

from __future__ import annotations

KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5"


SHA256 = ":".join(["AB"] * 32)


PHONE = """v=0
o=- 1 1 IN IP4 203.0.113.5
s=-
c=IN IP4 203.0.113.5
t=0 0
m=audio 4000 RTP/AVP 0 101
a=rtpmap:0 PCMU/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=ptime:20
a=maxptime:60
a=sendrecv
"""


BROWSER = f"""v=0
o=- 1 1 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1 2
m=audio 9 UDP/TLS/RTP/SAVPF 111
c=IN IP4 0.0.0.0
a=ice-ufrag:abcd
a=ice-pwd:abcdefghijklmnopqrstuv
a=fingerprint:sha-256 {SHA256}
a=setup:actpass
a=mid:0
a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid
a=rtcp-mux
a=rtpmap:111 opus/48000/2
a=candidate:1 1 udp 1 203.0.113.5 9 typ host
m=video 9 UDP/TLS/RTP/SAVPF 96 97
c=IN IP4 0.0.0.0
a=mid:1
a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid
a=extmap:2 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id
a=rtcp-mux
a=rtpmap:96 VP8/90000
a=rtcp-fb:96 nack pli
a=rtpmap:97 rtx/90000
a=fmtp:97 apt=96
a=ssrc-group:FID 1 2
a=ssrc:1 cname:x
a=ssrc:2 cname:x
a=rid:h send
a=simulcast:send h
m=application 9 UDP/DTLS/SCTP webrtc-datachannel
c=IN IP4 0.0.0.0
a=mid:2
a=sctp-port:5000
"""


CASES: list[tuple[str, str, str, str, int]] = [
    ("no-origin", PHONE, "o=- 1 1 IN IP4 203.0.113.5\n", "", 1),
    ("no-name", PHONE, "s=-\n", "", 1),
    ("no-timing", PHONE, "t=0 0\n", "", 1),
    ("twice", PHONE, "s=-\n", "s=-\ns=-\n", 4),
    ("unknown-line", PHONE, "t=0 0\n", "t=0 0\ny=1\n", 6),
    ("unknown-line", PHONE, "a=sendrecv\n", "a=sendrecv\nt=0 0\n", 13),
    ("session-order", PHONE, "c=IN IP4 203.0.113.5\nt=0 0\n", "t=0 0\nc=IN IP4 203.0.113.5\n", 5),
    ("media-order", PHONE, "a=sendrecv\n", "a=sendrecv\nb=AS:64\n", 13),
    ("tolerated", PHONE, "a=ptime:20", "a=ptime:fast", 10),
    ("tolerated", PHONE, "a=ptime:20", "a=ptime: 20", 10),
    ("tolerated", PHONE, "a=ptime:20", "a=ptime:", 10),
    ("tolerated", PHONE, "a=maxptime:60", "a=maxptime:", 11),
    ("tolerated", PHONE, "t=0 0\n", "b=CT:\nt=0 0\n", 5),
    ("tolerated", PHONE, "RTP/AVP 0 101\n", "RTP/AVP 0 101\nb=AS:64.5\n", 7),
    ("tolerated", PHONE, "a=sendrecv\n", "a=sendrecv\na=rtcp:70000\n", 13),
    ("tolerated", PHONE, "a=sendrecv\n", "a=sendrecv\n \n", 13),
    ("tolerated", PHONE, "a=sendrecv\n", "a=sendrecv\n\0", 13),
    ("tolerated", PHONE, "a=sendrecv\n", "a=sendrecv\nnonsense\n", 13),
    ("tolerated", PHONE, "a=sendrecv\n", "a=sendrecv\nm=video x\n", 13),
    ("tolerated", PHONE, "a=sendrecv\n", "a=sendrecv\nm=\n", 13),
    ("tolerated", PHONE, "a=sendrecv\n", "a=sendrecv\nm=video x RTP/AVP 96\n", 13),
    ("tolerated", PHONE, "RTP/AVP", "rtp/avp", 6),
    ("tolerated", PHONE, "IN IP4 203.0.113.5\nt=", "IN IP4 203.000.113.005\nt=", 4),
    ("no-address", PHONE, "IN IP4 203.0.113.5\nt=", "IN IP4 203.0.113.999\nt=", 4),
    ("malformed", PHONE, "t=0 0", "t=now", 5),
    ("wrong-level", PHONE, "t=0 0\n", "t=0 0\na=ptime:20\n", 6),
    ("wrong-level", PHONE, "a=sendrecv\n", "a=sendrecv\na=ice-lite\n", 13),
    ("no-connection", PHONE, "c=IN IP4 203.0.113.5\n", "", 5),
    ("no-formats", PHONE, "a=sendrecv\n", "a=sendrecv\nm=video 0 RTP/AVP\n", 13),
    ("format-twice", PHONE, "RTP/AVP 0 101", "RTP/AVP 0 101 0", 6),
    ("no-rtpmap", PHONE, "RTP/AVP 0 101", "RTP/AVP 0 101 96", 6),
    ("rtpmap-twice", PHONE, "a=fmtp:101", "a=rtpmap:0 PCMU/8000\na=fmtp:101", 9),
    ("rtpmap-clash", PHONE, "a=fmtp:101", "a=rtpmap:0 PCMA/8000\na=fmtp:101", 9),
    ("stray-rtpmap", PHONE, "a=fmtp:101", "a=rtpmap:8 PCMA/8000\na=fmtp:101", 9),
    ("stray-fmtp", PHONE, "a=fmtp:101", "a=fmtp:102", 9),
    ("direction-twice", PHONE, "a=sendrecv\n", "a=sendrecv\na=recvonly\n", 13),
    ("ptime-above-maxptime", PHONE, "a=maxptime:60", "a=maxptime:10", 10),
    ("opus-rtpmap", BROWSER, "opus/48000/2", "opus/48000", 15),
    ("opus-rtpmap", BROWSER, "opus/48000/2", "OPUS/16000/2", 15),
    ("g722-rtpmap", PHONE, "RTP/AVP 0 101\n", "RTP/AVP 0 101 9\na=rtpmap:9 G722/16000\n", 7),
    ("event-clock", PHONE, "telephone-event/8000", "telephone-event/16000", 8),
    ("rtx-without-apt", BROWSER, "a=fmtp:97 apt=96\n", "", 25),
    ("rtx-without-apt", BROWSER, "apt=96", "apt=95", 25),
    ("h264-profile", BROWSER, "VP8", "H264", 23),
    ("fingerprint-hash", BROWSER, f"sha-256 {SHA256}", "md5 " + SHA256[:47], 10),
    ("fingerprint-length", BROWSER, SHA256, SHA256[3:], 10),
    ("fingerprint-sha1", BROWSER, f"sha-256 {SHA256}", "sha-1 " + SHA256[:59], 10),
    (
        "extmap-twice", BROWSER, "a=rtcp-mux\na=rtpmap:111",
        "a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\na=rtcp-mux\na=rtpmap:111", 14,
    ),
    ("extmap-id", BROWSER, "a=rtcp-mux\na=rtpmap:111", "a=extmap:15 urn:x\na=rtcp-mux\na=rtpmap:111", 14),
    ("extmap-range", BROWSER, "a=group", "a=extmap:300 urn:x\na=group", 5),
    ("extmap-range", BROWSER, "a=rtcp-mux\na=rtpmap:111", "a=extmap:0 urn:x\na=rtcp-mux\na=rtpmap:111", 14),
    ("stray-parameters", BROWSER, "a=fmtp:97 apt=96\n", "a=fmtp:97 apt=96\na=fmtp:98 x=1\n", 27),
    ("simulcast-without-extension", BROWSER, "a=extmap:2 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\n", "", 30),
    ("session-order", BROWSER, "s=-\nt=0 0\n", "t=0 0\ns=-\n", 4),
    ("no-origin", BROWSER, "o=- 1 1 IN IP4 127.0.0.1\n", "", 1),
    ("no-timing", BROWSER, "t=0 0\n", "", 1),
    ("unknown-line", BROWSER, "t=0 0\n", "t=0 0\ny=1\n", 5),
    ("malformed", BROWSER, "a=setup:actpass", "a=setup:both", 11),
    ("malformed", BROWSER, "1 203.0.113.5 9 typ", "1 203.0.113.5 typ", 16),
    ("rtpmap-clash", BROWSER, "a=candidate", "a=rtpmap:111 PCMU/8000\na=candidate", 16),
    ("format-twice", BROWSER, "SAVPF 111\n", "SAVPF 111 111\n", 6),
    ("no-rtpmap", BROWSER, "SAVPF 111\n", "SAVPF 111 112\n", 6),
    ("direction-twice", BROWSER, "a=mid:0\n", "a=mid:0\na=sendrecv\na=recvonly\n", 14),
    ("wrong-level", BROWSER, "t=0 0\n", "t=0 0\na=ptime:20\n", 5),
    ("mid-twice", BROWSER, "a=mid:2\n", "a=mid:2\na=mid:1\n", 35),
    ("no-rtcp-mux", BROWSER, "a=rtcp-mux\na=rtpmap:96", "a=rtpmap:96", 17),
    ("group-of-strangers", BROWSER, "BUNDLE 0 1 2", "BUNDLE 0 1 2 3", 5),
    ("ssrc-group-of-strangers", BROWSER, "FID 1 2", "FID 1 3", 27),
    ("no-keys", PHONE, "RTP/AVP", "RTP/SAVP", 6),
    ("crypto-without-srtp", PHONE, "a=ptime", f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}\na=ptime", 10),
    ("feedback-without-avpf", PHONE, "a=ptime", "a=rtcp-fb:* nack\na=ptime", 10),
    ("old-hold", PHONE, "c=IN IP4 203.0.113.5", "c=IN IP4 0.0.0.0", 4),
    ("private-address", PHONE, "c=IN IP4 203.0.113.5", "c=IN IP4 192.168.1.9", 4),
    ("private-address", PHONE, "a=rtpmap:0", "c=IN IP4 10.0.0.1\na=rtpmap:0", 7),
    ("host-name", PHONE, "c=IN IP4 203.0.113.5", "c=IN IP4 phone.example.com", 4),
    ("no-ice", BROWSER, "a=ice-ufrag:abcd\n", "", 6),
    ("short-ice", BROWSER, "a=ice-ufrag:abcd", "a=ice-ufrag:abc", 8),
    ("short-ice", BROWSER, "a=ice-pwd:abc", "a=ice-pwd:", 9),
    ("ice-characters", BROWSER, "a=ice-ufrag:abcd", "a=ice-ufrag:ab-d", 8),
    ("no-fingerprint", BROWSER, f"a=fingerprint:sha-256 {SHA256}\n", "", 6),
    ("no-setup", BROWSER, "a=setup:actpass\n", "", 6),
    ("sdes-in-webrtc", BROWSER, "a=mid:0\n", f"a=mid:0\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}\n", 13),
    ("no-rtcp-mux", BROWSER, "a=rtcp-mux\na=rtpmap:111", "a=rtpmap:111", 6),
    (
        "bundle-extensions", BROWSER, "a=mid:1\na=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid",
        "a=mid:1\na=extmap:1 urn:x", 20,
    ),
    ("bundle-only-port", BROWSER, "a=mid:1\n", "a=mid:1\na=bundle-only\n", 17),
    ("mdns-candidate", BROWSER, "1 203.0.113.5 9", "1 a-b.local 9", 16),
    ("no-sctp-port", BROWSER, "a=sctp-port:5000\n", "", 32),
    ("simulcast-of-strangers", BROWSER, "a=simulcast:send h", "a=simulcast:send h;l", 31),
]  # fmt: skip
