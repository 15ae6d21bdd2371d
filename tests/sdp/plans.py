"""Plans, descriptions and corpora that the tests of negotiation and translation share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from sdp import Codec, CodecPolicy, IceParameters, Plan, SdpSyntaxError, SessionDescription, TransportPlan
from sdp.attributes import Crypto, CryptoKey, Fingerprint
from tests.sdp.corpus import every

DESCRIPTIONS = Path(__file__).parent / "descriptions"

GATEWAY = "198.51.100.1"
OPUS = Codec("opus", 48000, 2, fmtp="minptime=10;useinbandfec=1")
G722 = Codec("G722", 8000)
PCMU = Codec("PCMU", 8000)
PCMA = Codec("PCMA", 8000)
TRANSCODABLE = (OPUS, G722, PCMU, PCMA)
POLICY = CodecPolicy(order=("opus", "g722", "pcmu", "pcma"), offer_also=TRANSCODABLE)
FINGERPRINT = Fingerprint("sha-256", ":".join(f"{octet:02X}" for octet in range(32)))
KEYS = (
    Crypto(1, "AEAD_AES_128_GCM", (CryptoKey(bytes(range(28))),)),
    Crypto(2, "AES_CM_128_HMAC_SHA1_80", (CryptoKey(bytes(range(30))),)),
)
ICE = IceParameters(
    "gwUf",
    "gatewayIcePasswordOf32Characters",
    (f"candidate:1 1 udp 2130706431 {GATEWAY} 3478 typ host",),
    lite=True,
)


def browser_plan(**changes: Any) -> Plan:
    """The plan for a browser's side: ICE-lite on one port, everything bundled."""
    transport = TransportPlan(GATEWAY, 3478, ice=ICE, fingerprints=(FINGERPRINT,))
    plan = Plan(
        "webrtc",
        (transport,),
        address=GATEWAY,
        session_id=7001,
        codecs=POLICY,
        cname="gateway",
        stream="gateway",
        ssrcs=(1001, 1002, 1003),
    )
    return replace(plan, **changes)


def phone_plan(kind: str = "rtp", **changes: Any) -> Plan:
    """The plan for a phone's side: one port a section, keys where the kind wants them."""
    keys: dict[str, Any] = {}
    if kind in ("sdes", "best-effort"):
        keys = {"crypto": KEYS}
    elif kind == "dtls":
        keys = {"fingerprints": (FINGERPRINT,)}
    transports = tuple(TransportPlan(GATEWAY, port, **keys) for port in (20000, 20002, 20004))
    plan: Plan = Plan(kind, transports, address=GATEWAY, session_id=7002, codecs=POLICY)  # type: ignore[arg-type]  # kinds come from parametrize
    return replace(plan, **changes)


def described(*media: str, session: str = "", address: str = "203.0.113.9") -> SessionDescription:
    """A description of an ordinary phone; each of `media` is a section with lines parted by |."""
    lines = ["v=0", f"o=- 1 1 IN IP4 {address}", "s=-", f"c=IN IP4 {address}", "t=0 0"]
    lines += [line for line in session.split("|") if line]
    lines += [line for section in media for line in section.split("|")]
    return SessionDescription.parse("\r\n".join(lines) + "\r\n")


BROWSER_SESSION = "a=group:BUNDLE 0|a=msid-semantic: WMS stream"


def browser(*media: str, session: str = BROWSER_SESSION) -> SessionDescription:
    """A description of a browser: every section gets ICE, DTLS, a mid (0, 1 ...) and rtcp-mux."""
    common = (
        "a=ice-ufrag:brow|a=ice-pwd:browserIcePasswordOf24ch|a=ice-options:trickle"
        "|a=candidate:1 1 udp 2122260223 0b51e5e4-8b3a-4a5e-b0a1-6a0d3a6f2b11.local 52012 typ host"
        f"|a=fingerprint:{FINGERPRINT}|a=setup:actpass"
    )
    sections = []
    for number, text in enumerate(media):
        extra = "" if "a=mid:" in text else f"|a=mid:{number}"
        mux = "" if "SCTP" in text else "|a=rtcp-mux"
        sections.append(f"{text}|{common}{extra}{mux}")
    return described(*sections, session=session, address="0.0.0.0")


