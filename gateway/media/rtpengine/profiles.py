"""What rtpengine is to be told: our words for a party as the flags of an offer or an answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from gateway.media.engine import Kind, Party
from gateway.media.rtpengine.bencode import Encodable
from sdp import is_private
from sdp.keys import KEY_OCTETS

NAMES = {"opus": "opus", "g722": "G722", "pcmu": "PCMU", "pcma": "PCMA"}
"""Codecs by the names rtpengine knows them by; others in capitals."""

DIGITS_READY = "inject-DTMF"
"""The flag that lets digits of ours be played, and has packets numbered by rtpengine."""

Flags = dict[str, Encodable]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What holds for every call."""

    webrtc_codecs: tuple[str, ...] = ("opus", "g722", "pcmu", "pcma")
    """Toward browsers, lower case, best first."""
    rtp_codecs: tuple[str, ...] = ("opus", "g722", "pcmu", "pcma")
    """Toward phones, lower case, best first."""
    video: tuple[str, ...] = ("vp8", "h264", "vp9", "av1")
    """Codecs of pictures that pass, lower case."""
    telephone_event: bool = True
    transcode: bool = True
    """Turn one codec into the other where none is common."""
    srtp_suites: tuple[str, ...] = (
        "AEAD_AES_128_GCM",
        "AEAD_AES_256_GCM",
        "AES_CM_128_HMAC_SHA1_80",
        "AES_256_CM_HMAC_SHA1_80",
        "AES_CM_128_HMAC_SHA1_32",
    )
    """Toward phones with SDES."""
    renumbers: bool = True
    """Have rtpengine number what it forwards of calls with SRTP; its kernel module forwards none of those."""
    strict_source: bool = True
    """Drop packets from another address than the one a party was found at; off for media that moves."""
    webrtc_interface: str | None = None
    """Name of the daemon's interface for browsers; None: its first one."""
    rtp_interface: str | None = None
    """The same for phones."""

    def numbers(self, a: Party, b: Party) -> bool:
        """Whether rtpengine is to number what it forwards between two parties.

        So rtpengine 10.5 keeps the roll-over counter of SRTP in a re-offer (RFC 3711 section 3.3.1): of what goes on
        under a phone's numbers it begins again at zero, and nobody can read that.
        """
        return self.renumbers and {a.kind, b.kind} != {Kind.RTP}


_TOWARD: dict[Kind, Flags] = {
    Kind.WEBRTC: {
        "transport-protocol": "UDP/TLS/RTP/SAVPF",
        "ICE": "force",
        "DTLS": "passive",
        "rtcp-mux": ["accept", "offer", "require"],
    },
    Kind.RTP: {"transport-protocol": "RTP/AVP", "ICE": "remove", "rtcp-mux": ["demux"]},
    Kind.SDES: {"transport-protocol": "RTP/SAVP", "ICE": "remove", "rtcp-mux": ["demux"]},
    Kind.DTLS: {
        "transport-protocol": "UDP/TLS/RTP/SAVP",
        "ICE": "remove",
        "DTLS": "passive",
        "rtcp-mux": ["accept", "offer"],
    },
    Kind.BEST_EFFORT: {"transport-protocol": "RTP/AVP", "ICE": "remove", "rtcp-mux": ["demux"]},
}
"""What the description that comes back is to be, by the kind of who gets it."""

_EVERY_SUITE = (*KEY_OCTETS, "F8_128_HMAC_SHA1_80", "F8_128_HMAC_SHA1_32", "NULL_HMAC_SHA1_80", "NULL_HMAC_SHA1_32")
"""What rtpengine may offer unless told not to."""


def flags(policy: Policy, source: Party, target: Party, addresses: Iterable[str]) -> Flags:
    """What offer and answer have in common; `addresses` are those of `source`'s description."""
    # Whoever one talks with, and wherever that one moves to: one's own port stays (RFC 3264 section 8.3.1).
    wanted = ["trust-address", "generate mid", "strip extmap", "port latching"]
    told = dict(_TOWARD[target.kind])
    if policy.strict_source:
        wanted.append("strict-source")
    if policy.numbers(source, target):
        wanted.append(DIGITS_READY)
    hidden = hidden_source(source, addresses)
    if hidden is not None:
        wanted[0] = "SIP-source-address"
        told["received-from"] = ["IP6" if ":" in hidden else "IP4", hidden]
    if source.kind in (Kind.WEBRTC, Kind.DTLS):
        told["DTLS-reverse"] = "passive"
    if target.kind is Kind.DTLS:
        told["SDES"] = ["off"]
    if target.kind is Kind.SDES:
        told["SDES"] = [f"no-{suite}" for suite in _EVERY_SUITE if suite not in policy.srtp_suites]
    told["flags"] = wanted
    told["replace"] = ["origin", "session-connection", "SDP-version"]
    return told


def offer_flags(
    policy: Policy,
    source: Party,
    target: Party,
    addresses: Iterable[str],
    offered: Iterable[str],
    masked: Iterable[str] = (),
) -> Flags:
    """For an offer of `source`, which names the codecs `offered` (lower case).

    `masked`: beside which there are pictures, whose codecs stay as they are; (): the target is told of no other codec.
    """
    every = list(masked) or ["all"]
    told = flags(policy, source, target, addresses)
    names = [NAMES.get(name, name.upper()) for name in preferred(policy, target, offered)]
    if policy.telephone_event:
        names.append("telephone-event")
    if policy.transcode:
        told["codec"] = {"mask": every, "transcode": names}
    else:
        told["codec"] = {"strip": every, "offer": names}
    sides = [_interface(policy, party) for party in (source, target)]
    if all(sides):
        told["direction"] = [side for side in sides if side is not None]
    return told


def preferred(policy: Policy, target: Party, offered: Iterable[str]) -> list[str]:
    """The codecs `target` may be offered, best first: what it likes, then what needs no transcoding, then the rest."""
    allowed = target.codecs or (policy.webrtc_codecs if target.kind is Kind.WEBRTC else policy.rtp_codecs)
    known = frozenset(offered)
    likes = target.prefer

    def rank(name: str) -> tuple[int, bool]:
        return (likes.index(name) if name in likes else len(likes), name not in known)

    return sorted(allowed, key=rank)


def hidden_source(source: Party, addresses: Iterable[str]) -> str | None:
    """The public address signalling came from, where the description has only addresses that nobody can reach."""
    if source.kind is Kind.WEBRTC or source.private_source is None:
        return None
    try:
        ip_address(source.private_source)
    except ValueError:
        return None
    if is_private(source.private_source) or not all(is_private(address) for address in addresses):
        return None
    return source.private_source


def _interface(policy: Policy, party: Party) -> str | None:
    return policy.webrtc_interface if party.kind is Kind.WEBRTC else policy.rtp_interface
