"""Typed attributes: what each reads, what it refuses and where, and that it writes what it read."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest

from sdp import Direction, SdpSyntaxError
from sdp.attributes import (
    ATTRIBUTES,
    Attribute,
    Candidate,
    Category,
    Crypto,
    CryptoKey,
    DcMap,
    DcSa,
    ExtMap,
    Fingerprint,
    Fmtp,
    FrameRate,
    Group,
    IceLite,
    IceOptions,
    IcePacing,
    IcePwd,
    IceUfrag,
    MaxMessageSize,
    Mid,
    Msid,
    MsidSemantic,
    Orientation,
    Ptime,
    Quality,
    RemoteCandidate,
    RemoteCandidates,
    Rid,
    Rtcp,
    RtcpFb,
    RtcpMux,
    RtpMap,
    SctpMap,
    SctpPort,
    Setup,
    SetupRole,
    Simulcast,
    SimulcastStream,
    Ssrc,
    SsrcGroup,
    TlsId,
    attribute_line,
)
from tests.rows import by_row

KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5"
SALTED = b"012345678901234567890123456789"

READ: list[tuple[str, Attribute]] = [
    ("rtpmap:0 PCMU/8000", RtpMap(0, "PCMU", 8000)),
    ("rtpmap:111 opus/48000/2", RtpMap(111, "opus", 48000, "2")),
    ("fmtp:111 minptime=10;useinbandfec=1", Fmtp("111", "minptime=10;useinbandfec=1")),
    ("fmtp:101 0-15", Fmtp("101", "0-15")),
    ("fmtp:101", Fmtp("101", "")),
    ("rtcp-fb:96 nack", RtcpFb("96", "nack")),
    ("rtcp-fb:* ccm tmmbr smaxpr=120", RtcpFb("*", "ccm", "tmmbr smaxpr=120")),
    ("rtcp-fb:98 trr-int 100", RtcpFb("98", "trr-int", "100")),
    ("ptime:20", Ptime(20)),
    ("ptime:0.125", Ptime(0.125)),
    ("framerate:29.97", FrameRate(29.97)),
    ("ice-ufrag:F7gI", IceUfrag("F7gI")),
    ("ice-pwd:x9cml/YzichV2+XlhiMu8g", IcePwd("x9cml/YzichV2+XlhiMu8g")),
    ("ice-lite", IceLite()),
    ("ice-options:trickle ice2", IceOptions(("trickle", "ice2"))),
    ("ice-pacing:50", IcePacing(50)),
    (
        "remote-candidates:1 192.0.2.1 4000 2 192.0.2.1 4001",
        RemoteCandidates((RemoteCandidate(1, "192.0.2.1", 4000), RemoteCandidate(2, "192.0.2.1", 4001))),
    ),
    (
        "candidate:1 1 UDP 2130706431 192.0.2.1 4000 typ host",
        Candidate("1", 1, "UDP", 2130706431, "192.0.2.1", 4000, "host"),
    ),
    (
        "candidate:2 1 udp 1694498815 203.0.113.1 4000 typ srflx raddr 192.0.2.1 rport 4002 generation 0 ufrag aBcD",
        Candidate(
            "2",
            1,
            "udp",
            1694498815,
            "203.0.113.1",
            4000,
            "srflx",
            "192.0.2.1",
            4002,
            (("generation", "0"), ("ufrag", "aBcD")),
        ),
    ),
    ("fingerprint:sha-256 AA:0B", Fingerprint("sha-256", "AA:0B")),
    ("setup:actpass", Setup(SetupRole.ACTPASS)),
    ("tls-id:4a756565cddef001be82", TlsId("4a756565cddef001be82")),
    (
        f"crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}",
        Crypto(1, "AES_CM_128_HMAC_SHA1_80", (CryptoKey(SALTED),)),
    ),
    (
        f"crypto:2 AES_CM_128_HMAC_SHA1_32 inline:{KEY}|2^20|1:4;inline:{KEY}|2^20|2:4 KDR=1 UNENCRYPTED_SRTCP",
        Crypto(
            2,
            "AES_CM_128_HMAC_SHA1_32",
            (CryptoKey(SALTED, "2^20", 1, 4), CryptoKey(SALTED, "2^20", 2, 4)),
            ("KDR=1", "UNENCRYPTED_SRTCP"),
        ),
    ),
    (f"crypto:3 X inline:{KEY}|1:4", Crypto(3, "X", (CryptoKey(SALTED, None, 1, 4),))),
    (f"crypto:4 X inline:{KEY}|1048576", Crypto(4, "X", (CryptoKey(SALTED, "1048576"),))),
    ("rtcp:4001", Rtcp(4001)),
    ("rtcp:4001 IN IP6 2001:db8::1", Rtcp(4001, "2001:db8::1", "IP6")),
    ("rtcp-mux", RtcpMux()),
    ("sctp-port:5000", SctpPort(5000)),
    ("max-message-size:262144", MaxMessageSize(262144)),
    ("sctpmap:5000 webrtc-datachannel 1024", SctpMap(5000, "webrtc-datachannel", 1024)),
    ("sctpmap:5000 webrtc-datachannel", SctpMap(5000, "webrtc-datachannel")),
    (
        'dcmap:2 label="ACME; service";subprotocol="t140";ordered=true',
        DcMap(2, (("label", "ACME; service"), ("subprotocol", "t140"), ("ordered", "true"))),
    ),
    ("dcmap:3", DcMap(3)),
    ("dcsa:2 fmtp:t140 cps=20", DcSa(2, "fmtp:t140 cps=20")),
    ("mid:audio", Mid("audio")),
    ("group:BUNDLE 0 1", Group("BUNDLE", ("0", "1"))),
    ("group:BUNDLE", Group("BUNDLE")),
    ("msid:- 1a2b", Msid("-", "1a2b")),
    ("msid:stream", Msid("stream")),
    ("msid-semantic:WMS *", MsidSemantic("WMS", ("*",))),
    ("ssrc:1399694169 cname:alice", Ssrc(1399694169, "cname", "alice")),
    ("ssrc:1399694169 baz", Ssrc(1399694169, "baz")),
    ("ssrc-group:FID 1 2", SsrcGroup("FID", (1, 2))),
    ("rid:h send", Rid("h", "send")),
    ("rid:1 send pt=97,98;max-width=1280;x", Rid("1", "send", ("97", "98"), (("max-width", "1280"), ("x", None)))),
    (
        "simulcast:send 1,~4;2 recv c",
        Simulcast(
            ((SimulcastStream("1"), SimulcastStream("4", True)), (SimulcastStream("2"),)), ((SimulcastStream("c"),),)
        ),
    ),
    ("simulcast:recv 1", Simulcast((), ((SimulcastStream("1"),),))),
    ("extmap:1 urn:x", ExtMap(1, "urn:x")),
    ("extmap:2/recvonly urn:x vad=on more", ExtMap(2, "urn:x", "recvonly", "vad=on more")),
    ("cat:foo bar", Category("foo bar")),
    ("orient:portrait", Orientation("portrait")),
    ("quality:10", Quality(10)),
]


def parse(line: str) -> Attribute:
    name, _, value = line.partition(":")
    return ATTRIBUTES[name].parse(value)


@by_row(("line", "value"), READ, ids=[line for line, _ in READ])
def test_reads_and_writes(line: str, value: Attribute) -> None:
    """A well-formed attribute is read as the value that writes it."""
    assert parse(line) == value
    assert attribute_line(value) == "a=" + line


@by_row(
    ("line", "value"),
    [
        ("rtpmap:0  PCMU/8000 ", RtpMap(0, "PCMU", 8000)),
        ("fmtp:1  a=b  ", Fmtp("1", "a=b")),
        ("rtcp-fb:1 nack  pli ", RtcpFb("1", "nack", "pli")),
        ("rtcp-fb:1 nack ", RtcpFb("1", "nack")),
        ("extmap:1 urn:x ", ExtMap(1, "urn:x")),
        ("fingerprint:SHA-256 aa:bb", Fingerprint("sha-256", "AA:BB")),
        ("setup:ACTPASS ", Setup(SetupRole.ACTPASS)),
        ("msid-semantic: WMS", MsidSemantic("WMS")),
        ("rtcp-mux: ", RtcpMux()),
        ("ptime:20. ", Ptime(20)),
        ('dcmap:1 ;label="a";', DcMap(1, (("label", "a"),))),
        (f"crypto:1 X inline:{KEY}=", Crypto(1, "X", (CryptoKey(SALTED),))),
        ("rid:1 recv ;pt=1", Rid("1", "recv", ("1",))),
        ("candidate:1 1 udp 1 ::1 9 typ relay rport 9", Candidate("1", 1, "udp", 1, "::1", 9, "relay", None, 9)),
    ],
)
def test_reads_what_peers_write_carelessly(line: str, value: Attribute) -> None:
    """Spare spaces, either case and missing paddings are understood, and written the RFC's way."""
    assert parse(line) == value
    assert parse(attribute_line(value)[2:]) == value


