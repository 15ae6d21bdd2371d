"""What the brake on toll fraud has counted, kept in the store: who was stopped is stopped after a kill as well."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import structlog

from gateway.app.opening import Opening
from gateway.call.toll import Spent, TollBrake
from gateway.cluster.cluster import ClusterTexts
from gateway.cluster.limits import Texts
from gateway.identity.store import IdentityStore, StoreError
from gateway.repeated import Repeated
from gateway.tasks import ended
from gateway.uptime import boot, elapsed

log = structlog.get_logger(__name__)

_NAME = "toll:"
_EVERY = 1.0
"""Seconds between two looks at whether there is more to be kept; at a kill what was counted since is lost."""
_STANDS = 86_400.0
"""Seconds that it is kept: longer than anything counts, for a clock that is set on."""
_MOST = 2_000
"""Callers and prefixes that are kept, those with the most calls."""


class KeptToll:
    """Reads once what another process has counted, and writes down what is counted here."""

    def __init__(
        self,
        brake: TollBrake,
        texts: Texts,
        node: str,
        wall_clock: Callable[[], float],
        since_boot: Callable[[], tuple[str, float]] = boot,
    ) -> None:
        """`node` is ours in a cluster, else ""; `wall_clock` gives Unix seconds, `since_boot` is `elapsed.boot`."""
        self._brake = brake
        self._texts = texts
        self._name = _NAME + node
        self._wall_clock = wall_clock
        self._since_boot = since_boot
        self._is_read = False
        self._written = 0
        away, failed = "calls to numbers near each other are counted in memory alone", "keeping such counts failed"
        self._exchange = Repeated(self.exchange, StoreError, away=away, failed=failed)

    async def look(self) -> None:
        """As `exchange`; what goes wrong is in the log."""
        await self._exchange.once()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(_EVERY)
            await self.look()

    async def exchange(self) -> None:
        """Read, if that was not done yet, and write if there is more. Raises StoreError."""
        brake = self._brake
        if not self._is_read:
            text = await self._texts.text(self._name)
            if text is not None:
                self._take(text)
            self._is_read = True
        if brake.counted != self._written:
            counted, now = brake.counted, self._wall_clock()
            values = {"taken_at": now, "on_boot": self._since_boot(), "spent": brake.spent(_MOST)}
            await self._texts.put_text(self._name, json.dumps(values, separators=(",", ":")), now + _STANDS)
            self._written = counted

    def _take(self, text: str) -> None:
        try:
            values = json.loads(text)
            ago = elapsed(values, self._wall_clock(), self._since_boot())
            spent = list(_read(values["spent"]))
        except (AttributeError, LookupError, RecursionError, TypeError, ValueError):
            log.warning("what was counted of calls to numbers near each other cannot be read")
            return
        self._brake.add(spent, ago)


def _read(values: Any) -> Iterator[Spent]:
    for caller, prefix, calls in values[:_MOST]:
        if not 0.0 <= float(calls) < math.inf:
            raise ValueError(f"{calls!r} is no count")
        yield str(caller), str(prefix), float(calls)


async def keep_toll(opening: Opening, brake: TollBrake, store: IdentityStore, node: str | None) -> None:
    """Go on counting where the process before was, and have the next one do so, until `opening.stack` is closed."""
    kept = KeptToll(brake, ClusterTexts(store, opening.wall_clock), node or "", opening.wall_clock)
    await kept.look()
    opening.stack.push_async_callback(kept.look)
    opening.stack.push_async_callback(ended, asyncio.create_task(kept.run()))
