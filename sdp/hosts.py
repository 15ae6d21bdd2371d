"""IP addresses in the notation of descriptions."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

IpAddress = IPv4Address | IPv6Address

_ZEROS: Final = re.compile(r"(?:^|\.)0[0-9]")
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME: Final = re.compile(rf"(?:{_LABEL}\.)*+(?=[0-9_-]*[A-Za-z]){_LABEL}")
_LONGEST_NAME: Final = 256
"""Characters, including a trailing dot (RFC 1035 section 2.3.4)."""
_LONGEST: Final = 64
"""Characters of the longest address text worth parsing."""


def ip_of(host: str) -> IpAddress | None:
    """Return the IP address written in `host`, None for a name.

    Leading zeros are decimal, as RFC 8866's grammar has no octal numbers. Brackets and a zone are ignored.
    """
    text = host.strip("[]").partition("%")[0]
    return _ip_of(text) if len(text) <= _LONGEST else None


def is_name(host: str) -> bool:
    """Return True for a host name (RFC 1123, "_" allowed, last label not numeric)."""
    return len(host) < _LONGEST_NAME and _NAME.fullmatch(host.removesuffix(".")) is not None


def has_leading_zeros(host: str) -> bool:
    """Return True for an IPv4 address with redundant leading zeros."""
    return ip_of(host) is not None and ":" not in host and _ZEROS.search(host) is not None


@lru_cache(maxsize=8192)
def _ip_of(text: str) -> IpAddress | None:
    if ":" not in text and text.isascii():
        text = ".".join(
            [part.lstrip("0") or "0" if part.isdigit() and len(part) < 4 else part for part in text.split(".")]
        )
    try:
        return ip_address(text)
    except ValueError:
        return None
