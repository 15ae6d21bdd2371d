"""SRTP and SRTCP (RFC 3711, RFC 7714) over libsrtp, with keys from DTLS (RFC 5764) or SDES (RFC 4568).

Packets are worked on where they lie: in one workspace that sockets write into and read from. Bad packets
raise nothing: they are counted with the reason.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from socket import htonl
from typing import Any

from pylibsrtp import Policy, Session
from pylibsrtp._binding import ffi, lib

from gateway.media.embedded.plane.indices import Sources, guess

REPLAY_WINDOW = 1024
"""Packets (RFC 3711 section 3.3.2)."""
LONGEST = 1500
"""Octets of a packet before protection; the workspace has room for tag and index beside it."""
MAX_SEND_KEYS = 64
"""Keys of one flow whose contexts are kept: those used last."""
_STRIDE, _SHORT_OF = 0x7000, 0x4000
"""Packets that one which leads a stream to an index goes ahead, and that it stops short of it: more than reorders."""


class SrtpKeyError(Exception):
    """Key material that cannot be used; the text never quotes it."""


class SrtpProfile(Enum):
    """A protection profile: its names in SDES, in DTLS and in OpenSSL, lengths in bytes, libsrtp's number."""

    AEAD_AES_128_GCM = (
        "AEAD_AES_128_GCM",
        "SRTP_AEAD_AES_128_GCM",
        "SRTP_AEAD_AES_128_GCM",
        16,
        12,
        Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    )
    AEAD_AES_256_GCM = (
        "AEAD_AES_256_GCM",
        "SRTP_AEAD_AES_256_GCM",
        "SRTP_AEAD_AES_256_GCM",
        32,
        12,
        Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
    )
    AES_256_CM_HMAC_SHA1_80 = (
        "AES_256_CM_HMAC_SHA1_80",
        "",
        "",
        32,
        14,
        Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    )
    AES_256_CM_HMAC_SHA1_32 = (
        "AES_256_CM_HMAC_SHA1_32",
        "",
        "",
        32,
        14,
        Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
    )
    AES_CM_128_HMAC_SHA1_80 = (
        "AES_CM_128_HMAC_SHA1_80",
        "SRTP_AES128_CM_HMAC_SHA1_80",
        "SRTP_AES128_CM_SHA1_80",
        16,
        14,
        Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    )
    AES_CM_128_HMAC_SHA1_32 = (
        "AES_CM_128_HMAC_SHA1_32",
        "SRTP_AES128_CM_HMAC_SHA1_32",
        "SRTP_AES128_CM_SHA1_32",
        16,
        14,
        Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
    )

    def __init__(
        self, suite: str, dtls_name: str, openssl_name: str, key_length: int, salt_length: int, library: int
    ) -> None:
        self.suite = suite
        """Name in `a=crypto` (RFC 4568 section 6.2, RFC 7714 section 14.2)."""
        self.dtls_name = dtls_name
        """Name in the registry of DTLS-SRTP protection profiles (RFC 5764 section 4.1.2); "" where it has none."""
        self.openssl_name = openssl_name
        """What OpenSSL calls it."""
        self.key_length = key_length
        self.salt_length = salt_length
        self.library = library
        counter_mode = salt_length == 14
        self.rtcp_tail = 10 if counter_mode else 0
        """Octets behind the place of a master key identifier in SRTCP: RFC 3711 section 3.4, RFC 7714 section 9."""
        self.rtp_tail = 4 if suite.endswith("_32") else self.rtcp_tail
        """The same in SRTP, where RFC 7714 counts the tag to the ciphertext."""

    @classmethod
    def from_suite(cls, suite: str) -> SrtpProfile | None:
        """The profile of an `a=crypto` suite name, None when it is not supported."""
        return _BY_SUITE.get(suite.strip().upper())

    @classmethod
    def from_dtls_name(cls, name: str) -> SrtpProfile:
        """The profile with that name in the DTLS-SRTP registry; raises SrtpKeyError for any other."""
        profile = _BY_DTLS_NAME.get(name)
        if profile is None:
            raise SrtpKeyError("unsupported DTLS-SRTP protection profile")
        return profile

    @classmethod
    def from_openssl(cls, name: str) -> SrtpProfile | None:
        """The profile that use_srtp agreed on, None when it is not supported."""
        return _BY_OPENSSL.get(name)


