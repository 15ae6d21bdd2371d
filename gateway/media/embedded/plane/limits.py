"""How often the engine is told of datagrams that it has to look at itself: so much work a second, whoever floods."""

from __future__ import annotations

from gateway.media.embedded.plane.values import NEVER, Address

PER_SOURCE = 200
"""Datagrams a second of one source (address and port)."""
STRANGERS = 5_000
"""Datagrams a second of all sources that belong to no flow."""
_COUNTS = 4096


class PuntLimit:
    """So many a second of each source, and of all. Sources share 4,096 counts by a hash that nobody can foresee."""

    def __init__(self, most: float) -> None:
        """`most` a second of all."""
        self._most = most
        self._second = NEVER
        self._all = 0
        self._counts = bytearray(_COUNTS)

    def allows(self, source: Address, now: float) -> bool:
        """Whether the engine may be told of one more of that source at `now`, monotonic seconds."""
        if now - self._second >= 1.0:
            self._second, self._all, self._counts = now, 0, bytearray(_COUNTS)
        place = hash(source) % _COUNTS
        if self._counts[place] >= PER_SOURCE or self._all >= self._most:
            return False
        self._counts[place] += 1
        self._all += 1
        return True
