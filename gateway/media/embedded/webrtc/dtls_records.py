"""The records of a DTLS 1.2 association after its handshake (RFC 6347 section 4.1), without the 75 kB of OpenSSL.

What is still to come are alerts, a Finished that the peer repeats, and the packets of data channels.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

RECORD_HEADER: Final = 13
ALERT, HANDSHAKE, APPLICATION_DATA = 21, 22, 23
LONGEST: Final = 1 << 14
"""Octets that one record holds (RFC 5246 section 6.2.1)."""
_VERSION: Final = b"\xfe\xfd"
_EPOCH: Final = b"\0\1"
_FIRST: Final = 1 << 32
"""The first number of ours: OpenSSL has used some, one for each record of a handshake."""
_WINDOW: Final = 64
_EXPLICIT, _TAG = 8, 16


@dataclass(frozen=True, slots=True)
class Suite:
    """What a cipher suite protects records with; lengths in octets."""

    aead: type[AESGCM | ChaCha20Poly1305]
    key_length: int
    iv_length: int
    digest: str
    """Hash function of the key expansion (RFC 5246 section 5)."""


_AES_128, _AES_256 = Suite(AESGCM, 16, 4, "sha256"), Suite(AESGCM, 32, 4, "sha384")
_CHACHA20 = Suite(ChaCha20Poly1305, 32, 12, "sha256")
SUITES: Final[Mapping[str, Suite]] = {
    "ECDHE-ECDSA-AES128-GCM-SHA256": _AES_128,
    "ECDHE-ECDSA-AES256-GCM-SHA384": _AES_256,
    "ECDHE-ECDSA-CHACHA20-POLY1305": _CHACHA20,
    "ECDHE-RSA-AES128-GCM-SHA256": _AES_128,
    "ECDHE-RSA-AES256-GCM-SHA384": _AES_256,
    "ECDHE-RSA-CHACHA20-POLY1305": _CHACHA20,
}
"""By OpenSSL's names: forward secrecy and authenticated encryption only; RSA for peers with RSA certificates."""


def split_records(data: bytes) -> Iterator[bytes]:
    """The DTLS records of `data` (RFC 6347 section 4.1); a truncated last one is left out."""
    position = 0
    while position + RECORD_HEADER <= len(data):
        end = position + RECORD_HEADER + int.from_bytes(data[position + 11 : position + 13])
        if end > len(data):
            return
        yield data[position:end]
        position = end


_FRAGMENT: Final = struct.Struct("!B3sH3s3s")
"""Type, length, message number, fragment offset and fragment length (RFC 6347 section 4.2.2)."""
LONGEST_HELLO: Final = 4096
"""Octets of a ClientHello that is put together; with post-quantum key shares one has some 1,800."""
MOST_FRAGMENTS: Final = 32


class HelloFragments:
    """Parts of a ClientHello that comes in several records (RFC 6347 section 4.2.3), in any order."""

    __slots__ = ("_of", "_parts")

    def __init__(self) -> None:
        self._of = b""
        """Handshake type, length and message number that all parts share."""
        self._parts: dict[int, bytes] = {}

    def add(self, record: bytes) -> bytes | None:
        """Return the whole message in one record, once no part is missing."""
        start = RECORD_HEADER + _FRAGMENT.size
        if len(record) < start:
            return None
        length: bytes
        offset: bytes
        _, length, _, offset, _ = _FRAGMENT.unpack_from(record, RECORD_HEADER)
        of, size = record[RECORD_HEADER : RECORD_HEADER + 6], int.from_bytes(length)
        if size > LONGEST_HELLO:
            return None
        if of != self._of or len(self._parts) >= MOST_FRAGMENTS:
            self._of, self._parts = of, {}
        self._parts[int.from_bytes(offset)] = record[start:]
        body = b""
        for at in sorted(self._parts):
            if at > len(body):
                return None
            body = body[:at] + self._parts[at]
        if len(body) != size:
            return None
        self._parts = {}
        message = of + bytes(3) + length + body
        return record[: RECORD_HEADER - 2] + len(message).to_bytes(2) + message