_BY_SUITE = {profile.suite: profile for profile in SrtpProfile}
_BY_DTLS_NAME = {profile.dtls_name: profile for profile in SrtpProfile if profile.dtls_name}
_BY_OPENSSL = {profile.openssl_name: profile for profile in SrtpProfile if profile.openssl_name}


@dataclass(frozen=True, slots=True)
class SrtpKey:
    """A master key and salt; neither shows in `repr`."""

    profile: SrtpProfile
    material: bytes = field(repr=False)
    """Master key followed by master salt."""

    def __post_init__(self) -> None:
        if len(self.material) != self.profile.key_length + self.profile.salt_length:
            raise SrtpKeyError(f"{self.profile.suite} wants {self.profile.key_length}+{self.profile.salt_length} bytes")

    @classmethod
    def generate(cls, profile: SrtpProfile, random_bytes: Callable[[int], bytes]) -> SrtpKey:
        return cls(profile, random_bytes(profile.key_length + profile.salt_length))

    @classmethod
    def from_inline(cls, suite: str, key_params: str) -> SrtpKey:
        """Read "inline:KEY||SALT|lifetime|MKI:length" (RFC 4568 section 6.1); raises SrtpKeyError.

        The lifetime is not enforced; an MKI is refused, since packets carrying one could not be read.
        """
        profile = SrtpProfile.from_suite(suite)
        if profile is None:
            raise SrtpKeyError("unsupported crypto suite")
        method, _, rest = key_params.strip().partition(":")
        if method.lower() != "inline":
            raise SrtpKeyError("the key method is not inline")
        parts = rest.split("|")
        if any(":" in part for part in parts[1:]):
            raise SrtpKeyError("a master key identifier is not supported")
        text = parts[0].strip()
        try:
            material = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError):
            raise SrtpKeyError("the key is not base64") from None
        return cls(profile, material)

    def to_inline(self) -> str:
        """The key-params of `a=crypto`: "inline:..."; a secret, never to be logged."""
        return "inline:" + base64.b64encode(self.material).decode()


def split_exported_keys(profile: SrtpProfile, exported: bytes) -> tuple[SrtpKey, SrtpKey]:
    """The (client write, server write) keys out of the DTLS exporter's bytes (RFC 5764 section 4.2)."""
    key, salt = profile.key_length, profile.salt_length
    salts = exported[2 * key :]
    return (
        SrtpKey(profile, exported[:key] + salts[:salt]),
        SrtpKey(profile, exported[key : 2 * key] + salts[salt : 2 * salt]),
    )


class Workspace:
    """Memory for the one packet that is being worked on; sockets receive into it and send from it."""

    __slots__ = ("data", "length", "memory")

    def __init__(self, size: int = 2048) -> None:
        self.memory: Any = ffi.new("unsigned char[]", size)
        self.data = memoryview(ffi.buffer(self.memory))
        self.length: Any = ffi.new("int *")

    def put(self, packet: bytes) -> int:
        """Write a packet to the beginning; its size, what does not fit is left out."""
        size = min(len(packet), len(self.data))
        self.data[:size] = packet[:size]
        return size


WORKSPACE = Workspace()
"""Of this thread; whoever is called while a packet is in it may write over it."""
_MEMORY, _LENGTH = WORKSPACE.memory, WORKSPACE.length
_PROTECT, _UNPROTECT = lib.srtp_protect, lib.srtp_unprotect
"""Found once: looking into the library costs a packet more than its call."""

