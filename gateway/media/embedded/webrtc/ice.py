"""An ICE-lite agent for one leg (RFC 8445 sections 2.5 and 7.3): STUN requests in, responses out.

A lite agent is always controlled, gathers nothing and sends no checks: it answers the
checks of a full agent, and the address a valid check came from is the peer's. Sans-IO;
the paths and `now` come in as arguments.
"""

from __future__ import annotations

import base64
import hmac
import socket
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from aioice import stun

Address = tuple[str, int] | tuple[str, int, int, int]
"""What the socket layer calls a source: (host, port), with flow and scope for IPv6."""

MAGIC_COOKIE = 0x2112A442
BINDING_REQUEST = 0x0001
BINDING_INDICATION = 0x0011
BINDING_SUCCESS = 0x0101
BINDING_ERROR = 0x0111
FINGERPRINT_XOR = 0x5354554E
FINGERPRINT_HEADER = b"\x80\x28\x00\x04"

UFRAG_BYTES = 6
PASSWORD_BYTES = 18
"""Random bytes behind an ice-ufrag (48 bits) and an ice-pwd (144 bits; RFC 8445 section 5.3)."""

REASONS = {
    400: "Bad Request",
    401: "Unauthenticated",
    420: "Unknown Attribute",
    487: "Role Conflict",
}


class StunError(Exception):
    """A datagram that looks like STUN and is not a well-formed Binding request."""


class Path(Protocol):
    """One local socket, as the agent sees it: something to answer through."""

    def send(self, data: bytes, address: Address) -> bool:
        """Send one datagram at once; False when the system would not take it."""


@dataclass(frozen=True, slots=True)
class IceCredentials:
    """What the peer must know to have its checks believed; the password stays out of `repr`."""

    ufrag: str
    password: str = field(repr=False)

    @property
    def key(self) -> bytes:
        """The MESSAGE-INTEGRITY key (short-term credential, RFC 8489 section 9.1)."""
        return self.password.encode()

    @classmethod
    def generate(cls, random_bytes: Callable[[int], bytes]) -> IceCredentials:
        """Draw a fresh pair; base64 of 3n bytes uses ice-chars only (RFC 8839 section 5.4)."""
        return cls(
            ufrag=base64.b64encode(random_bytes(UFRAG_BYTES)).decode(),
            password=base64.b64encode(random_bytes(PASSWORD_BYTES)).decode(),
        )


@dataclass(frozen=True, slots=True)
class BindingRequest:
    """A well-formed Binding request whose FINGERPRINT is right and whose integrity is yet unknown."""

    message: stun.Message
    unknown: tuple[int, ...]
    """Comprehension-required attribute types that are not understood (RFC 8489 section 6.3.1)."""

    @property
    def local_ufrag(self) -> str | None:
        """The receiver's half of USERNAME, which comes first (RFC 8445 section 7.2.2)."""
        username: str | None = self.message.attributes.get("USERNAME")
        return None if username is None else username.partition(":")[0]

    @property
    def transaction_id(self) -> bytes:
        return self.message.transaction_id

    @property
    def signed(self) -> bool:
        """Whether a MESSAGE-INTEGRITY is there at all."""
        return "MESSAGE-INTEGRITY" in self.message.attributes

    @property
    def use_candidate(self) -> bool:
        return "USE-CANDIDATE" in self.message.attributes

    @property
    def controlled(self) -> bool:
        """Whether the sender believes it is the controlled agent."""
        return "ICE-CONTROLLED" in self.message.attributes

    def authentic(self, key: bytes) -> bool:
        """Whether MESSAGE-INTEGRITY was made with `key`."""
        return self.message.check_message_integrity(key)


