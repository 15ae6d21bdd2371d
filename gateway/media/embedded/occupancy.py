"""How full the threads of a packet plane are, out of what it counts."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.media.embedded.plane.protocol import Plane, PlaneError

_Times = tuple[int, int]
"""ns that a thread has worked, and has waited for a processor."""


class Occupancy:
    """Remembers what was counted the last time that it was asked."""

    def __init__(self) -> None:
        self._then = 0
        self._before: dict[str, _Times] = {}

    async def of(self, plane: Plane) -> float | None:
        """`MediaEngine.busy`; None, too, where the plane does not tell, at the first time, and while it is gone."""
        try:
            counters = await plane.counters()
        except PlaneError:
            return None
        return self.read(counters)

    def read(self, counters: Mapping[str, int]) -> float | None:
        """What `of` gives for these counters."""
        times = _times(counters)
        now = counters.get("now", 0)
        passed, before = now - self._then, self._before
        self._then, self._before = now, times
        shares = [
            share
            for name, (worked, waited) in times.items()
            if name in before and (share := _share(worked - before[name][0], waited - before[name][1], passed)) >= 0
        ]
        # The plane gives new flows to the thread that has room.
        return min(shares, default=None)


def _times(counters: Mapping[str, int]) -> dict[str, _Times]:
    found = {}
    for name, value in counters.items():
        kind, _, index = name.partition("_")
        if kind == "worked" and (waited := counters.get(f"waited_{index}")) is not None:
            found[index] = value, waited
    return found


def _share(worked: int, waited: int, passed: int) -> float:
    """Below 0: the plane is another one."""
    if worked < 0 or waited < 0 or passed <= 0:
        return -1.0
    # On a machine that others fill a thread waits, but is not full: what it has to do is done once it has its turn.
    return min(1.0, worked / max(passed - waited, worked, 1))
