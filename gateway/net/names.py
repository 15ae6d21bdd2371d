"""Whose a certificate is, for SIP (RFC 5922 sections 7.1 and 7.2)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

from gateway.sip.errors import SipSyntaxError
from gateway.sip.message.uri import Uri


def covers(certificate: Mapping[str, Any], host: str, *, wildcards: bool = False) -> bool:
    """Whether a verified certificate (as `ssl.SSLSocket.getpeercert` gives it) is of `host`, a domain or an address.

    SIP URIs among its names come before DNS names: where it has some, only they count. `wildcards`: a DNS name
    "*.example.com" is every host of one label more, as in HTTPS; RFC 5922 section 7.2 knows no such names.
    """
    names: Iterable[tuple[str, str]] = certificate.get("subjectAltName", ())
    host = host.strip("[]").lower().rstrip(".")
    address = _address(host)
    if address is not None:
        return any(kind == "IP Address" and _address(name) == address for kind, name in names)
    domains = [domain for kind, name in names if kind == "URI" and (domain := sip_domain(name)) is not None]
    if domains:
        return host in domains
    return any(kind == "DNS" and _is_same(name, host, wildcards) for kind, name in names)


def sip_domain(uri: str) -> str | None:
    """The domain that a URI in a certificate vouches for; None for another scheme, or one that names a user."""
    try:
        read = Uri.parse(uri)
    except SipSyntaxError:
        return None
    return read.host.lower() if read.scheme == "sip" and read.user is None else None


def _is_same(name: str, host: str, wildcards: bool) -> bool:
    name = name.lower().rstrip(".")
    if not wildcards or not name.startswith("*."):
        return name == host
    label, dot, rest = host.partition(".")
    return bool(label) and dot == "." and rest == name[2:] and "." in rest


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
