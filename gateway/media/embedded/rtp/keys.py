"""SDES keys between descriptions and contexts (RFC 4568)."""

from __future__ import annotations

from gateway.media.embedded.plane.srtp import SrtpKey, SrtpKeyError, SrtpProfile
from sdp.attributes import Crypto

LONGEST_IDENTIFIER = 128
"""Octets (RFC 4568 section 6.1)."""


def srtp_key(crypto: Crypto) -> SrtpKey:
    """The key of an a=crypto; raises SrtpKeyError. What identifies it in packets says `key_identifier`."""
    profile = SrtpProfile.from_suite(crypto.suite)
    if profile is None:
        raise SrtpKeyError("unsupported crypto suite")
    if crypto.session_parameters or len(crypto.keys) != 1:
        raise SrtpKeyError("session parameters and several keys are not supported")
    return SrtpKey(profile, crypto.keys[0].key_and_salt)


def key_identifier(crypto: Crypto) -> bytes:
    """What every packet protected with that key carries (RFC 4568 section 6.1), b"": nothing; raises SrtpKeyError."""
    key = crypto.keys[0]
    if key.mki is None:
        return b""
    length = key.mki_length or 0
    if not 1 <= length <= LONGEST_IDENTIFIER or key.mki >> 8 * length:
        raise SrtpKeyError("the master key identifier does not fit the length that it is said to have")
    return key.mki.to_bytes(length, "big")


def is_usable(crypto: Crypto) -> bool:
    """Whether packets protected with that key could be read."""
    try:
        srtp_key(crypto)
        key_identifier(crypto)
    except SrtpKeyError:
        return False
    return True
