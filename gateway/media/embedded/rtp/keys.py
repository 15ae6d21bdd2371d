"""SDES keys between descriptions and contexts (RFC 4568)."""

from __future__ import annotations

from gateway.media.embedded.plane.srtp import SrtpKey, SrtpKeyError, SrtpProfile
from sdp.attributes import Crypto
from sdp.keys import binding_parameters, identifier_of


def srtp_key(crypto: Crypto) -> SrtpKey:
    """The key of an a=crypto; raises SrtpKeyError. What identifies it in packets says `key_identifier`."""
    profile = SrtpProfile.from_suite(crypto.suite)
    if profile is None:
        raise SrtpKeyError("unsupported crypto suite")
    if binding_parameters(crypto) or len(crypto.keys) != 1:
        raise SrtpKeyError("session parameters and several keys are not supported")
    return SrtpKey(profile, crypto.keys[0].key_and_salt)


def key_identifier(crypto: Crypto) -> bytes:
    """What every packet protected with that key carries (RFC 4568 section 6.1), b"": nothing; raises SrtpKeyError."""
    identifier = identifier_of(crypto)
    if identifier is None:
        raise SrtpKeyError("the master key identifier does not fit the length that it is said to have")
    return identifier
