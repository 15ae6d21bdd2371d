"""STUN and TURN servers for browsers: the configured ones, or those of an outside service with a token."""

from __future__ import annotations

import asyncio
import json
import logging
import urllib.request
from typing import Any
from urllib.parse import urlencode

from gateway.web.facade import Gateway
from gateway.web.settings import WebSettings

log = logging.getLogger(__name__)

_MAX_ANSWER = 65_536
_SCHEMES = ("stun:", "stuns:", "turn:", "turns:")


class IceService:
    """GET {ice_service}?token=&user=&client=; what goes wrong there falls back to the configured servers."""

    def __init__(self, gateway: Gateway, settings: WebSettings) -> None:
        self._gateway = gateway
        self._settings = settings

    async def servers(self, client: str) -> list[dict[str, Any]]:
        """RTCIceServer objects for the client at that IP address."""
        settings = self._settings
        if settings.ice_service and settings.ice_service_token:
            try:
                return await asyncio.to_thread(self._ask, client)
            except (OSError, ValueError) as error:
                log.warning("the service of ICE servers did not answer: %s", type(error).__name__)
        return self._gateway.ice_servers(client)

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
