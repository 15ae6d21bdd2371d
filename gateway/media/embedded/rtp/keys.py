"""SDES keys between descriptions and contexts (RFC 4568)."""

from __future__ import annotations

from gateway.media.embedded.plane.srtp import SrtpKey, SrtpKeyError, SrtpProfile
from sdp.attributes import Crypto


def srtp_key(crypto: Crypto) -> SrtpKey:
    """The key of an a=crypto; raises SrtpKeyError."""
    profile = SrtpProfile.from_suite(crypto.suite)
    if profile is None:
        raise SrtpKeyError("unsupported crypto suite")
    if crypto.session_parameters or len(crypto.keys) != 1 or crypto.keys[0].mki is not None:
        raise SrtpKeyError("session parameters, several keys and master key identifiers are not supported")
    return SrtpKey(profile, crypto.keys[0].key_and_salt)


def is_usable(crypto: Crypto) -> bool:
    """Whether packets protected with that key could be read."""
    try:
        srtp_key(crypto)
    except SrtpKeyError:
        return False
    return True
