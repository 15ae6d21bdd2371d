"""One pace for everything that the engine plays: 20 ms, and a phase for each player so that there is no burst."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

logger = logging.getLogger("gateway.media.pacer")

TICK_MS = 20
PHASES = 10
"""Points of time within 20 ms at which players are called; a new one joins the emptiest."""
_CATCH_UP = 5
"""Ticks made up for after a stall; what is older is left out."""

Player = Callable[[float], bool]
"""Called each tick with the time in s; False when it has nothing more to play."""


class Pacer:
    """Players on a grid of 20 ms that does not drift, spread over its phases; one timer a phase in use."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._phases = [_Phase(self, index) for index in range(PHASES)]
        self._of: dict[int, _Phase] = {}
        self._next_id = 0
        self.began: float | None = None
        """Where the grid begins."""

    def __len__(self) -> int:
        return len(self._of)

    @property
    def spread(self) -> list[int]:
        """Players in each phase."""
        return [len(phase.players) for phase in self._phases]

    def add(self, player: Player) -> int:
        """Have `player` called from the next tick on; gives the number to `remove` it by."""
        self._next_id += 1
        phase = min(self._phases, key=lambda each: len(each.players))
        phase.players[self._next_id] = player
        self._of[self._next_id] = phase
        if self.began is None:
            self.began = self._clock()
        phase.arm(self._clock)
        return self._next_id

    def remove(self, number: int | None) -> None:
        """Call it no more; unknown numbers are ignored."""
        phase = self._of.pop(number, None) if number is not None else None
        if phase is not None:
            phase.players.pop(number, None)  # type: ignore[arg-type]  # it was found under this number

    def close(self) -> None:
        """Stop everything."""
        for phase in self._phases:
            phase.close()
        self._of.clear()

    def tick(self, now: float) -> None:
        """Play one frame of everything."""
        for phase in self._phases:
            phase.tick(now)


class _Phase:
    """The players that are called together."""

    def __init__(self, pacer: Pacer, index: int) -> None:
        self.players: dict[int, Player] = {}
        self._pacer = pacer
        self._shift = index * TICK_MS / 1000 / PHASES
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def arm(self, clock: Callable[[], float]) -> None:
        """Run at the next point of the grid."""
        if self._timer is not None:
            return
        now, tick = clock(), TICK_MS / 1000
        begin = (self._pacer.began or 0.0) + self._shift
        self._due = begin + (max(0, int((now - begin) // tick)) + 1) * tick
        self._schedule(clock)

    def close(self) -> None:
        self.players.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def tick(self, now: float) -> None:
        for number, player in tuple(self.players.items()):
            try:
                going = player(now)
            except Exception:
                # One call's player must not silence the others.
                going = False
                logger.exception("a player failed")
            if not going:
                self._pacer.remove(number)

    def _schedule(self, clock: Callable[[], float]) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(0.0, self._due - clock()), self._run, clock)

    def _run(self, clock: Callable[[], float]) -> None:
        self._timer = None
        now = clock()
        late = int((now - self._due) * 1000 // TICK_MS)
        if late > _CATCH_UP:
            self._due += (late - _CATCH_UP) * TICK_MS / 1000
            late = _CATCH_UP
        self.tick(now)
        for _ in range(late):
            self._due += TICK_MS / 1000
            self.tick(now)
        self._due += TICK_MS / 1000
        if self.players:
            self._schedule(clock)
