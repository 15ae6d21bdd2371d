"""Ask every trunk by OPTIONS whether it is there, sooner while it fails, and report each change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import structlog

from gateway.config.people import Trunk
from gateway.sip.errors import SipError
from gateway.sip.flow import Flow
from gateway.sip.message.message import Response
from gateway.sip.message.uri import Uri
from gateway.trunks.reachability import Reachability, State

log = structlog.get_logger(__name__)

_QUICK = 2.0
"""Longest seconds between questions to a place that does not answer."""
_SILENT = 408
_SILENCE = (408, 503)
"""What comes of asking a name that leads nowhere, too."""


class Asker(Protocol):
    """What sends OPTIONS (gateway.net.user_agent.UserAgent)."""

    async def options(self, target: str, *, route: Iterable[str] = ()) -> Response: ...

    async def resolve(self, uri: Uri) -> tuple[Flow, ...]: ...

    def drop_silent(self, flows: Sequence[Flow], since: float) -> None: ...


class Pace:
    """Turns in the order in which they were asked for, at most so many a second; 0: as many as are wanted."""

    def __init__(self, per_second: float) -> None:
        self._pause = 1 / per_second if per_second > 0 else 0.0
        self._next = 0.0

    async def turn(self) -> None:
        """Return once the next turn has come."""
        now = asyncio.get_running_loop().time()
        due = max(now, self._next)
        self._next = due + self._pause
        if due > now:
            await asyncio.sleep(due - now)


class Paces:
    """Paces of questions to all trunks: a thousand that answer do not delay the return of one that does not."""

    def __init__(self, per_second: float) -> None:
        self.steady, self.failing = Pace(per_second), Pace(per_second)


class TrunkWatch:
    """One question a place and interval; the places of all trunks are asked beside each other."""

    def __init__(
        self,
        asker: Asker,
        trunks: Iterable[Trunk],
        reachability: Reachability,
        back: Callable[[str], None],
        random: Callable[[], float],
        paces: Paces,
    ) -> None:
        """`back` is told the name of a trunk that is there again; `random` spreads the first questions."""
        self._asker = asker
        self._trunks = [trunk for trunk in trunks if trunk.options_interval > 0]
        self._reachability = reachability
        self._back = back
        self._random = random
        self._paces = paces
        self._doubts: dict[str, list[asyncio.Event]] = {}
        """Set to have the places of a trunk asked at once, by name of the trunk."""
        self._tasks: list[asyncio.Task[Any]] = []

    def begin(self) -> None:
        """Start asking; returns at once."""
        loop = asyncio.get_running_loop()
        for trunk in self._trunks:
            for uri in trunk.uris:
                doubt = asyncio.Event()
                self._doubts.setdefault(trunk.name, []).append(doubt)
                self._tasks.append(loop.create_task(self._watch(trunk, uri, doubt)))

    def doubt(self, trunk: str) -> None:
        """Ask the places of a trunk at once."""
        for doubt in self._doubts.get(trunk, ()):
            doubt.set()

    async def close(self) -> None:
        """Ask no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watch(self, trunk: Trunk, uri: str, doubt: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(min(trunk.options_interval, 1.0) * self._random())
        pace = self._paces.steady
        while True:
            await pace.turn()
            asked_at = loop.time()
            try:
                status = await self._ask(trunk, uri)
            except SipError as error:
                log.error("a trunk cannot be asked", trunk=trunk.name, uri=uri, reason=str(error))
                return
            if status in _SILENCE:
                await self._found_silent(trunk, uri, asked_at)
            else:
                self._reachability.named(trunk.name, uri, found=True)
            self._answered(trunk, uri, status)
            is_failing = status in _SILENCE
            interval = min(trunk.options_interval, _QUICK) if is_failing else trunk.options_interval
            doubt.clear()
            is_doubted = await _waited(doubt, asked_at + interval - loop.time())
            pace = self._paces.failing if is_failing or is_doubted else self._paces.steady

    async def _found_silent(self, trunk: Trunk, uri: str, asked_at: float) -> None:
        """Note a name that leads nowhere; close connections that died with the far end, so that the next one finds it.

        The kernel sends what waits in a dead connection ever more rarely: the return would show minutes later.
        """
        flows = [await self._asker.resolve(Uri.parse(place)) for place in trunk.proxies or (uri,)]
        self._reachability.named(trunk.name, uri, found=any(flows))
        if self._reachability.place(trunk.name, uri) is State.REACHABLE:
            self._asker.drop_silent([flow for found in flows for flow in found], asked_at)

    async def _ask(self, trunk: Trunk, uri: str) -> int:
        """What it answers, by whichever proxy somebody answers at all."""
        status = _SILENT
        for route in trunk.routes or ((),):
            try:
                async with asyncio.timeout(trunk.options_timeout):
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


async def _waited(doubt: asyncio.Event, seconds: float) -> bool:
    """Wait for so long, or until there is a doubt; whether there is one."""
    try:
        async with asyncio.timeout(max(seconds, 0.0)):
            await doubt.wait()
    except TimeoutError:
        return False
    return True
