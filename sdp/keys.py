"""Usable SDES keys; each a=crypto line is checked separately (RFC 4568)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Final

from sdp.attributes import Crypto

KEY_OCTETS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "AEAD_AES_256_GCM": 44,
        "AEAD_AES_128_GCM": 28,
        "AES_256_CM_HMAC_SHA1_80": 46,
        "AES_256_CM_HMAC_SHA1_32": 46,
        "AES_192_CM_HMAC_SHA1_80": 38,
        "AES_192_CM_HMAC_SHA1_32": 38,
        "AES_CM_128_HMAC_SHA1_80": 30,
        "AES_CM_128_HMAC_SHA1_32": 30,
    }
)
"""Octets of master key and salt by suite (RFC 4568 section 6.2, RFC 6188, RFC 7714)."""
LONGEST_IDENTIFIER: Final = 128
"""Longest master key identifier in octets (RFC 4568 section 6.1)."""

_CHANGES_NOTHING: Final = re.compile(r"-.*|(?:WSH|FEC_ORDER)(?:=.*)?", re.IGNORECASE)
"""Session parameters that a receiver may ignore (RFC 4568 section 6.3): optional ones, the window size hint, and the
order of error correction, which is never agreed here; readable or not."""


def binding_parameters(crypto: Crypto) -> tuple[str, ...]:
    """Return the session parameters needed to read the key's packets."""
    return tuple([each for each in crypto.session_parameters if not _CHANGES_NOTHING.fullmatch(each)])


def identifier_of(crypto: Crypto) -> bytes | None:
    """Return the octets that identify the first key in each packet, b"" for none; None for an invalid length."""
    key = crypto.keys[0]
    if key.mki is None:
        return b""
    length = key.mki_length or 0
    if not 1 <= length <= LONGEST_IDENTIFIER or key.mki >> 8 * length:
        return None
    return key.mki.to_bytes(length, "big")


def usable_keys(keys: Iterable[Crypto], suites: Collection[str]) -> tuple[Crypto, ...]:
    """Return the lines of the given suites with one key of the right length and no binding session parameter."""
    return tuple([crypto for crypto in keys if crypto.suite in suites and _is_usable(crypto)])


def _is_usable(crypto: Crypto) -> bool:
    if len(crypto.keys) != 1 or binding_parameters(crypto) or identifier_of(crypto) is None:
        return False
    return len(crypto.keys[0].key_and_salt) == KEY_OCTETS.get(crypto.suite)
