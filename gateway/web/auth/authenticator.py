"""Who asks, and from where: Origin check (CSWSH), Authorization header, client address."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from gateway.identity.model import User
from gateway.web.checks import is_identifier
from gateway.web.facade import Gateway
from gateway.web.limits import KeyedBuckets
from gateway.web.settings import WebSettings

_DEFAULT_PORTS = {"http": 80, "https": 443}
_MAX_HEADER = 1_024


def origin_allowed(origin: str | None, host: str | None, settings: WebSettings) -> bool:
    """Whether a page of `origin` may talk to us: our own page, or one of the settings' list (RFC 6454)."""
    if origin is None:
        return not settings.require_origin
    if "*" in settings.allowed_origins or origin in settings.allowed_origins:
        return True
    try:
        parts = urlsplit(origin)
        default = _DEFAULT_PORTS.get(parts.scheme)
        if default is None or not host:
            return False
        ours = urlsplit(f"//{host}")
        return parts.hostname == ours.hostname and (parts.port or default) == (ours.port or default)
    except ValueError:
        return False


def client_address(connection: HTTPConnection) -> str:
    """IP address of the client, "" when the server does not know it."""
    return connection.client.host if connection.client else ""


def credentials(header: str | None) -> tuple[str, str] | None:
    """User and secret of an Authorization header: `Bearer user:secret`, `Bearer token`, or Basic (RFC 7617).

    A bearer token without a colon gives ("", token). None when there is no usable header.
    """
    if not header or len(header) > _MAX_HEADER:
        return None
    scheme, _, value = header.partition(" ")
    value = value.strip()
    if scheme.lower() == "basic":
        try:
            value = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None
    elif scheme.lower() != "bearer":
        return None
    user, colon, secret = value.partition(":")
    if not colon:
        user, secret = "", value
    return (user, secret) if secret else None


class TooManyFailures(Exception):
    """This address has guessed too often; ask again later."""


class Authenticator:
    """Authentication in front of the gateway's own, with a limit on guessing for each address."""

    def __init__(self, gateway: Gateway, settings: WebSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._gateway = gateway
        self._failures = KeyedBuckets(settings.failures_per_second, settings.failure_burst, clock)

    async def user(self, name: str, secret: str, address: str) -> User | None:
        """The user who proves to be `name`; None when refused. Raises TooManyFailures."""
        if self._failures.empty(address):
            raise TooManyFailures
        user = None
        if (not name or is_identifier(name)) and secret.isprintable():
            user = await self._gateway.authenticate(name, secret)
        if user is None:
            self._failures.take(address)
        return user

    async def guest(self, name: str) -> User | None:
        """A guest of that name; None when guests are not allowed, or the name could be somebody's.

        Numbers and URIs are never guests': a guest called "1001" would catch the calls of extension 1001.
        """
        number = not any(char.isalpha() for char in name)
        if number or "@" in name or ":" in name or self._gateway.is_configured(name):
            return None
        return await self._gateway.authenticate(name, None)
