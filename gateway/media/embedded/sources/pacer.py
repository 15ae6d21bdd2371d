"""One pace for everything that the engine plays."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

logger = logging.getLogger("gateway.media.pacer")

TICK_MS = 20
_CATCH_UP = 5
"""Ticks made up for after a stall; what is older is left out."""

Player = Callable[[float], bool]
"""Called each tick with the time in s; False when it has nothing more to play."""


class Pacer:
    """One timer for everything that is played, on a grid of 20 ms that does not drift."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._players: dict[int, Player] = {}
        self._next_id = 0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._players)

    def add(self, player: Player) -> int:
        """Have `player` called from the next tick on; gives the number to `remove` it by."""
        self._next_id += 1
        self._players[self._next_id] = player
        if self._timer is None:
            self._due = self._clock()
            self._arm()
        return self._next_id

    def remove(self, number: int | None) -> None:
        """Call it no more; unknown numbers are ignored."""
        if number is not None:
            self._players.pop(number, None)

    def close(self) -> None:
        """Stop everything."""
        self._players.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def tick(self, now: float) -> None:
        """Play one frame of everything."""
        for number, player in tuple(self._players.items()):
            try:
                if not player(now):
                    self._players.pop(number, None)
            except Exception:
                # One call's player must not silence the others.
                self._players.pop(number, None)
                logger.exception("a player failed")

    def _arm(self) -> None:
        self._due += TICK_MS / 1000
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(0.0, self._due - self._clock()), self._run)

    def _run(self) -> None:
        self._timer = None
        now = self._clock()
        late = int((now - self._due) * 1000 // TICK_MS)
        if late > _CATCH_UP:
            self._due += (late - _CATCH_UP) * TICK_MS / 1000
            late = _CATCH_UP
        self.tick(now)
        for _ in range(late):
            self._due += TICK_MS / 1000
            self.tick(now)
        if self._players:
            self._arm()
