"""Turns of attempts that may fail, such as guesses at a password: no more at once than may still fail.

A check that waits (for a store, or for a site's own sign-in) would otherwise let any number of guesses begin before the
first is counted.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Hashable, Mapping
from contextlib import asynccontextmanager

Room = Mapping[Hashable, int]
"""Attempts that may still fail, by the key that they count for; fewer than one are one."""


class Turns:
    """Attempts under way, and those that wait for the outcome of an earlier one, first come, first served."""

    def __init__(self) -> None:
        self._under_way: Counter[Hashable] = Counter()
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def turn(self, room: Callable[[], Room]) -> AsyncIterator[None]:
        """Hold one attempt of each key of `room` from its beginning on; it counts as failed until it ends.

        `room` is asked whenever an earlier attempt has ended, and raises where no further one may be made.
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
        """Wait until there is room, and return the keys of the attempt."""
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
            self._wake(woken)  # the place that ended is for the next
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
        """Let the longest waiting attempt of a key ask again."""
        queue = self._waiting.get(key)
        while queue:
            waiter = queue.popleft()
            if not waiter.done():
                waiter.set_result(None)
                break
        if queue is not None and not queue:
            del self._waiting[key]
