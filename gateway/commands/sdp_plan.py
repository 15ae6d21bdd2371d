"""An example of what the gateway's own side of a description would say, for `gateway sdp translate`."""

from __future__ import annotations

import secrets
from ipaddress import ip_address

from sdp import CodecPolicy, IceParameters, Plan, SessionDescription, TransportPlan
from sdp.attributes import Crypto, CryptoKey, Fingerprint, SetupRole
from sdp.plan import PlanKind

_SUITES = (("AEAD_AES_128_GCM", 28), ("AES_CM_128_HMAC_SHA1_80", 30))
"""Suites offered with SDES, with the octets of key and salt (RFC 7714, RFC 4568)."""


def example_plan(kind: PlanKind, address: str, port: int, source: SessionDescription, codecs: tuple[str, ...]) -> Plan:
    """A plan with fresh random keys: for WebRTC one ICE-lite port, else a port pair a section of `source`.

    `codecs` are names in lower case, best first; others follow in the other side's order.
    """
    transports: tuple[TransportPlan, ...]
    if kind == "webrtc":
        transports = (_webrtc(address, port),)
    else:
        crypto = tuple(
            Crypto(tag, suite, (CryptoKey(secrets.token_bytes(octets)),)) for tag, (suite, octets) in _suites(kind)
        )
        transports = tuple(
            TransportPlan(address, port + 2 * number, port + 2 * number + 1, crypto=crypto)
            for number in range(max(1, len(source.media)))
        )
    return Plan(
        kind,
        transports,
        address=address,
        session_id=secrets.randbits(62),
        codecs=CodecPolicy(order=codecs),
        cname=secrets.token_hex(8),
        stream="gateway",
    )


def _suites(kind: PlanKind) -> list[tuple[int, tuple[str, int]]]:
    return list(enumerate(_SUITES, 1)) if kind == "sdes" else []


def _webrtc(address: str, port: int) -> TransportPlan:
    version = ip_address(address).version
    candidate = f"{version} 1 udp 2130706431 {address} {port} typ host"
    digest = ":".join(f"{octet:02X}" for octet in secrets.token_bytes(32))
    return TransportPlan(
        address,
        port,
        ice=IceParameters(secrets.token_hex(4), secrets.token_hex(16), (candidate,), lite=True),
        fingerprints=(Fingerprint("sha-256", digest),),
        setup=SetupRole.PASSIVE,
    )
