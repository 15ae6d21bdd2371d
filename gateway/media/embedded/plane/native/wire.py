"""The messages of the Unix socket, packed and read: the mirror of plane/src/wire. Network order throughout."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

from gateway.media.embedded.plane.srtp import SrtpKey, SrtpProfile
from gateway.media.embedded.plane.values import (
    NEVER,
    Address,
    Bound,
    Conversion,
    Counting,
    Fed,
    FlowConfig,
    FlowSnapshot,
    Host,
    Inventory,
    MediaPacket,
    PlayoutFigures,
    PortState,
    Repeats,
    Route,
    Silence,
)

VERSION = 4
OLDEST = 1
"""Version spoken, and the oldest one understood."""
FEEDS = 2
"""The first version with FEED and FED."""
ARRIVALS = 3
"""The first version with COUNT_ARRIVALS."""
ORIENTATION = 4
"""The first version with CARRY_ORIENTATION."""
MAGIC = b"GWPL"
NONCE = 32
"""Octets of the random part of a greeting."""
LONGEST_FRAME = 600 << 20
"""Octets; an inventory holds every record."""
HEAD = struct.Struct("!IB")

_MEDIA = struct.Struct("!IdBBHII")
_ADDRESSES = {4: struct.Struct("!4sH"), 6: struct.Struct("!16sH")}
"""An address with its port, by the number of its family."""
_SUITES = {
    SrtpProfile.AEAD_AES_128_GCM: 1,
    SrtpProfile.AEAD_AES_256_GCM: 2,
    SrtpProfile.AES_CM_128_HMAC_SHA1_80: 3,
    SrtpProfile.AES_CM_128_HMAC_SHA1_32: 4,
    SrtpProfile.AES_256_CM_HMAC_SHA1_80: 5,
    SrtpProfile.AES_256_CM_HMAC_SHA1_32: 6,
}
_CODECS = ("pcmu", "pcma", "g722", "opus")
DISCARDS = (
    "malformed",
    "wrong_source",
    "rate",
    "authentication",
    "replay",
    "not_ready",
    "no_route",
    "misordered",
    "unexpected_rtcp",
)
UNSENT = ("not_ready", "socket", "send", "too_long", "late")
_RECEIVED = 16
_SENT = 7
_PLAYOUT = 9
"""Counts before the reasons."""


class WireError(Exception):
    """A frame of the plane that does not hold what its type says."""


class Down(IntEnum):
    """Messages to the plane."""

    OPEN_SHARED = 1
    OPEN_PAIR = 2
    CLOSE_PORT = 3
    OPEN_FLOW = 4
    CONFIGURE_FLOW = 5
    CLOSE_FLOW = 6
    SET_RECEIVE_KEY = 7
    SET_SEND_KEY = 8
    DROP_KEYS = 9
    SET_CREDENTIALS = 10
    ADMIT_PAIR = 11
    REMOVE_PAIR = 12
    SELECT = 13
    EXPECT = 14
    ADMIT_SOURCE = 15
    SET_DESTINATION = 16
    START_STREAM = 17
    ROUTE = 18
    SET_OPEN = 19
    SET_MUTED = 20
    RESYNC = 21
    INJECT = 22
    RELAY = 23
    SET_SILENCE = 24
    SEND = 25
    SEND_RTCP = 26
    SNAPSHOT = 27
    COUNTERS = 28
    INVENTORY = 30
    SHUTDOWN = 31
    CONVERT = 32
    OPEN_BUNDLED = 33
    KEEP = 34
    RESEND = 35
    SET_RTCP_KEYS = 36
    FEED = 37
    COUNT_ARRIVALS = 38
    CARRY_ORIENTATION = 39
    HELLO = 64
    PROOF = 65


class Up(IntEnum):
    """Messages of the plane."""

    HELLO = 64
    PROOF = 65
    REPLY = 66
    STUN = 67
    DTLS = 68
    RTCP = 69
    MEDIA = 70
    STRANGER = 71
    SOURCE_LEARNED = 72
    RUN_BEGAN = 73
    IDLE = 74
    REFUSED = 75
    MISSING = 76
    FED = 77


def frame(kind: int, body: bytes = b"") -> bytes:
    """A message with its length."""
    return HEAD.pack(len(body) + 1, kind) + body


# Fields


def short(data: bytes) -> bytes:
    """Octets behind a length of 16 bits."""
    return struct.pack("!H", len(data)) + data


def _address(value: Address | None) -> bytes:
    if value is None:
        return b"\0"
    return _host(value[0]) + struct.pack("!H", value[1])


address: Callable[[Address | None], bytes] = lru_cache(maxsize=8192)(_address)
"""Write an address, or that there is none; typed, as `lru_cache` alone takes everything."""


@lru_cache(maxsize=8192)
def _host(host: Host) -> bytes:
    parsed = ip_address(host.partition("%")[0])
    return bytes((parsed.version,)) + parsed.packed


def maybe(value: int | None, form: str) -> bytes:
    """Whether there is a number, and the number."""
    return b"\0" if value is None else struct.pack("!B" + form, 1, value)


def second(payload_type: int, marker: bool) -> int:
    """The second octet of an RTP header."""
    return payload_type | (0x80 if marker else 0)


# Bodies that are more than one pack


def config(value: FlowConfig) -> bytes:
    """How a flow is configured."""
    return struct.pack("!??Id", value.secure, value.mux, value.max_packets_per_second, value.idle_after)


def key(value: SrtpKey) -> bytes:
    """Profile and material."""
    return bytes((_SUITES[value.profile],)) + short(value.material)


def credentials(values: Sequence[tuple[str, str]]) -> bytes:
    """Each ufrag with its password."""
    parts = [short(ufrag.encode()) + short(password.encode()) for ufrag, password in values]
    return bytes((len(parts),)) + b"".join(parts)


def routes(values: Mapping[int, Route]) -> bytes:
    """Each payload type with what becomes of it."""
    parts = [
        struct.pack("!BBBII", number, route.action, route.payload_type, route.clock_rate, route.rate_out)
        for number, route in values.items()
    ]
    return bytes((len(parts),)) + b"".join(parts)


def fed(values: Mapping[int, Fed]) -> bytes:
    """Each payload type with what it becomes."""
    return bytes((len(values),)) + b"".join(
        bytes((number, each.payload_type, each.form)) for number, each in values.items()
    )


def counting(value: Counting | None) -> bytes:
    """How packets are numbered of whose arrival the peer is told; identifier 0: it is not."""
    return struct.pack("!BH", 0, 0) if value is None else bytes((value.extension,)) + short(value.head)


def repeats(value: Repeats | None) -> bytes:
    """What is kept; no packets: nothing."""
    if value is None:
        return struct.pack("!IHHB", 0, 0, 0, 0)
    pairs = b"".join(bytes(pair) for pair in value.payload_types.items())
    head = struct.pack("!IHHB", value.ssrc, value.sequence_number, value.packets, len(value.payload_types))
    return head + pairs


def conversion(flow: int, number: int, route: Route, value: Conversion) -> bytes:
    """What audio of payload type `number` becomes."""
    codecs = _CODECS.index(value.source), _CODECS.index(value.target)
    head = struct.pack("!IBB", flow, number, route.payload_type) + maybe(value.noise, "B")
    opus = value.opus
    flags = opus.forward_error_correction | opus.discontinuous << 1 | opus.constant << 2
    return head + struct.pack(
        "!BBBIBBI", *codecs, value.frame_ms, opus.bit_rate, opus.complexity, flags, opus.playback_rate
    )


def silence(value: Silence | None) -> bytes:
    """What is played where nothing else is sent."""
    if value is None:
        return b"\0"
    head = struct.pack("!BBdd", 1, value.payload_type, value.after, value.interval)
    return head + short(value.payload)


_FORMS = {form: struct.Struct("!" + form) for form in "BHIQbhiqd"}


class Reader:
    """Reads the body of a message; raises WireError where it ends too soon."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def take(self, length: int) -> bytes:
        """The next `length` octets."""
        end = self._position + length
        if end > len(self._data):
            raise WireError("a message of the plane ends too soon")
        taken = self._data[self._position : end]
        self._position = end
        return taken

    @property
    def left(self) -> int:
        """Octets not read yet."""
        return len(self._data) - self._position

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(self.left)

    def number(self, form: str) -> int:
        """One integer of a `struct` format."""
        value: int = self._unpack(_FORMS[form])
        return value

    def time(self) -> float:
        """Seconds."""
        value: float = self._unpack(_FORMS["d"])
        return value

    def _unpack(self, form: struct.Struct) -> Any:
        start = self._position
        self._position = end = start + form.size
        if end > len(self._data):
            raise WireError("a message of the plane ends too soon")
        return form.unpack_from(self._data, start)[0]

    def short(self) -> bytes:
        """Octets behind a length of 16 bits."""
        return self.take(self.number("H"))

    def text(self) -> str:
        """The same as text."""
        return self.short().decode(errors="replace")

    def maybe_address(self) -> Address | None:
        """An address, None where there is none."""
        family = self.number("B")
        if not family:
            return None
        form = _ADDRESSES.get(family)
        if form is None:
            raise WireError("an address of the plane is of no family")
        packed, port = form.unpack(self.take(form.size))
        return Host(_text(packed)), port

    def address(self) -> Address:
        """An address that must be there."""
        found = self.maybe_address()
        if found is None:
            raise WireError("a message of the plane lacks an address")
        return found

    def bounds(self) -> tuple[Bound, ...]:
        """The sockets of a port."""
        return tuple([Bound(path=self.number("Q"), address=self.address()) for _ in range(self.number("B"))])

    def counts(self) -> list[int]:
        """A counted list of numbers of 64 bits."""
        length = self.number("B")
        return list(struct.unpack(f"!{length}Q", self.take(8 * length)))