def parse_binding_request(data: bytes, limit: int = 1280) -> BindingRequest:
    """Read one datagram; raises StunError and nothing else.

    `limit` in bytes also bounds the work: each FINGERPRINT attribute costs a checksum over
    all that precedes it.
    """
    if len(data) < 20 or len(data) > limit or len(data) % 4:
        raise StunError("the length is not one a STUN message may have")
    kind, _, cookie = struct.unpack_from("!HHI", data)
    if kind != BINDING_REQUEST or cookie != MAGIC_COOKIE:
        raise StunError("not a Binding request")
    if data[-8:-4] != FINGERPRINT_HEADER:
        raise StunError("FINGERPRINT is not the last attribute")
    try:
        message = stun.parse_message(data)
    except (ValueError, struct.error, KeyError, IndexError, TypeError, OverflowError) as error:
        raise StunError("malformed STUN attributes") from error
    return BindingRequest(message, _unknown_attributes(data))


def _unknown_attributes(data: bytes) -> tuple[int, ...]:
    unknown: list[int] = []
    position = 20
    while position + 4 <= len(data):
        kind, length = struct.unpack_from("!HH", data, position)
        if kind == 0x0008:
            break
        if kind < 0x8000 and kind not in stun.ATTRIBUTES_BY_TYPE:
            unknown.append(kind)
        position += 4 + length + (-length % 4)
    return tuple(unknown[:8])


def _message(kind: int, transaction_id: bytes, attributes: bytes, key: bytes | None) -> bytes:
    """Assemble a STUN message with MESSAGE-INTEGRITY (when keyed) and FINGERPRINT."""

    def header(extra: int) -> bytes:
        return struct.pack("!HHI", kind, len(attributes) + extra, MAGIC_COOKIE) + transaction_id

    if key is not None:
        digest = hmac.digest(key, header(24) + attributes, "sha1")
        attributes += struct.pack("!HH", 0x0008, 20) + digest
    body = header(8) + attributes
    return body + struct.pack("!HHI", 0x8028, 4, zlib.crc32(body) ^ FINGERPRINT_XOR)


def success_response(transaction_id: bytes, source: Address, key: bytes) -> bytes:
    """A Binding success response with the source in XOR-MAPPED-ADDRESS (RFC 8489 section 14.2)."""
    mask = struct.pack("!I", MAGIC_COOKIE) + transaction_id
    host = source[0].partition("%")[0]
    family, packed = (
        (2, socket.inet_pton(socket.AF_INET6, host)) if ":" in host else (1, socket.inet_pton(socket.AF_INET, host))
    )
    xored = bytes(a ^ b for a, b in zip(packed, mask, strict=False))
    value = struct.pack("!BBH", 0, family, source[1] ^ (MAGIC_COOKIE >> 16)) + xored
    return _message(BINDING_SUCCESS, transaction_id, struct.pack("!HH", 0x0020, len(value)) + value, key)


