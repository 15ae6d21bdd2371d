"""One task that looks at every call now and then, so many a second at most."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum

import structlog

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """How often calls are looked at."""

    soon: float = 0.2
    """Seconds between two looks at a call whose parties are not both heard yet."""
    close: float = 1.0
    """Seconds between two looks at a call that a short silence ends: one whose signalling does not answer either."""
    steady: float = 5.0
    """Seconds between two looks at any other call."""
    impatience: float = 20.0
    """Seconds after which a call that is still not heard is looked at like any other."""
    at_once: int = 8
    """Looks under way at a time; with more calls than can be looked at, each is seen less often."""


class Pace(Enum):
    """Frequency of looks at a call, as in `Rhythm`."""

    SOON = "soon"
    CLOSE = "close"
    STEADY = "steady"


class Watch:
    """Calls by when they are due; `look(call_id)` gives the pace of the next look, None for a call that is gone."""

    def __init__(
        self, rhythm: Rhythm, clock: Callable[[], float], look: Callable[[str], Awaitable[Pace | None]]
    ) -> None:
        self._rhythm = rhythm
        self._clock = clock
        self._look = look
        self._due: list[tuple[float, str]] = []
        self._next: dict[str, float] = {}
        """When each call is due; other entries of `_due` are void."""
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
        self._next.clear()
        self._since.clear()

    def see(self, call_id: str) -> None:
        """Begin to look at a call, or be impatient with it again."""
        now = self._clock()
        new = call_id not in self._since
        self._since[call_id] = now
        if new:
            self._put(call_id, now + self._rhythm.soon)

    def hurry(self, call_id: str) -> None:
        """Look at a call that is known at once."""
        if call_id in self._next:
            self._put(call_id, self._clock())

    def _put(self, call_id: str, due: float) -> None:
        self._next[call_id] = due
        heapq.heappush(self._due, (due, call_id))
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
            due, call_id = heapq.heappop(self._due)
            if self._next.get(call_id) == due:
                del self._next[call_id]
                calls.append(call_id)
        for call_id, pace in zip(calls, await asyncio.gather(*map(self._safely, calls)), strict=True):
            if pace is None:
                self._since.pop(call_id, None)
            else:
                now = self._clock()
                self._put(call_id, now + self._pause(pace, now - self._since.get(call_id, now)))

    def _pause(self, pace: Pace, awaited: float) -> float:
        """Seconds until the next look at a call that has been awaited for so long."""
        if pace is Pace.CLOSE:
            return self._rhythm.close
        return self._rhythm.soon if pace is Pace.SOON and awaited < self._rhythm.impatience else self._rhythm.steady

    async def _safely(self, call_id: str) -> Pace | None:
        """One look; what goes wrong with one call must not blind us to the others."""
        try:
            return await self._look(call_id)
        except Exception:
            log.exception("looking at a call failed", call_id=call_id)
            return Pace.STEADY