_REASONS = {7: "authentication", 9: "replay", 10: "replay", 26: "replay"}
"""libsrtp's statuses by what they are counted as; any other is a malformed packet."""
_FAKE = struct.Struct("!BBHII")
Counts = dict[str, int]


def _session(key: SrtpKey, direction: int) -> Session:
    policy = Policy(key=key.material, ssrc_type=direction, srtp_profile=key.profile.library)
    if key.profile.key_length == 32 and key.profile.salt_length == 14:
        for part in (policy._policy.rtp, policy._policy.rtcp):
            _lengthen(part)
    policy.window_size = REPLAY_WINDOW
    # Protecting two different packets under one index would repeat a GCM nonce.
    policy.allow_repeat_tx = False
    return Session(policy)


_ICM_128, _ICM_256 = (1, 30), (5, 46)
"""libsrtp's number of AES in counter mode, and the octets of its key and salt (RFC 3711, RFC 6188)."""


def _lengthen(part: Any) -> None:
    """Have half a policy of AES-128 in counter mode use AES-256, for which libsrtp has no profile to name.

    The first two members of `srtp_crypto_policy_t` say cipher and length; raises SrtpKeyError where they do not.
    """
    members = ffi.cast("int *", ffi.addressof(part))
    if (members[0], members[1]) != _ICM_128:
        raise SrtpKeyError("AES-256 in counter mode cannot be had of this libsrtp")
    members[0], members[1] = _ICM_256


class SendContext:
    """Protects what goes out under one key, whatever SSRCs it has."""

    __slots__ = ("_context", "_session", "counts", "key")

    def __init__(self, key: SrtpKey, counts: Counts) -> None:
        """`counts` gets what could not be protected: too_long, send."""
        self.key = key
        self.counts = counts
        self._session = _session(key, Policy.SSRC_ANY_OUTBOUND)
        self._context = self._session._srtp[0]

    def seal(self, offset: int, size: int) -> int:
        """Protect the RTP packet at `offset` (a multiple of four) of the workspace; its new size, 0 when it cannot."""
        if size > LONGEST:
            return self._refuse("too_long")
        _LENGTH[0] = size
        if _PROTECT(self._context, _MEMORY + offset if offset else _MEMORY, _LENGTH):
            return self._refuse("send")
        sealed: int = _LENGTH[0]
        return sealed

    def seal_rtcp(self, size: int) -> int:
        """The same for a compound packet at the beginning."""
        if size > LONGEST:
            return self._refuse("too_long")
        _LENGTH[0] = size
        if lib.srtp_protect_rtcp(self._context, _MEMORY, _LENGTH):
            return self._refuse("send")
        sealed: int = _LENGTH[0]
        return sealed

    def _refuse(self, reason: str) -> int:
        self.counts[reason] = self.counts.get(reason, 0) + 1
        return 0

    def forget(self, ssrc: int) -> None:
        """Keep nothing of a source: only for packets that are sent nowhere, since its indices would come again."""
        lib.srtp_remove_stream(self._context, htonl(ssrc))

    def protect(self, packet: bytes) -> bytes | None:
        """One RTP packet in, one SRTP packet out; None when it is too long, malformed or repeated."""
        return self._protected(self.seal(0, WORKSPACE.put(packet)))

    def protect_rtcp(self, packet: bytes) -> bytes | None:
        """One compound RTCP packet in, one SRTCP packet out; None when it cannot be sent."""
        return self._protected(self.seal_rtcp(WORKSPACE.put(packet)))

    @staticmethod
    def _protected(size: int) -> bytes | None:
        return bytes(WORKSPACE.data[:size]) if size else None