@lru_cache(maxsize=8192)
def _text(packed: bytes) -> str:
    return str(ip_address(packed))


def media(body: bytes) -> tuple[int, MediaPacket, float]:
    """Flow, packet and time of a punted or copied packet; raises WireError."""
    try:
        flow, now, octet, in_order, sequence_number, timestamp, generation = _MEDIA.unpack_from(body)
    except struct.error as error:
        raise WireError("a message of the plane ends too soon") from error
    packet = MediaPacket(
        payload_type=octet & 0x7F,
        marker=octet >= 0x80,
        sequence_number=sequence_number,
        timestamp=timestamp,
        payload=body[_MEDIA.size :],
        in_order=bool(in_order),
        generation=generation,
    )
    return flow, packet, now


def inventory(reader: Reader) -> Inventory:
    """What a plane holds; raises WireError."""
    ports = []
    for _ in range(reader.number("I")):
        port, shared = reader.number("I"), bool(reader.number("B"))
        ports.append(PortState(port=port, shared=shared, bounds=reader.bounds()))
    flows = {reader.number("I"): reader.number("I") for _ in range(reader.number("I"))}
    return Inventory(ports=tuple(ports), flows=flows)


def _when(ns: int) -> float:
    return ns / 1e9 if ns else NEVER


def _reasons(names: tuple[str, ...], counts: Sequence[int]) -> dict[str, int]:
    return {name: count for name, count in zip(names, counts, strict=False) if count}


