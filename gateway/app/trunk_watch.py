"""Asks every trunk by OPTIONS whether it is there, and tells when that changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import structlog

from gateway.accounts.reachability import Reachability, State
from gateway.config.people import Trunk
from gateway.sip.errors import SipError
from gateway.sip.flow import Flow
from gateway.sip.message.message import Response
from gateway.sip.message.uri import Uri

log = structlog.get_logger(__name__)

_PATIENCE = 8.0
"""Seconds without an answer, in which the question was sent five times, after which nobody is there."""
_SILENT = 408
_SILENCE = (408, 503)
"""What comes of asking a name that leads nowhere, too."""


class Asker(Protocol):
    """What sends OPTIONS (gateway.net.user_agent.UserAgent)."""

    async def options(self, target: str, *, route: Iterable[str] = ()) -> Response: ...

    async def resolve(self, uri: Uri) -> tuple[Flow, ...]: ...


class TrunkWatch:
    """One question a place and interval; the places of all trunks are asked beside each other."""

    def __init__(
        self,
        asker: Asker,
        trunks: Iterable[Trunk],
        reachability: Reachability,
        back: Callable[[str], None],
        random: Callable[[], float],
    ) -> None:
        """`back` is told the name of a trunk that is there again; `random` spreads the first questions."""
        self._asker = asker
        self._trunks = [trunk for trunk in trunks if trunk.options_interval > 0]
        self._reachability = reachability
        self._back = back
        self._random = random
        self._tasks: list[asyncio.Task[Any]] = []

    def begin(self) -> None:
        """Start asking; returns at once."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._watch(trunk, uri)) for trunk in self._trunks for uri in trunk.uris]

    async def close(self) -> None:
        """Ask no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watch(self, trunk: Trunk, uri: str) -> None:
        await asyncio.sleep(min(trunk.options_interval, 1.0) * self._random())
        while True:
            try:
                status = await self._ask(trunk, uri)
            except SipError as error:
                log.error("a trunk cannot be asked", trunk=trunk.name, uri=uri, reason=str(error))
                return
            lost = status in _SILENCE and not await self._leads_somewhere(trunk, uri)
            self._reachability.named(trunk.name, uri, found=not lost)
            self._answered(trunk, uri, status)
            await asyncio.sleep(trunk.options_interval)

    async def _leads_somewhere(self, trunk: Trunk, uri: str) -> bool:
        return any([await self._asker.resolve(Uri.parse(place)) for place in trunk.proxies or (uri,)])

    async def _ask(self, trunk: Trunk, uri: str) -> int:
        """What it answers, by whichever proxy somebody answers at all."""
        status = _SILENT
        for route in trunk.routes or ((),):
            try:
                async with asyncio.timeout(_PATIENCE):
                    status = (await self._asker.options(uri, route=route)).status
            except TimeoutError:
                status = _SILENT
            if status not in _SILENCE:
                break
        return status

    def _answered(self, trunk: Trunk, uri: str, status: int) -> None:
        before = self._reachability.of(trunk.name)
        change = self._reachability.answered(trunk.name, uri, status)
        if change is None:
            return
        say = log.warning if change.state is State.UNREACHABLE else log.info
        say("trunk", trunk=trunk.name, state=change.state.value, uri=uri, status=status)
        if before is State.UNREACHABLE:
            self._back(trunk.name)