@by_row(
    ("line", "column", "expected"),
    [
        ("rtpmap:x PCMU/8000", 1, "a payload type"),
        ("rtpmap:0", 2, "a space and an encoding name"),
        ("rtpmap:0 PCMU", 7, "a slash and a clock rate"),
        ("rtpmap:128 PCMU/8000", 1, "a payload type of at most 127"),
        ("rtpmap:0 PCMU/8000 x", 13, "the end of the line"),
        ("fmtp:", 1, "a format"),
        ("rtcp-fb:x nack", 1, 'a payload type or "*"'),
        ("rtcp-fb:1", 2, "a space and a feedback type"),
        ("ptime:fast", 1, "a decimal number"),
        ("ice-ufrag:a b", 3, "the end of the line"),
        ("ice-pwd:", 1, "visible ASCII, at most 256 characters"),
        ("ice-options: ", 1, "an ICE option tag"),
        ("ice-pacing:99999999999", 1, "a number of at most 9999999999"),
        ("ice-lite:yes", 1, "the end of the line"),
        ("remote-candidates:1 192.0.2.1", 1, "component, address and port"),
        ("remote-candidates:1 192.0.2.1 9 2 x", 15, "the end of the line"),
        ("candidate:1 1 udp 1 192.0.2.1 9", 22, '" typ " and a candidate type'),
        ("candidate:1 1 udp 1 192.0.2.1 70000 typ host", 21, "ports of at most 65535"),
        ("candidate:1 1 udp 1 192.0.2.1 9 typ host odd", 32, "the end of the line"),
        ("fingerprint:sha-256", 8, "a space and an octet in hexadecimal"),
        ("fingerprint:sha-256 AA:B", 11, "the end of the line"),
        ("setup:", 1, "active, passive, actpass or holdconn"),
        ("connection:old", 1, "new or existing"),
        ("tls-id:short", 1, "20 to 255 letters, digits, + / - or _"),
        ("crypto:1 X", 4, "a space and key parameters"),
        ("crypto:1 X clear:abc", 5, '"inline:"'),
        ("crypto:1 X inline:A", 12, "a key in base64"),
        (f"crypto:1 X inline:{KEY};inline:-", 60, "a key in base64"),
        (f"crypto:1 X inline:{KEY}|soon", 52, "the end of the line"),
        ("rtcp:99999", 1, "a port of at most 65535"),
        ("rtcp:9 IN IP4", 3, "the end of the line"),
        ("sctp-port:65536", 1, "a number of at most 65535"),
        ("sctp-port:-1", 1, "a number"),
        ("sctpmap:5000", 5, "a space and an application"),
        ("dcmap:65536", 1, "a stream id of at most 65535"),
        ("dcmap:1 ordered=true;label", 21, '"=" and a value'),
        ('dcmap:1 label="open', 14, "a closing quotation mark"),
        ("dcsa:1", 2, "a space and an attribute"),
        ("mid:a b", 3, "the end of the line"),
        ("group:", 1, "semantics"),
        ("msid:", 1, "a stream id"),
        ("msid-semantic: ", 1, "a semantic"),
        ("ssrc:4294967296 x", 1, "an SSRC of at most 32 bits"),
        ("ssrc-group:FID 4294967296", 4, "an SSRC of at most 32 bits"),
        ("ssrc-group:FID x", 5, "the end of the line"),
        ("rid:1 both", 2, "a space and send or recv"),
        ("simulcast:1", 1, "send or recv"),
        ("simulcast:send 1 send 2", 8, "the other direction"),
        ("extmap:x urn:x", 1, "an id"),
        ("extmap:1/up urn:x", 2, "a space and a URI"),
        ("orient:up", 1, "portrait, landscape or seascape"),
        ("cat:", 1, "a value"),
        ("quality:11", 1, "a number of at most 10"),
    ],
)
def test_refuses_with_column_and_what_was_expected(line: str, column: int, expected: str) -> None:
    """The column counts from 1 at the value; the text says what belongs there."""
    with pytest.raises(SdpSyntaxError) as caught:
        parse(line)
    assert (caught.value.line, caught.value.column, caught.value.expected) == (0, column, expected)


