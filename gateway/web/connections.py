"""TCP connections of the web server: a share for each source; those that proved nothing give way to newcomers."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from gateway.web.limits import SourceCounter


class Closable(Protocol):
    """A transport as the table sees it."""

    def abort(self) -> None: ...


class ConnectionTable:
    """Open connections of the server, WebSockets included.

    At the limit a newcomer takes the place of the longest silent connection without a request, with an unfinished
    one, with an unread answer, or of an unknown peer's WebSocket.
    """

    def __init__(self, limit: int, limit_per_source: int, unlimited: tuple[str, ...] = ()) -> None:
        """`unlimited` sources are our own reverse proxies, which speak for many."""
        self._limit = limit
        self._unlimited = frozenset(unlimited)
        self._counter = SourceCounter(limit_per_source)
        self._sources: dict[Closable, str] = {}
        self._yielding: OrderedDict[Closable, None] = OrderedDict()
        """Connections that hold nothing, the longest silent first."""
        self.refused = 0
        """Connections that were turned away, or gave way, since the start."""

    def __len__(self) -> int:
        return len(self._sources)

    def enter(self, transport: Closable, source: str) -> bool:
        """Count a new connection, which gives way; False when its source has its share or none can give way."""
        if source not in self._unlimited and not self._counter.enter(source):
            self.refused += 1
            return False
        self._sources[transport] = source
        if len(self._sources) > self._limit and not self._make_room():
            self.leave(transport)
            self.refused += 1
            return False
        self._yielding[transport] = None
        return True

    def _make_room(self) -> bool:
        if not self._yielding:
            return False
        longest, _ = self._yielding.popitem(last=False)
        self.leave(longest)
        self.refused += 1
        longest.abort()
        return True

    def heard(self, transport: Closable) -> None:
        """Note that its peer has sent something."""
        if transport in self._yielding:
            self._yielding.move_to_end(transport)

    def hold(self, transport: Closable) -> None:
        """Have it give way to nobody: its request is whole and waits for us, or its peer has shown who it is."""
        self._yielding.pop(transport, None)

    def give_way(self, transport: Closable) -> None:
        """Have it give way again: it waits for its peer."""
        if transport in self._sources:
            self._yielding[transport] = None

    def leave(self, transport: Closable) -> None:
        """Forget one that has gone; idempotent."""
        self._yielding.pop(transport, None)
        source = self._sources.pop(transport, None)
        if source is not None and source not in self._unlimited:
            self._counter.leave(source)
