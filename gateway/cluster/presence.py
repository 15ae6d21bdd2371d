"""Presence in a cluster: each gateway tells the others of whom they watch, by texts in the store that they share.

A gateway's text says whom it has watchers of, and how those stand there whom others watch. It counts for as long as
that gateway is there.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Protocol

import structlog

from gateway.identity.store import IdentityStore, StoreError
from gateway.people.presence import Activity, Presences, PresenceState
from gateway.repeated import Repeated

log = structlog.get_logger(__name__)

_TEXT = "presence:"
_STANDS = 60.0
"""Seconds that a text stands without being written again."""
_SLOWEST = 1.0
"""Seconds between two looks at the most."""
_LONGEST = 256
"""Characters of a note that is shown."""


class Peers(Protocol):
    """The gateways of the cluster (gateway.cluster.cluster)."""

    node: str

    @property
    def with_calls(self) -> Collection[str]: ...

    async def opened(self) -> object:
        """Wait until the others see us."""


class SharedPresence:
    """Takes in what others say, and says what they want to know."""

    def __init__(
        self,
        peers: Peers,
        store: IdentityStore,
        presences: Presences,
        read: Callable[[str], Awaitable[None]],
        is_user: Callable[[str], bool],
        clock: Callable[[], float],
        interval: float,
    ) -> None:
        """`read` has `presences` say what is true of a user whom somebody begins to watch; `clock` gives Unix seconds;
        `interval`: seconds between two looks.
        """
        self._peers = peers
        self._store = store
        self._presences = presences
        self._read = read
        self._is_user = is_user
        self._clock = clock
        self._interval = min(interval, _SLOWEST)
        self._texts: dict[str, str] = {}
        """Of each gateway, as it was when we last looked."""
        self._watched: dict[str, frozenset[str]] = {}
        self._said: tuple[str, float] = ("", float("-inf"))

    async def run(self) -> None:
        """Look again and again, from when the others see us, also while we drain."""
        await self._peers.opened()
        # While the store is away whoever was there is taken to be there still.
        away, failed = "the presence at other gateways cannot be seen", "looking for the presence elsewhere failed"
        look = Repeated(self.look, StoreError, away=away, failed=failed)
        while True:
            await look.once()
            await asyncio.sleep(self._interval)

    async def look(self) -> None:
        """Take in what the others say, and tell them what they ask. Raises StoreError."""
        now, there = self._clock(), sorted(self._peers.with_calls)
        for node in there:
            self._take_in(node, await self._store.text(_TEXT + node, now) or "")
        for node in self._texts.keys() - {*there}:
            self._take_in(node, "")
            del self._texts[node], self._watched[node]
        before = self._presences.watched_elsewhere
        # Whom a gateway does not know yet it may know at the next look.
        watched = frozenset[str]().union(*self._watched.values())
        wanted = self._presences.watched_elsewhere = frozenset(user for user in watched if self._is_user(user))
        for user in sorted(wanted - before):
            await self._read(user)
        states = {user: self._presences.here(user) for user in sorted(wanted)}
        said = {user: (state.activity.value, state.note) for user, state in states.items() if state.is_open}
        text = json.dumps({"watched": sorted(self._presences.board.watched), "states": said})
        if text != self._said[0] or now - self._said[1] > _STANDS / 2:
            await self._store.put_text(_TEXT + self._peers.node, text, now + _STANDS, now)
            self._said = (text, now)

    def _take_in(self, node: str, text: str) -> None:
        if text == self._texts.get(node):
            return
        self._texts[node] = text
        watched, states = _read_text(text)
        self._watched[node] = frozenset(watched)
        self._presences.elsewhere(node, {user: state for user, state in states.items() if self._is_user(user)})


def _read_text(text: str) -> tuple[list[str], Mapping[str, PresenceState]]:
    """Whom a gateway watches, and how users stand there; nothing where it cannot be read."""
    try:
        told: dict[str, Any] = json.loads(text or "{}")
        watched = [user for user in told.get("watched", ()) if isinstance(user, str)]
        return watched, {
            user: PresenceState(Activity(activity), str(note)[:_LONGEST])
            for user, (activity, note) in told.get("states", {}).items()
        }
    except (ValueError, TypeError, AttributeError, RecursionError):
        log.warning("what another gateway says of presence cannot be read")
        return [], {}