def test_every_attribute_is_registered_under_its_name() -> None:
    """The registry is by wire name, and nothing is lost in it."""
    assert all(name == view.NAME for name, view in ATTRIBUTES.items())
    assert len(ATTRIBUTES) >= 50


@by_row(("text", "channels"), [("111 opus/48000/2", 2), ("0 PCMU/8000", 1), ("9 X/8000/stereo", 1)])
def test_channels_default_to_one(text: str, channels: int) -> None:
    """RFC 8866 section 6.6: no parameters means one channel."""
    assert RtpMap.parse(text).channels == channels


def test_fmtp_parameters_are_an_ordered_map() -> None:
    """Names in lower case, values as written, None without "="; the last of a name holds."""
    parameters = Fmtp.parse("98 Profile-Level-ID=42E01F; packetization-mode=1;;0-15; x=; x=2").parameters
    assert list(parameters.items()) == [
        ("profile-level-id", "42E01F"),
        ("packetization-mode", "1"),
        ("0-15", None),
        ("x", "2"),
    ]


def test_fmtp_is_built_from_parameters() -> None:
    """In the order given; None writes the name alone."""
    assert str(Fmtp.of(111, {"minptime": 10, "useinbandfec": "1"})) == "111 minptime=10;useinbandfec=1"
    assert str(Fmtp.of("101", {"0-15": None})) == "101 0-15"