class _Search:
    """Finds the index of a packet whose roll-over count is not known, in a session that nothing else is opened with."""

    __slots__ = ("_context", "_leader", "_session")

    def __init__(self, key: SrtpKey) -> None:
        self._session = _session(key, Policy.SSRC_ANY_INBOUND)
        self._context = self._session._srtp[0]
        self._leader = SendContext(key, {})

    def find(self, packet: bytes, ssrc: int, indices: range) -> int:
        """The first of these indices, which rise, at which the packet is authentic; -1: none."""
        at, found = 0, -1
        for index in indices:
            at = self._lead_on(self._context, ssrc, at, index - _SHORT_OF)
            _LENGTH[0] = WORKSPACE.put(packet)
            if not _UNPROTECT(self._context, _MEMORY, _LENGTH):
                found = index
                break
        lib.srtp_remove_stream(self._context, htonl(ssrc))
        self._leader.forget(ssrc)
        return found

    def lead(self, context: Any, ssrc: int, highest: int, index: int) -> None:
        """Bring the stream of a source in another session from its highest index, or -1, to short of `index`."""
        self._lead_on(context, ssrc, 0, index - _SHORT_OF, highest)
        self._leader.forget(ssrc)

    def _lead_on(self, context: Any, ssrc: int, at: int, index: int, highest: int = -1) -> int:
        """Bring a stream from `at` to `index`, which is returned.

        libsrtp cannot be told it: packets less than half a wrap apart lead it there, made here and sent nowhere. Those
        up to the highest index only lead the stream that makes them.
        """
        while at < index:
            at = min(index, at + _STRIDE)
            _LENGTH[0] = WORKSPACE.put(self._leader.protect(_FAKE.pack(0x80, 0, at & 0xFFFF, 0, ssrc)) or b"")
            if at > highest:
                _UNPROTECT(context, _MEMORY, _LENGTH)
        return at


