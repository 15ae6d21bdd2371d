"""Limits of a cluster: what callers have at the other gateways counts here, too, and who is banned there is here.

Each gateway says twice a second what it counts, also while it drains, as a text in the store that stands no longer than
its word that it is there; nothing is asked when a call comes. Where the store is away, each counts alone after a while.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from heapq import nlargest
from operator import itemgetter
from typing import Any, Protocol

import structlog

from gateway.access.bans import Bans, Told
from gateway.identity.store import StoreError
from gateway.repeated import Repeated

log = structlog.get_logger(__name__)

_NAME = "limits:"
_EVERY = 0.5
"""Seconds between two looks."""
_STANDS, _AT_LEAST = 3, 5.0
"""Intervals, and seconds, that a word stands."""
_MOST = 10_000
"""Figures and bans of one gateway that are said, the highest figures first, and read."""


class Texts(Protocol):
    """Of a store that gateways share: `ClusterTexts`."""

    async def text(self, name: str) -> str | None: ...

    async def put_text(self, name: str, text: str, expires_at: float) -> None: ...


class _Peers(Protocol):
    node: str

    @property
    def with_calls(self) -> Collection[str]: ...


class SharedLimits:
    """Says what is counted here, and knows what the others count."""

    def __init__(
        self,
        peers: _Peers,
        texts: Texts,
        counts: Callable[[], Mapping[str, float]],
        bans: Bans,
        interval: float,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        """`counts` gives what counts here by its name; `clock` is monotonic, `wall_clock` gives Unix seconds."""
        self._peers = peers
        self._texts = texts
        self._counts = counts
        self._bans = bans
        self._stands = max(_STANDS * interval, _AT_LEAST)
        self._clock = clock
        self._wall_clock = wall_clock
        self._others: dict[str, float] = {}
        self._read_at = -math.inf
        self._said = ""
        self._said_at = -math.inf

    def others(self, name: str) -> float:
        """What the other gateways together count under that name; 0 where they were not heard for a while."""
        if self._clock() - self._read_at > self._stands:
            return 0.0
        return self._others.get(name, 0.0)

    async def run(self) -> None:
        """Until cancelled."""
        away, failed = "limits count for this gateway alone", "sharing limits failed"
        exchange = Repeated(self.exchange, StoreError, away=away, failed=failed)
        while True:
            await exchange.once()
            await asyncio.sleep(_EVERY)

    async def exchange(self) -> None:
        """Say what counts here where that has changed, and hear the others. Raises StoreError."""
        counts = {name: round(count, 2) for name, count in _highest(self._counts()) if count > 0}
        told = self._bans.told()
        said = json.dumps([counts, [list(ban) for ban in told.bans], dict(told.lifted)], separators=(",", ":"))
        now = self._clock()
        if said != self._said or now - self._said_at >= self._stands / _STANDS:
            await self._texts.put_text(_NAME + self._peers.node, said, self._wall_clock() + self._stands)
            self._said, self._said_at = said, now
        found: dict[str, float] = {}
        nodes = sorted(self._peers.with_calls)
        # All at once: where the store is slow, the last would else be read when the first has run out.
        texts = await asyncio.gather(*(self._texts.text(_NAME + node) for node in nodes))
        for node, text in zip(nodes, texts, strict=True):
            if text is not None:
                self._hear(node, text, found)
        self._others, self._read_at = found, self._clock()

    def _hear(self, node: str, text: str, found: dict[str, float]) -> None:
        try:
            counts, bans, lifted = json.loads(text)
            for name, count in _first(counts.items()):
                found[name] = found.get(name, 0.0) + _positive(count)
            read = [(str(address), str(why), float(since), float(until)) for address, why, since, until in _first(bans)]
            self._bans.heard(Told(read, {address: float(at) for address, at in _first(lifted.items())}))
        except (AttributeError, RecursionError, TypeError, ValueError):
            log.warning("limits of another gateway cannot be read", node=node)


def _highest(counts: Mapping[str, float]) -> Iterable[tuple[str, float]]:
    if len(counts) <= _MOST:
        return counts.items()
    return nlargest(_MOST, counts.items(), key=itemgetter(1))


def _first(entries: Iterable[Any]) -> list[Any]:
    return list(entries)[:_MOST]


def _positive(count: object) -> float:
    """Raises ValueError for what is no count."""
    if not isinstance(count, int | float) or not 0 <= count < math.inf:
        raise ValueError(f"{count!r} is no count")
    return count