def snapshots(reader: Reader) -> dict[int, FlowSnapshot]:
    """Flows as they stand; raises WireError."""
    taken = reader.number("Q") / 1e9
    found = {}
    for _ in range(reader.number("I")):
        flow = reader.number("I")
        found[flow] = _snapshot(reader, taken)
    return found


def _playout(counts: Sequence[int]) -> PlayoutFigures | None:
    """None where there was never anything of a transcoder, or the plane is of before it told of them."""
    if len(counts) < _PLAYOUT or not any(counts[:_PLAYOUT]):
        return None
    late, lost, recovered = counts[1:4]
    concealed, shortened, lengthened, wanted, waited = [ms / 1000 for ms in counts[4:_PLAYOUT]]
    return PlayoutFigures(
        late=late,
        lost=lost,
        recovered=recovered,
        concealed=concealed,
        shortened=shortened,
        lengthened=lengthened,
        wanted=wanted,
        waited=waited if counts[0] else None,
    )


def _snapshot(reader: Reader, taken: float) -> FlowSnapshot:
    into, out = reader.counts(), reader.counts()
    if len(into) < _RECEIVED or len(out) < _SENT:
        raise WireError("a snapshot of the plane is too short")
    source, destination = reader.maybe_address(), reader.maybe_address()
    pairs = {}
    for _ in range(reader.number("H")):
        path, address = reader.number("Q"), reader.address()
        pairs[path, address] = _when(reader.number("Q"))
    return FlowSnapshot(
        taken=taken,
        heard=_when(into[0]),
        packets_received=into[1],
        octets_received=into[2],
        ssrc=into[3] - 1 if into[3] else None,
        generation=into[4],
        received=into[5],
        octets=into[6],
        expected=into[7],
        run_received=into[8],
        lost=into[9],
        loss_runs=into[10],
        extended_highest=into[11],
        jitter=into[12] / 1e9,
        arrived=_when(into[13]),
        clock_rate=into[14] or 8000,
        payload_type=into[15] - 1,
        discarded=_reasons(DISCARDS, into[_RECEIVED : _RECEIVED + len(DISCARDS)]),
        playout=_playout(into[_RECEIVED + len(DISCARDS) :]),
        out_ssrc=out[0] - 1 if out[0] else None,
        sent=out[1],
        sent_octets=out[2],
        sequence_number=out[3],
        timestamp=out[4],
        sent_at=_when(out[5]),
        rate_out=out[6] or 8000,
        unsent=_reasons(UNSENT, out[_SENT:]),
        source=source,
        destination=destination,
        pairs=pairs,
    )
