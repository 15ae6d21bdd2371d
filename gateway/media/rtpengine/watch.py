"""One task that looks at every call now and then, so many a second at most."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """How often calls are looked at."""

    soon: float = 0.2
    """Seconds between two looks at a call whose parties are not both heard yet."""
    steady: float = 5.0
    """Seconds between two looks at any other call."""
    impatience: float = 20.0
    """Seconds after which a call that is still not heard is looked at like any other."""
    at_once: int = 8
    """Looks under way at a time; with more calls than can be looked at, each is seen less often."""


class Watch:
    """Calls by when they are due.

    `look(call_id)` gives True while the call is still awaited, False once it is not, None when it is gone.
    """

    def __init__(
        self, rhythm: Rhythm, clock: Callable[[], float], look: Callable[[str], Awaitable[bool | None]]
    ) -> None:
        self._rhythm = rhythm
        self._clock = clock
        self._look = look
        self._due: list[tuple[float, str]] = []
        self._since: dict[str, float] = {}
        """When each call began to be awaited."""
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._since)

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Look no more; idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._due.clear()
        self._since.clear()

    def see(self, call_id: str) -> None:
        """Begin to look at a call, or be impatient with it again."""
        now = self._clock()
        new = call_id not in self._since
        self._since[call_id] = now
        if new:
            heapq.heappush(self._due, (now + self._rhythm.soon, call_id))
            self._changed.set()

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            wait = self._due[0][0] - self._clock() if self._due else None
            if wait is not None and wait <= 0:
                await self._round()
                continue
            # Not wait_for: of Python 3.11 that swallows a cancellation where what it waits for has just come.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._changed.wait()

    async def _round(self) -> None:
        now = self._clock()
        calls: list[str] = []
        while self._due and self._due[0][0] <= now and len(calls) < self._rhythm.at_once:
            calls.append(heapq.heappop(self._due)[1])
        for call_id, awaited in zip(calls, await asyncio.gather(*map(self._safely, calls)), strict=True):
            if awaited is None:
                self._since.pop(call_id, None)
                continue
            now = self._clock()
            eager = awaited and now - self._since.get(call_id, now) < self._rhythm.impatience
            heapq.heappush(self._due, (now + (self._rhythm.soon if eager else self._rhythm.steady), call_id))

    async def _safely(self, call_id: str) -> bool | None:
        """One look; what goes wrong with one call must not blind us to the others."""
        try:
            return await self._look(call_id)
        except Exception:
            log.exception("looking at a call failed", call_id=call_id)
            return False
