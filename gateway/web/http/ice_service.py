"""STUN and TURN servers for browsers: the configured ones, or those of an outside service with a token."""

from __future__ import annotations

import asyncio
import json
import logging
import urllib.request
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request

from gateway.web.auth.authenticator import Authenticator, TooManyFailures, client_address, credentials
from gateway.web.facade import Gateway
from gateway.web.settings import WebSettings

log = logging.getLogger(__name__)

_MAX_ANSWER = 65_536
_GUEST = "guest"
_SCHEMES = ("stun:", "stuns:", "turn:", "turns:")


class IceService:
    """GET {ice_service}?token=&user=&client=; what goes wrong there falls back to the configured servers."""

    def __init__(self, gateway: Gateway, authenticator: Authenticator, settings: WebSettings) -> None:
        self._gateway = gateway
        self._authenticator = authenticator
        self._settings = settings

    async def servers(self, request: Request) -> list[dict[str, Any]]:
        """RTCIceServer objects for who asks; one that is not let in is told of what costs us nothing."""
        settings, client = self._settings, client_address(request)
        if settings.ice_service and settings.ice_service_token:
            try:
                return await asyncio.to_thread(self._ask, client)
            except (OSError, ValueError) as error:
                log.warning("the service of ICE servers did not answer: %s", type(error).__name__)
        return self._gateway.ice_servers(client, await self._caller(request))

    async def _caller(self, request: Request) -> str | None:
        """Id of the user, "guest", or None for whom we would not let call."""
        header = request.headers.get("authorization")
        if header is None:
            return None if await self._authenticator.guest(_GUEST) is None else _GUEST
        given = credentials(header)
        if given is None:
            return None
        if not given[0] and await self._authenticator.guest_by_link(_GUEST, given[1]) is not None:
            return _GUEST
        try:
            user = await self._authenticator.user(*given, client_address(request))
        except TooManyFailures:
            return None
        return None if user is None else user.id

    def _ask(self, client: str) -> list[dict[str, Any]]:
        """Raises OSError, or ValueError for an answer that is no list of servers."""
        query = urlencode({"token": self._settings.ice_service_token, "user": "", "client": client})
        url = f"{self._settings.ice_service}?{query}"
        with urllib.request.urlopen(url, timeout=self._settings.ice_service_timeout) as response:
            answer = json.loads(response.read(_MAX_ANSWER))
        if not isinstance(answer, list):
            raise ValueError("no list")
        return [_server(entry) for entry in answer]


def _server(entry: Any) -> dict[str, Any]:
    """One RTCIceServer, with nothing in it that a browser would stumble over."""
    if not isinstance(entry, dict):
        raise ValueError("no server")
    urls = entry.get("urls")
    urls = [urls] if isinstance(urls, str) else urls
    if not isinstance(urls, list) or not urls or not all(str(url).startswith(_SCHEMES) for url in urls):
        raise ValueError("no urls")
    return {"urls": urls} | {
        name: entry[name] for name in ("username", "credential") if isinstance(entry.get(name), str)
    }
