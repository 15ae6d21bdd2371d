"""Load of a packet plane's threads, from the plane's counters."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.media.embedded.plane.protocol import Plane, PlaneError

_Times = tuple[int, int]
"""Nanoseconds that a thread has worked, and has waited for a processor."""


class Occupancy:
    """Load between two readings of the counters."""

    def __init__(self) -> None:
        self._then = 0
        self._before: dict[str, _Times] = {}

    async def of(self, plane: Plane) -> float | None:
        """Return `MediaEngine.busy`; None on the first reading, without a plane, or without counters of work."""
        try:
            counters = await plane.counters()
        except PlaneError:
            return None
        return self.read(counters)

    def read(self, counters: Mapping[str, int]) -> float | None:
        """Return the load of the least busy thread since the last reading, 0 to 1; None if unknown.

        Time spent waiting for a processor does not count.
        """
        times = _times(counters)
        now = counters.get("now", 0)
        passed, before = now - self._then, self._before
        self._then, self._before = now, times
        shares = [
            share
            for name, (worked, waited) in times.items()
            if name in before and (share := _share(worked - before[name][0], waited - before[name][1], passed)) >= 0
        ]
        # The least busy thread counts, because the plane assigns new flows to the thread with room.
        return min(shares, default=None)


def _times(counters: Mapping[str, int]) -> dict[str, _Times]:
    found = {}
    for name, value in counters.items():
        kind, _, index = name.partition("_")
        if kind == "worked" and (waited := counters.get(f"waited_{index}")) is not None:
            found[index] = value, waited
    return found


def _share(worked: int, waited: int, passed: int) -> float:
    """Return the share of time worked, 0 to 1; -1 if the counters went backwards, as after a restart of the plane."""
    if worked < 0 or waited < 0 or passed <= 0:
        return -1.0
    # Waiting for a processor is no load: on a machine busy with unrelated work, a waiting thread still has room.
    return min(1.0, worked / max(passed - waited, worked, 1))
