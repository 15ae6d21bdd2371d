"""Which web pages may talk to us: the Origin of a request against names that are ours (RFC 6454)."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from gateway.web.settings import WebSettings

_DEFAULT_PORTS = {"http": 80, "https": 443}
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def origin_allowed(connection: HTTPConnection, settings: WebSettings, *, needed: bool = True) -> bool:
    """Whether the page a request comes from may ask: our own page, or one of the settings' list.

    Host is the client's own word (a name that an attacker points at us, DNS rebinding), so our own page is
    known by the address the connection really came to, or by the configured public URL. Not `needed`: who asks
    is no page but a program with a token of its own, which has no Origin whatever `require_origin` says.
    """
    origin = connection.headers.get("origin")
    if origin is None:
        return not (needed and settings.require_origin)
    if "*" in settings.allowed_origins or origin in settings.allowed_origins:
        return True
    if settings.public_origin and origin == settings.public_origin:
        return True
    try:
        parts = urlsplit(origin)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return False
    host, own_port = connection.scope.get("server") or ("", None)
    names = _LOOPBACK if _is_loopback(host) else {host.lower()}
    return parts.hostname in names and port == (own_port or port)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