def error_response(request: BindingRequest, code: int, key: bytes | None = None) -> bytes:
    """A Binding error response; signed only when the request was authentic."""
    reason = REASONS[code].encode()
    value = struct.pack("!HBB", 0, code // 100, code % 100) + reason
    attributes = struct.pack("!HH", 0x0009, len(value)) + value + bytes(-len(value) % 4)
    if code == 420:
        types = b"".join(struct.pack("!H", kind) for kind in request.unknown)
        attributes += struct.pack("!HH", 0x000A, len(types)) + types + bytes(-len(types) % 4)
    return _message(BINDING_ERROR, request.transaction_id, attributes, key)


@dataclass(slots=True, eq=False)
class Pair:
    """An address of the peer that a valid check has proved, and the socket it came in on."""

    path: Path
    address: Address
    generation: int
    last_check: float
    nominated: bool = False


class IceAgent:
    """The pairs of one leg, over as many ICE generations as it has lived through."""

    def __init__(self, credentials: IceCredentials, max_pairs: int = 16) -> None:
        self.credentials = credentials
        self.previous: IceCredentials | None = None
        """Credentials before the last restart, valid until the new ones have a nominated pair."""
        self.generation = 0
        self.selected: Pair | None = None
        """Where media goes: the last nominated pair, or the first proved one until there is one."""
        self.pairs: dict[tuple[Path, Address], Pair] = {}
        self.dropped: list[Pair] = []
        """Pairs given up since the owner last looked; it takes them and forgets their addresses."""
        self._max_pairs = max_pairs

    def restart(self, credentials: IceCredentials) -> None:
        """Begin a new generation (RFC 8445 section 9); the old pair carries media meanwhile."""
        if self.previous is None and self.pairs:
            self.previous = self.credentials
        self.credentials = credentials
        self.generation += 1

    def key_for(self, ufrag: str) -> bytes | None:
        """The integrity key behind one of our ufrags, None when it is not ours."""
        if ufrag == self.credentials.ufrag:
            return self.credentials.key
        if self.previous is not None and ufrag == self.previous.ufrag:
            return self.previous.key
        return None

    def receive_check(self, request: BindingRequest, key: bytes, path: Path, source: Address, now: float) -> bytes:
        """Answer an *authentic* request and learn from it; `key` is the one that proved it."""
        if request.unknown:
            return error_response(request, 420, key)
        if request.controlled:
            return error_response(request, 487, key)
        generation = self.generation if request.local_ufrag == self.credentials.ufrag else self.generation - 1
        pair = self.pairs.get((path, source))
        if pair is None:
            pair = Pair(path, source, generation, now)
            self._admit(pair)
        pair.last_check = now
        if generation > pair.generation:
            pair.generation = generation
            pair.nominated = False
        self._select(pair, request.use_candidate)
        return success_response(request.transaction_id, source, key)

    def ufrags(self) -> set[str]:
        """Our ufrags that are in force: the current one, and the one before it during a restart."""
        return {self.credentials.ufrag} | ({self.previous.ufrag} if self.previous is not None else set())

    def retire_older_generations(self) -> None:
        """Answer only the current credentials, and give up the pairs that only older ones proved."""
        self.previous = None
        for old in [pair for pair in self.pairs.values() if pair.generation < self.generation]:
            self.forget_pair(old.path, old.address)

    def forget_pair(self, path: Path, address: Address) -> None:
        """Give one proved address up; the best of the others takes over."""
        pair = self.pairs.get((path, address))
        if pair is None:
            return
        self._drop(pair)
        if self.selected is pair:
            self.selected = max(self.pairs.values(), key=lambda p: (p.nominated, p.last_check), default=None)

    def forget_pairs(self) -> None:
        """Give every proved address up; media stops until a new check proves one."""
        self.dropped.extend(self.pairs.values())
        self.pairs.clear()
        self.selected = None

    def _admit(self, pair: Pair) -> None:
        if len(self.pairs) >= self._max_pairs:
            oldest = min((p for p in self.pairs.values() if p is not self.selected), key=lambda p: p.last_check)
            self._drop(oldest)
        self.pairs[pair.path, pair.address] = pair

    def _drop(self, pair: Pair) -> None:
        del self.pairs[pair.path, pair.address]
        self.dropped.append(pair)

    def _select(self, pair: Pair, use_candidate: bool) -> None:
        selected = self.selected
        if use_candidate and (selected is None or pair.generation >= selected.generation):
            pair.nominated = True
            self.selected = pair
            if self.previous is not None and pair.generation == self.generation:
                self.retire_older_generations()
        elif selected is None:
            self.selected = pair


def host_candidate(index: int, address: str, port: int) -> str:
    """The value of one `a=candidate` for a host address (RFC 8839 section 5.1, RFC 8445 section 5.1.2).

    `index` is the rank among our addresses, 0 the best: it gives the local preference, and
    the foundation, which differs because every base address does.
    """
    priority = (126 << 24) + ((65535 - index) << 8) + 255
    return f"{index + 1} 1 udp {priority} {address} {port} typ host"


def usable_remote_candidates(candidates: list[str], limit: int = 32) -> list[tuple[str, int]]:
    """The (address, port) of remote UDP candidates that name an IP address, at most `limit` of them.

    A lite agent sends nothing to them; they are for statistics and logs. mDNS names and
    malformed lines are left out.
    """
    found: list[tuple[str, int]] = []
    for text in candidates[:limit]:
        fields = text.removeprefix("candidate:").split()
        if len(fields) < 8 or fields[2].lower() != "udp" or not fields[5].isascii() or not fields[5].isdigit():
            continue
        host, port = fields[4], int(fields[5][:6])
        if 0 < port < 65536 and _is_ip(host):
            found.append((host, port))
    return found


def _is_ip(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        return True
    return False
