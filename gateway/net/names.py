"""Matching of SIP domains against certificates (RFC 5922 sections 7.1 and 7.2)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

from gateway.sip.errors import SipSyntaxError
from gateway.sip.message.uri import Uri


def covers(certificate: Mapping[str, Any], host: str, *, wildcards: bool = False) -> bool:
    """Return True if a verified certificate (dictionary of `ssl.SSLSocket.getpeercert`) is valid for `host`.

    SIP URIs in subjectAltName override DNS names. `wildcards` accepts "*.example.com" for one more label, as HTTPS
    does, against RFC 5922 section 7.2.
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
    """Return the domain of a SIP URI in a certificate; None for another scheme or a URI with a user."""
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
