"""SRTP and SRTCP (RFC 3711, RFC 7714) over libsrtp, with keys from DTLS (RFC 5764) or SDES (RFC 4568).

Bad packets raise nothing: `unprotect` returns None and counts why.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from pylibsrtp import Error as LibraryError
from pylibsrtp import Policy, Session

REPLAY_WINDOW = 1024
"""Packets (RFC 3711 section 3.3.2)."""
LIBRARY_BUFFER = 1500
PROTECT_ROOM = 16 + 128
PROTECT_RTCP_ROOM = 4 + 16 + 128
"""Bytes the library keeps free for tag, index and MKI; longer packets are refused here."""


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
        """Name in the registry of DTLS-SRTP protection profiles (RFC 5764 section 4.1.2)."""
        self.openssl_name = openssl_name
        """What OpenSSL calls it."""
        self.key_length = key_length
        self.salt_length = salt_length
        self.library = library

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
_BY_DTLS_NAME = {profile.dtls_name: profile for profile in SrtpProfile}
_BY_OPENSSL = {profile.openssl_name: profile for profile in SrtpProfile}


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


_DISCARD_REASONS = {
    "authentication failure": "authentication",
    "replay check failed (bad index)": "replay",
    "replay check failed (index too old)": "replay",
    "packet index is too old to consider": "replay",
}


def _session(key: SrtpKey, direction: int) -> Session:
    policy = Policy(key=key.material, ssrc_type=direction, srtp_profile=key.profile.library)
    policy.window_size = REPLAY_WINDOW
    # Protecting two different packets under one index would repeat a GCM nonce.
    policy.allow_repeat_tx = False
    return Session(policy)


class SrtpSession:
    """Both directions of one peer's media, whatever SSRCs it uses, up to a limit."""

    __slots__ = ("_inbound", "_max_ssrcs", "_outbound", "_outbounds", "_receive", "_ssrcs", "discarded", "profile")

    def __init__(self, send: SrtpKey, receive: SrtpKey, max_ssrcs: int = 32) -> None:
        self.profile = receive.profile
        self.discarded: dict[str, int] = {}
        """Packets refused, by reason: authentication, replay, malformed, too_long, send."""
        self._outbounds: dict[SrtpKey, Session] = {}
        self._outbound = self._outbound_of(send)
        self._receive = receive
        self._inbound = _session(receive, Policy.SSRC_ANY_INBOUND)
        self._ssrcs: dict[bytes, None] = {}
        self._max_ssrcs = max_ssrcs

    def rekey(self, send: SrtpKey, receive: SrtpKey) -> None:
        """Take the keys of a new description; a direction whose key is the same goes on as it is.

        Begun anew under its old key, a context would count its roll-overs from zero again and protect other
        packets under indices already used, which gives GCM's key stream away. For the same reason a sending
        context is kept for as long as its key may come back.
        """
        self._outbound = self._outbound_of(send)
        if receive != self._receive:
            self._inbound = _session(receive, Policy.SSRC_ANY_INBOUND)
            self._receive, self.profile = receive, receive.profile
            self._ssrcs.clear()

    def _outbound_of(self, key: SrtpKey) -> Session:
        session = self._outbounds.get(key)
        if session is None:
            session = self._outbounds[key] = _session(key, Policy.SSRC_ANY_OUTBOUND)
        return session

    def protect(self, packet: bytes) -> bytes | None:
        """One RTP packet in, one SRTP packet out; None when it is too long, malformed or repeated."""
        if len(packet) > LIBRARY_BUFFER - PROTECT_ROOM:
            self._discard("too_long")
            return None
        try:
            return self._outbound.protect(packet)
        except LibraryError:
            self._discard("send")
            return None

    def protect_rtcp(self, packet: bytes) -> bytes | None:
        """One compound RTCP packet in, one SRTCP packet out; None when it cannot be sent."""
        if len(packet) > LIBRARY_BUFFER - PROTECT_RTCP_ROOM:
            self._discard("too_long")
            return None
        try:
            return self._outbound.protect_rtcp(packet)
        except LibraryError:
            self._discard("send")
            return None

    def unprotect(self, packet: bytes) -> bytes | None:
        """One SRTP packet in, one RTP packet out; None when it is forged, replayed or malformed."""
        return self._opened(self._inbound.unprotect, packet, packet[8:12])

    def unprotect_rtcp(self, packet: bytes) -> bytes | None:
        """One SRTCP packet in, one compound RTCP packet out; None when it is refused."""
        return self._opened(self._inbound.unprotect_rtcp, packet, packet[4:8])

    def _opened(self, unprotect: Callable[[bytes], bytes], packet: bytes, ssrc: bytes) -> bytes | None:
        try:
            plain = unprotect(packet)
        except LibraryError as error:
            self._discard(_DISCARD_REASONS.get(str(error), "malformed"))
            return None
        except ValueError:
            self._discard("too_long")
            return None
        if ssrc not in self._ssrcs:
            self._know(ssrc)
        return plain

    def _know(self, ssrc: bytes) -> None:
        """Keep room for a new source: libsrtp holds a stream, with its replay window, for each one ever heard."""
        if len(self._ssrcs) >= self._max_ssrcs:
            oldest = next(iter(self._ssrcs))
            del self._ssrcs[oldest]
            self._inbound.remove_stream(int.from_bytes(oldest, "big"))
        self._ssrcs[ssrc] = None

    def _discard(self, reason: str) -> None:
        self.discarded[reason] = self.discarded.get(reason, 0) + 1
