"""HEP3 encoding of messages and quality reports for a Homer collector.

Encapsulation protocol, revision 12: "HEP3", total length, then chunks of vendor (0), type, length and value, with
numbers in network order.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from gateway.media.engine import PartyStatistics

SIP, RTCP = 1, 5
"""Protocol types of chunk 11: a SIP message, an RTCP report as JSON."""
_UDP, _TCP = 17, 6
_LARGEST = 65_000
"""Largest payload in octets for one datagram; longer ones are cut."""
_LONGEST_ID = 256
_KEY = re.compile(rb"(inline:[ \t]*)([^\s;|\"']+)", re.I)
_CLOCK = 48
"""Units of jitter per millisecond: Homer divides by a clock rate of 48,000."""

Place = tuple[str, int]
"""IP address and port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """A captured message or report."""

    protocol: int
    source: Place
    target: Place
    reliable: bool = False
    """True over TCP, TLS or WebSocket."""
    at: float
    """Unix seconds."""
    payload: bytes
    call_id: str | None = None
    """Correlation id for the collector: the SIP Call-ID."""


def encode(captured: Captured, capture_id: int, password: str | None = None) -> bytes:
    """Return a datagram; SDES keys (`inline:`) are masked, all else is kept."""
    source, target = ip_address(captured.source[0]), ip_address(captured.target[0])
    if source.version != target.version:  # wildcard or mapped local address and a peer of the second IP version
        source = ip_address("::" if target.version == 6 else "0.0.0.0")
    v6 = source.version == 6
    seconds = int(captured.at)
    chunks = [
        (1, bytes([10 if v6 else 2])),
        (2, bytes([_TCP if captured.reliable else _UDP])),
        (5 if v6 else 3, source.packed),
        (6 if v6 else 4, target.packed),
        (7, struct.pack("!H", captured.source[1])),
        (8, struct.pack("!H", captured.target[1])),
        (9, struct.pack("!I", seconds)),
        (10, struct.pack("!I", int((captured.at - seconds) * 1_000_000))),
        (11, bytes([captured.protocol])),
        (12, struct.pack("!I", capture_id)),
    ]
    if password is not None:
        chunks.append((14, password.encode()))
    if captured.call_id is not None:
        chunks.append((17, captured.call_id.encode()[:_LONGEST_ID]))
    chunks.append((15, _without_keys(captured.payload[:_LARGEST])))
    body = b"".join(_chunk(number, value) for number, value in chunks)
    return b"HEP3" + struct.pack("!H", 6 + len(body)) + body


def _chunk(number: int, value: bytes) -> bytes:
    return struct.pack("!HHH", 0, number, 6 + len(value)) + value


def _without_keys(payload: bytes) -> bytes:
    """Mask keys at equal length, so that Content-Length stays correct."""
    if b"inline:" not in payload.lower():
        return payload
    return _KEY.sub(lambda key: key[1] + b"*" * len(key[2]), payload)


def report(tag: str, statistics: PartyStatistics) -> bytes:
    """Return a party's statistics as JSON in the shape of an RTCP sender report with one block (RFC 3550 6.4.1).

    The SSRC is a hash of the party's tag, because the engine keeps none for a call. Round trip and quality (ITU-T
    G.107) are extra members.
    """
    sent, received = statistics.sent, statistics.received
    ssrc = zlib.crc32(tag.encode())
    expected = received.packets + received.lost
    block = {
        "source_ssrc": ssrc,
        "fraction_lost": min(255, received.lost * 256 // expected) if expected else 0,
        "packets_lost": received.lost,
        "highest_seq_no": expected,
        "ia_jitter": round(received.jitter_ms * _CLOCK),
        "lsr": 0,
        "dlsr": 0,
    }
    return json.dumps(
        {
            "type": 200,
            "ssrc": ssrc,
            "report_count": 1,
            "sender_information": {"packets": sent.packets, "octets": sent.bytes},
            "report_blocks": [block],
            "party": tag,
            "codec": received.codec,
            "rtt_ms": statistics.rtt_ms,
            "r_factor": received.r_factor,
            "mos": received.mos,
        }
    ).encode()


class Exporter:
    """Sender to one collector; unsent datagrams are dropped and counted."""

    def __init__(self, collector: Place, capture_id: int, password: str | None = None) -> None:
        """`collector` is IP address and port. Raises OSError without a socket."""
        family = socket.AF_INET6 if ":" in collector[0] else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._collector = collector
        self._capture_id = capture_id
        self._password = password
        self.sent = self.dropped = 0

    def send(self, captured: Iterable[Captured]) -> None:
        """Send each message in its own datagram, without waiting and without exceptions."""
        for one in captured:
            try:
                self._socket.sendto(encode(one, self._capture_id, self._password), self._collector)
            except (OSError, ValueError, struct.error):
                self.dropped += 1
            else:
                self.sent += 1

    def close(self) -> None:
        """Close the socket; idempotent."""
        self._socket.close()