def test_parameters_cannot_be_changed() -> None:
    """Remembered values are shared between descriptions, so their maps are read-only."""
    for shared in (
        Fmtp.parse("1 a=b").parameters,
        DcMap.parse("1 ordered=true").parameters,
        Rid("1", "send").parameters,
    ):
        assert isinstance(shared, MappingProxyType)


def test_long_values_are_read_without_being_remembered() -> None:
    """A stranger's long lines do not fill the memory kept for common ones."""
    long = "98 sprop-parameter-sets=" + "A" * 4000
    first: Any = Fmtp.parse(long)
    assert first == Fmtp.parse(long)
    assert first is not Fmtp.parse(long)
    assert Fmtp.parse("98 apt=1") is Fmtp.parse("98 apt=1")


def test_candidates_are_read_from_what_browsers_hand_out() -> None:
    """With and without a=, as RTCIceCandidate.candidate is."""
    value = "1 1 udp 1 192.0.2.1 9 typ host tcptype active"
    for prefix in ("candidate:", "a=candidate:"):
        candidate = Candidate.parse_line(prefix + value)
        assert candidate == Candidate.parse(value)
        assert candidate.tcp_type == "active"
        assert candidate.extension("ufrag") is None
    with pytest.raises(SdpSyntaxError) as caught:
        Candidate.parse_line("candidate:1 1 udp")
    assert caught.value.column == 18
    with pytest.raises(SdpSyntaxError):
        Candidate.parse_line("kandidat:1")


def test_fingerprint_octets() -> None:
    """The digest as bytes."""
    assert Fingerprint("sha-256", "AA:0B").octets == b"\xaa\x0b"


@by_row(("lifetime", "packets"), [("|2^20", 1048576), ("|100", 100), ("", None)])
def test_key_lifetime_in_packets(lifetime: str, packets: int | None) -> None:
    """RFC 4568 section 6.1: decimal or a power of two."""
    assert CryptoKey.parse(f"inline:{KEY}{lifetime}").packets == packets


def test_dcmap_and_rid_parameters_by_name() -> None:
    """The pairs as a map."""
    assert DcMap.parse('1 label="x";max-retr=3').parameters == {"label": "x", "max-retr": "3"}
    assert Rid.parse("1 send max-fps=30").parameters == {"max-fps": "30"}


def test_direction_names_are_the_wire_names() -> None:
    """A direction writes itself."""
    assert [str(direction) for direction in Direction] == ["sendrecv", "sendonly", "recvonly", "inactive"]