class ReceiveContext:
    """Opens what comes in under one key; a bounded number of sources is remembered at a time."""

    __slots__ = ("_context", "_highest", "_latest", "_search", "_session", "_sources", "counts", "key", "mki")

    def __init__(self, key: SrtpKey, counts: Counts, max_ssrcs: int = 32) -> None:
        """`counts` gets what was refused: authentication, replay, malformed, too_long."""
        self.key = key
        self.mki = b""
        """Master key identifier that every packet has to carry (RFC 3711 section 3.1)."""
        self.counts = counts
        self._session = _session(key, Policy.SSRC_ANY_INBOUND)
        self._context = self._session._srtp[0]
        self._search: _Search | None = None
        self._sources = Sources(max_ssrcs)
        self._latest = self._highest = -1
        """The source heard last, and its highest index."""

    def resume(self) -> None:
        """Go on after other keys: nothing is opened twice, and the peer's count may have gone on meanwhile."""
        self._put_by()
        self._sources.resume()

    def open(self, size: int, ssrc: int, number: int) -> int:
        """Check and decrypt the SRTP packet at the beginning of the workspace; its new size, 0 when refused."""
        if self.mki:
            size = self._without_mki(size, self.key.profile.rtp_tail)
            if not size:
                return 0
        if ssrc != self._latest:
            return self._open_other(size, ssrc, number)
        _LENGTH[0] = size
        status = _UNPROTECT(self._context, _MEMORY, _LENGTH)
        if status:
            self._refuse(status)
            return 0
        ahead = (number - self._highest) & 0xFFFF
        if ahead <= 0x8000 or number > self._highest:
            self._highest += ahead
        opened: int = _LENGTH[0]
        return opened

    def open_rtcp(self, size: int) -> int:
        """The same for a compound packet."""
        ssrc = int.from_bytes(WORKSPACE.data[4:8], "big")
        if self.mki:
            size = self._without_mki(size, self.key.profile.rtcp_tail)
            if not size:
                return 0
        length = _LENGTH
        length[0] = size
        status = lib.srtp_unprotect_rtcp(self._context, _MEMORY, length)
        if status:
            self._refuse(status)
            return 0
        if ssrc not in self._sources.highest:
            self._know(ssrc)
        opened: int = length[0]
        return opened

    def uncounted(self, opened: Callable[[ReceiveContext], int]) -> int:
        """Try to open a packet that may be another key's, and count no refusal; its size."""
        counts, self.counts = self.counts, {}
        try:
            return opened(self)
        finally:
            self.counts = counts

    def unprotect(self, packet: bytes) -> bytes | None:
        """One SRTP packet in, one RTP packet out; None when it is forged, replayed or malformed."""
        if not 12 <= len(packet) <= LONGEST:
            self._count("too_long" if len(packet) > LONGEST else "malformed")
            return None
        ssrc, number = int.from_bytes(packet[8:12], "big"), int.from_bytes(packet[2:4], "big")
        size = self.open(WORKSPACE.put(packet), ssrc, number)
        return bytes(WORKSPACE.data[:size]) if size else None

    def unprotect_rtcp(self, packet: bytes) -> bytes | None:
        """One SRTCP packet in, one compound RTCP packet out; None when it is refused."""
        if not 12 <= len(packet) <= LONGEST:
            self._count("too_long" if len(packet) > LONGEST else "malformed")
            return None
        size = self.open_rtcp(WORKSPACE.put(packet))
        return bytes(WORKSPACE.data[:size]) if size else None

    def _without_mki(self, size: int, tail: int) -> int:
        """Take the identifier out from before the last `tail` octets; the size left, 0 where it is another."""
        end = size - tail
        start = end - len(self.mki)
        if start < 0:
            self._count("malformed")
            return 0
        data = WORKSPACE.data
        if data[start:end] != self.mki:
            self._count("authentication")
            return 0
        data[start : start + tail] = bytes(data[end:size])
        return start + tail

    def _open_other(self, size: int, ssrc: int, number: int) -> int:
        """A packet of another source than the last; a source is only known once it has authenticated."""
        sources = self._sources
        is_settled = sources.is_settled(ssrc)
        packet = b"" if is_settled else bytes(WORKSPACE.data[:size])
        _LENGTH[0] = size
        status = _UNPROTECT(self._context, _MEMORY, _LENGTH)
        index = guess(sources.highest.get(ssrc, -1), number)
        if status in _REASONS and not is_settled:
            index = self._find(packet, ssrc, number)
            if index >= 0:
                status = _UNPROTECT(self._context, _MEMORY, _LENGTH)
        if status:
            self._refuse(status)
            return 0
        opened: int = _LENGTH[0]
        self._put_by()
        self._know(ssrc)
        if sources.opened(ssrc, index):
            self._latest, self._highest = ssrc, sources.highest[ssrc]
        return opened

    def _find(self, packet: bytes, ssrc: int, number: int) -> int:
        """Find the index of a packet and lead its stream there, the packet in the workspace again; -1: it has none."""
        candidates = self._sources.candidates(ssrc, number)
        if not candidates:
            return -1
        search = self._search = self._search or _Search(self.key)
        index = search.find(packet, ssrc, candidates)
        if index < 0:
            self._sources.missed()
        else:
            search.lead(self._context, ssrc, self._sources.highest.get(ssrc, -1), index)
            _LENGTH[0] = WORKSPACE.put(packet)
        return index

    def _put_by(self) -> None:
        """Have no latest source."""
        if self._latest >= 0:
            self._sources.highest[self._latest] = self._highest
        self._latest = -1

    def _know(self, ssrc: int) -> None:
        """Keep room for a source: libsrtp holds a stream, with its replay window, for each one ever heard."""
        out = self._sources.know(ssrc)
        if out is not None:
            lib.srtp_remove_stream(self._context, htonl(out))
            if out == self._latest:
                self._latest = -1

    def _refuse(self, status: int) -> None:
        self._count(_REASONS.get(status, "malformed"))

    def _count(self, reason: str) -> None:
        self.counts[reason] = self.counts.get(reason, 0) + 1
