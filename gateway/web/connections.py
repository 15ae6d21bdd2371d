"""Who may hold how many TCP connections: a share for each source, and idle ones give way when all are taken."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from gateway.web.limits import ConnectionCounter


class Closable(Protocol):
    """A transport as the table sees it."""

    def abort(self) -> None: ...


class ConnectionTable:
    """Open connections of the server. A WebSocket goes on under the transport its request came by."""

    def __init__(self, limit: int, limit_per_source: int, unlimited: tuple[str, ...] = ()) -> None:
        """`unlimited` sources are our own reverse proxies, which speak for many."""
        self._limit = limit
        self._unlimited = frozenset(unlimited)
        # One more than the limit: the newcomer is counted before the one that gives way has gone.
        self._counter = ConnectionCounter(limit + 1, limit_per_source)
        self._sources: dict[Closable, str] = {}
        self._idle: OrderedDict[Closable, None] = OrderedDict()
        self.refused = 0
        """How many were turned away or gave way since the start."""

    def __len__(self) -> int:
        return len(self._sources)

    def enter(self, transport: Closable, source: str) -> bool:
        """Count a new connection, idle for now; False when its source has its share or none can give way."""
        if source not in self._unlimited and not self._counter.enter(source):
            self.refused += 1
            return False
        self._sources[transport] = source
        if len(self._sources) > self._limit and not self._make_room():
            self.leave(transport)
            self.refused += 1
            return False
        self._idle[transport] = None
        return True

    def _make_room(self) -> bool:
        if not self._idle:
            return False
        longest, _ = self._idle.popitem(last=False)
        self.leave(longest)
        self.refused += 1
        longest.abort()
        return True

    def busy(self, transport: Closable) -> None:
        """A request is being answered, or it became a WebSocket: it gives way to nobody."""
        self._idle.pop(transport, None)

    def idle(self, transport: Closable) -> None:
        """The answer is out, the client keeps the connection."""
        if transport in self._sources:
            self._idle[transport] = None

    def leave(self, transport: Closable) -> None:
        """It has gone; idempotent."""
        self._idle.pop(transport, None)
        source = self._sources.pop(transport, None)
        if source is not None and source not in self._unlimited:
            self._counter.leave(source)
