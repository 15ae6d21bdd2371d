"""Addresses of clients behind proxies: believed from the proxies that `web.proxies` names, unknown behind others."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from gateway.web.auth.authenticator import client_address, is_passed_on

_FAR_END = "gateway.far_end"
"""Key of a scope under which the far end of the connection stands."""


class ForwardedFor:
    """ASGI middleware that puts the client of a named proxy into the scope, and keeps the far end of the connection."""

    def __init__(self, app: ASGIApp, proxies: tuple[str, ...]) -> None:
        self._app: ASGIApp = ProxyHeadersMiddleware(app, list(proxies)) if proxies else app  # type: ignore[arg-type,assignment]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[_FAR_END] = scope.get("client")
        await self._app(scope, receive, send)


def known_address(connection: HTTPConnection) -> str | None:
    """Return the client's IP address; None behind a proxy that `web.proxies` does not name."""
    scope = connection.scope
    is_far_end = scope.get(_FAR_END, scope.get("client")) == scope.get("client")
    if is_passed_on(connection) and is_far_end:
        return None
    return _unmapped(client_address(connection))


def _unmapped(host: str) -> str | None:
    """Return an IPv4 address for one that is written in an IPv6 one; None for text that is no address."""
    try:
        address = ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