CHROME_AUDIO = (
    "m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126"
    "|a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level"
    "|a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
    "|a=sendrecv|a=msid:stream track|a=rtcp:9 IN IP4 0.0.0.0|a=rtcp-rsize"
    "|a=rtpmap:111 opus/48000/2|a=rtcp-fb:111 transport-cc|a=fmtp:111 minptime=10;useinbandfec=1"
    "|a=rtpmap:63 red/48000/2|a=fmtp:63 111/111|a=rtpmap:9 G722/8000|a=rtpmap:0 PCMU/8000|a=rtpmap:8 PCMA/8000"
    "|a=rtpmap:13 CN/8000|a=rtpmap:110 telephone-event/48000|a=rtpmap:126 telephone-event/8000"
    "|a=ssrc:3735928559 cname:browserCname|a=ssrc:3735928559 msid:stream track"
)
CHROME_VIDEO = (
    "m=video 9 UDP/TLS/RTP/SAVPF 96 97 98 99 102 103 104 105 45 46 114 115 116"
    "|a=sendrecv|a=rtcp-rsize"
    "|a=rtpmap:96 VP8/90000|a=rtcp-fb:96 goog-remb|a=rtcp-fb:96 transport-cc|a=rtcp-fb:96 ccm fir"
    "|a=rtcp-fb:96 nack|a=rtcp-fb:96 nack pli|a=rtpmap:97 rtx/90000|a=fmtp:97 apt=96"
    "|a=rtpmap:98 VP9/90000|a=fmtp:98 profile-id=0|a=rtpmap:99 rtx/90000|a=fmtp:99 apt=98"
    "|a=rtpmap:102 H264/90000|a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f"
    "|a=rtcp-fb:102 nack pli|a=rtpmap:103 rtx/90000|a=fmtp:103 apt=102"
    "|a=rtpmap:104 H264/90000|a=fmtp:104 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f"
    "|a=rtpmap:105 rtx/90000|a=fmtp:105 apt=104|a=rtpmap:45 AV1/90000|a=fmtp:45 level-idx=5;profile=0;tier=0"
    "|a=rtpmap:46 rtx/90000|a=fmtp:46 apt=45|a=rtpmap:114 red/90000|a=rtpmap:115 rtx/90000|a=fmtp:115 apt=114"
    "|a=rtpmap:116 ulpfec/90000|a=ssrc-group:FID 1 2|a=ssrc:1 cname:browserCname|a=ssrc:2 cname:browserCname"
)
CHROME_DATA = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel|a=sctp-port:5000|a=max-message-size:262144"
PHONE_AUDIO = (
    "m=audio 4000 RTP/AVP 8 0 101|a=rtpmap:8 PCMA/8000|a=rtpmap:0 PCMU/8000"
    "|a=rtpmap:101 telephone-event/8000|a=fmtp:101 0-16|a=ptime:20"
)


def chrome(*, video: bool = False, data: bool = False) -> SessionDescription:
    """The offer of a current Chrome."""
    media = [CHROME_AUDIO, *([CHROME_VIDEO] if video else []), *([CHROME_DATA] if data else [])]
    return browser(*media, session="a=group:BUNDLE " + " ".join(map(str, range(len(media)))))


def corpus() -> list[tuple[str, SessionDescription]]:
    """Return every description, our own and published ones, that can be read, with its name."""
    found = []
    for name, text in every().items():
        try:
            found.append((name, SessionDescription.parse(text)))
        except SdpSyntaxError:
            continue
    return found