@dataclass(frozen=True, slots=True)
class Secrets:
    """What a handshake came to."""

    master: bytes = field(repr=False)
    client_random: bytes
    server_random: bytes


class Records:
    """The records of epoch 1, both ways; each that was opened is opened once."""

    __slots__ = ("_ours", "_peers", "_seen", "_sent", "_suite", "_top")

    def __init__(self, suite: Suite, secrets: Secrets, *, is_client: bool) -> None:
        self._suite = suite
        client, server = _expand(suite, secrets)
        self._ours, self._peers = (client, server) if is_client else (server, client)
        self._sent = _FIRST
        self._top = -1
        """The highest number that was opened, and bit by bit which of those before it were."""
        self._seen = 0

    def seal(self, kind: int, plaintext: bytes) -> bytes:
        """A record of that type with at most `LONGEST` octets."""
        number = _EPOCH + self._sent.to_bytes(6)
        self._sent += 1
        explicit = number if self._suite.aead is AESGCM else b""
        head = number + bytes((kind,)) + _VERSION + len(plaintext).to_bytes(2)
        key, nonce = self._key(self._ours, number)
        sealed = explicit + self._suite.aead(key).encrypt(nonce, plaintext, head)
        return bytes((kind,)) + _VERSION + number + len(sealed).to_bytes(2) + sealed

    def open(self, record: bytes) -> bytes | None:
        """What is in a record of the peer; None where it is of another epoch, not authentic, or was opened before."""
        number, sealed = record[3:11], record[RECORD_HEADER:]
        explicit = _EXPLICIT if self._suite.aead is AESGCM else 0
        length = len(sealed) - explicit - _TAG
        if record[1:3] != _VERSION or number[:2] != _EPOCH or not 0 <= length <= LONGEST:
            return None
        sequence = int.from_bytes(number[2:])
        if not self._is_new(sequence):
            return None
        head = number + record[:1] + _VERSION + length.to_bytes(2)
        key, nonce = self._key(self._peers, sealed[:explicit] or number)
        try:
            plaintext = self._suite.aead(key).decrypt(nonce, sealed[explicit:], head)
        except InvalidTag:
            return None
        self._note(sequence)
        return plaintext

    def _key(self, side: tuple[bytes, bytes], number: bytes) -> tuple[bytes, bytes]:
        """The key of one side, and the nonce for a number of 8 octets (RFC 5288 section 3, RFC 7905 section 2)."""
        key, iv = side
        if self._suite.aead is AESGCM:
            return key, iv + number
        return key, (int.from_bytes(iv) ^ int.from_bytes(number)).to_bytes(len(iv))

    def _is_new(self, sequence: int) -> bool:
        """Not opened before, nor too old to tell (RFC 6347 section 4.1.2.6)."""
        age = self._top - sequence
        return age < 0 or (age < _WINDOW and not self._seen >> age & 1)

    def _note(self, sequence: int) -> None:
        if sequence > self._top:
            self._seen = (self._seen << min(sequence - self._top, _WINDOW) | 1) & ((1 << _WINDOW) - 1)
            self._top = sequence
        else:
            self._seen |= 1 << (self._top - sequence)


def _expand(suite: Suite, secrets: Secrets) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
    """Key and IV of the client's records and of the server's (RFC 5246 sections 5 and 6.3)."""
    seed = b"key expansion" + secrets.server_random + secrets.client_random
    step, block = seed, b""
    while len(block) < 2 * (suite.key_length + suite.iv_length):
        step = hmac.digest(secrets.master, step, suite.digest)
        block += hmac.digest(secrets.master, step + seed, suite.digest)
    ivs = 2 * suite.key_length
    keys = block[: suite.key_length], block[suite.key_length : ivs]
    return (
        (keys[0], block[ivs : ivs + suite.iv_length]),
        (keys[1], block[ivs + suite.iv_length : ivs + 2 * suite.iv_length]),
    )
