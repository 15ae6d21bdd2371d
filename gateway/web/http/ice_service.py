"""STUN and TURN servers for browsers: the configured ones, or those of an outside service with a token."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request

from gateway.web.auth.authenticator import Authenticator, TooManyFailures, client_address, credentials, is_passed_on
from gateway.web.facade import GUEST, Gateway
from gateway.web.settings import WebSettings

log = logging.getLogger(__name__)

_MAX_ANSWER = 65_536
_THREADS = 2
_MOST_ASKED = 64
"""Questions that may wait for the service."""
_MOST_KNOWN = 1_024
"""Answers that are kept."""
_AFTER_FAILURE = 5.0
"""Seconds until a service that failed somebody is asked again for it."""
_GUEST = "guest"
_SCHEMES = ("stun:", "stuns:", "turn:", "turns:")


class IceService:
    """GET {ice_service}?token=&user=&client=; what goes wrong there falls back to the configured servers.

    It is asked for whom we would let call, and once in a while for each: every answer may cost us something.
    """

    def __init__(
        self,
        gateway: Gateway,
        authenticator: Authenticator,
        settings: WebSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gateway = gateway
        self._authenticator = authenticator
        self._settings = settings
        self._clock = clock
        # Of its own: a service that hangs holds up nothing else that waits for a thread.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="ice-service")
        self._asked: dict[tuple[str, str], _Asked] = {}
        """By caller and address, the latest last."""

    async def servers(self, request: Request) -> list[dict[str, Any]]:
        """RTCIceServer objects for who asks; one that is not let in is told of what costs us nothing."""
        settings, client = self._settings, client_address(request)
        caller = await self._caller(request)
        if caller is not None and settings.ice_service and settings.ice_service_token:
            asked = self._of(caller, client)
            # Whoever else waits for it is told, though the first one goes away.
            found = await asyncio.shield(asked.answer) if asked is not None else None
            if found is not None:
                return found
        return self._gateway.ice_servers(client, caller)

    def close(self) -> None:
        """End the threads that ask the service; idempotent."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _of(self, caller: str, client: str) -> _Asked | None:
        """What was asked for this caller lately, or is now; None where too many wait for the service."""
        now, key = self._clock(), (caller, client)
        known = self._asked.get(key)
        if known is not None and (not known.answer.done() or now < known.until):
            return known
        waiting = {each: asked for each, asked in self._asked.items() if not asked.answer.done()}
        if len(waiting) >= _MOST_ASKED:
            return None
        if len(self._asked) >= _MOST_KNOWN:
            self._asked = waiting
        asked = self._asked[key] = _Asked()
        asked.answer = asyncio.get_running_loop().create_task(self._ask(client, asked))
        return asked

    async def _caller(self, request: Request) -> str | None:
        """Return the id of the user, `GUEST`, or None for somebody who may not call."""
        header = request.headers.get("authorization")
        if header is None:
            guest = await self._authenticator.guest(_GUEST, passed_on=is_passed_on(request))
            return None if guest is None else GUEST
        given = credentials(header)
        if given is None:
            return None
        if not given[0] and await self._authenticator.guest_by_link(_GUEST, given[1]) is not None:
            return GUEST
        try:
            user = await self._authenticator.user(*given, client_address(request))
        except TooManyFailures:
            return None
        return None if user is None else user.id

    async def _ask(self, client: str, asked: _Asked) -> list[dict[str, Any]] | None:
        """What the service says; None where it did not, or not in time."""
        settings = self._settings
        try:
            async with asyncio.timeout(settings.ice_service_timeout):
                found = await asyncio.get_running_loop().run_in_executor(self._threads, self._fetch, client)
        except (OSError, ValueError, HTTPException, RuntimeError) as error:  # RuntimeError: the threads have ended, too
            log.warning("the service of ICE servers did not answer: %s", type(error).__name__)
            found = None
        asked.until = self._clock() + (_AFTER_FAILURE if found is None else settings.ice_service_kept)
        return found

    def _fetch(self, client: str) -> list[dict[str, Any]]:
        """In a thread; raises OSError, HTTPException, or ValueError for an answer that is no list of servers."""
        query = urlencode({"token": self._settings.ice_service_token, "user": "", "client": client})
        url = f"{self._settings.ice_service}?{query}"
        with urllib.request.urlopen(url, timeout=self._settings.ice_service_timeout) as response:
            answer = json.loads(response.read(_MAX_ANSWER))
        if not isinstance(answer, list):
            raise ValueError("no list")
        return [_server(entry) for entry in answer]


@dataclass(slots=True, eq=False)
class _Asked:
    """One question to the service; its answer holds until then (seconds of the clock)."""

    answer: asyncio.Task[list[dict[str, Any]] | None] = field(init=False)
    until: float = 0.0


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
