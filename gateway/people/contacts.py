"""Which phones of each user are registered, for who watches; read from the store when that may have changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from gateway.identity.mapping import IdentityMap
from gateway.identity.model import Binding
from gateway.identity.store import IdentityStore, StoreError
from gateway.people.board import Board
from gateway.people.presence import Presences

log = structlog.get_logger(__name__)

_LATEST = 60.0
"""Seconds after which what others (another gateway on the same store) have changed is seen at the latest."""


class Contacts:
    """`board` has the live bindings of each user that was asked for."""

    def __init__(
        self, identity: IdentityMap, store: IdentityStore, presences: Presences, wall_clock: Callable[[], float]
    ) -> None:
        self.board: Board[tuple[Binding, ...]] = Board(())
        self._identity = identity
        self._store = store
        self._presences = presences
        self._wall_clock = wall_clock
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._reading: set[asyncio.Task[None]] = set()

    def changed(self, user_id: str) -> None:
        """A REGISTER of `user_id` was answered, or a binding has run out: read it where anybody wants to know."""
        if not self.board.is_watched(user_id) and not self._presences.is_watched(user_id):
            return
        task = asyncio.get_running_loop().create_task(self.read(user_id))
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)

    async def read(self, user_id: str) -> None:
        """Have `board` and the presence of `user_id` say what the store says now."""
        user = self._identity.by_id(user_id)
        if user is None:
            return
        now = self._wall_clock()
        try:
            bindings: Sequence[Binding] = await self._store.bindings(self._identity.aor(user), now)
        except StoreError as error:
            log.error("registrations cannot be read", user=user_id, reason=str(error))
            bindings = self.board.of(user_id)
        self._presences.phone(user_id, bool(bindings))
        self.board.set(user_id, tuple(bindings))
        timer = self._timers.pop(user_id, None)
        if timer is not None:
            timer.cancel()
        if bindings:
            # A little later than the earliest ends, when it is no longer live.
            delay = min(_LATEST, max(0.0, min(one.expires_at for one in bindings) - now)) + 0.1
            self._timers[user_id] = asyncio.get_running_loop().call_later(delay, self.changed, user_id)

    async def close(self) -> None:
        """Read no more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        tasks = tuple(self._reading)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
