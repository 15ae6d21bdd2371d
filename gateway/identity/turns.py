"""Admission of attempts that may fail, such as password guesses: never more at once than may still fail.

Otherwise a slow check (a store, or a site's own sign-in) would let any number of guesses start before the first is
counted.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Hashable, Mapping
from contextlib import asynccontextmanager

Room = Mapping[Hashable, int]
"""Attempts that may still fail, by key; values below one count as one."""


class Turns:
    """Attempts in progress, and those waiting for an earlier outcome, first come, first served."""

    def __init__(self) -> None:
        self._under_way: Counter[Hashable] = Counter()
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def turn(self, room: Callable[[], Room]) -> AsyncIterator[None]:
        """Hold one attempt of each key of `room` from its start; it counts as failed until its end.

        `room` is called again after each end of an earlier attempt, and raises if no further one is allowed.
        """
        keys = await self._begun(room)
        try:
            yield
        finally:
            for key in keys:
                self._under_way[key] -= 1
                if not self._under_way[key]:
                    del self._under_way[key]
                self._wake(key)

    async def _begun(self, room: Callable[[], Room]) -> tuple[Hashable, ...]:
        """Wait for room, and return the keys of the attempt."""
        woken: Hashable | None = None
        try:
            while True:
                left = room()
                full = next((key for key, most in left.items() if self._under_way[key] >= max(1, most)), None)
                if full is None:
                    break
                if woken is not None and woken != full:
                    self._wake(woken)
                woken = full
                await self._queued(full)
        except BaseException:
            self._wake(woken)  # pass the free place to the next attempt
            raise
        if woken is not None and woken not in left:
            self._wake(woken)
        self._under_way.update(left.keys())
        return tuple(left)

    async def _queued(self, key: Hashable) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, deque()).append(waiter)
        await waiter

    def _wake(self, key: Hashable | None) -> None:
        """Let the longest waiting attempt of a key check again."""
        queue = self._waiting.get(key)
        while queue:
            waiter = queue.popleft()
            if not waiter.done():
                waiter.set_result(None)
                break
        if queue is not None and not queue:
            del self._waiting[key]
