"""RTP port pairs: even for RTP, the next odd one for RTCP (RFC 3550 section 11)."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from random import Random

from gateway.media.embedded.addresses import reachable
from gateway.media.embedded.faults import refused_by_plane
from gateway.media.embedded.plane.protocol import Plane, PlaneError
from gateway.media.embedded.plane.values import Bound
from gateway.media.engine import MediaError

MAXIMUM_ATTEMPTS = 64
"""Pairs tried for one call before the pool is called exhausted."""


class PortPool:
    """Hands out pairs of a range in random order, and rests each one before it is used again.

    A pair that was just released may still get packets of its last call; it is given out again
    only after `rest` seconds. `low` 0 means any port the system has free (for tests).
    """

    def __init__(
        self,
        host: str,
        low: int,
        high: int,
        *,
        random: Random,
        clock: Callable[[], float],
        rest: float = 10.0,
        told: str = "",
    ) -> None:
        """`low` to `high` inclusive; `rest` in seconds; `told` is for descriptions where not `host`."""
        self.host = host
        self._told = told
        self.family = 6 if ":" in host else 4
        """IP version."""
        self._clock = clock
        self._rest = rest
        self._any = low == 0
        ports = list(range(low + (low & 1), high, 2)) if low else []
        random.shuffle(ports)
        self._free: deque[int] = deque(ports)
        self._resting: deque[tuple[float, int]] = deque()
        self._in_use = 0
        self.size = len(ports)
        """Pairs of the range; 0 where the system chooses."""

    @property
    def told(self) -> str:
        """The address for descriptions; of a wildcard the one that this machine has now."""
        return self._told or reachable(self.host)

    @property
    def in_use(self) -> int:
        """Pairs that are out."""
        return self._in_use

    @property
    def free(self) -> int:
        """Pairs that could be given out now."""
        self._wake()
        return len(self._free)

    async def open(self, plane: Plane, port: int, dscp: int = 0) -> tuple[Bound, Bound]:
        """Have the plane bind the next pair as its `port`, RTP before RTCP; raises MediaError 503 when none is left."""
        self._wake()
        for _ in range(MAXIMUM_ATTEMPTS):
            if not self._any and not self._free:
                break
            number = 0 if self._any else self._free.popleft()
            try:
                bound = await plane.open_pair(port, self.host, number, dscp=dscp)
            except PlaneError as error:
                if number:
                    self._resting.append((self._clock() + self._rest, number))
                if error.code == "busy":
                    continue
                raise refused_by_plane(error, "cannot bind RTP ports: ", 500) from error
            except BaseException:
                # The request was cancelled while the plane was at it.
                plane.close_port(port)
                if number:
                    self._resting.append((self._clock() + self._rest, number))
                raise
            self._in_use += 1
            return bound
        raise MediaError("no RTP port is left", 503, limit="rtp.ports", retry_after=self._next_free())

    def _next_free(self) -> int:
        """Seconds until the next pair has rested; where none rests, those after the end of a call."""
        left = self._resting[0][0] - self._clock() if self._resting else self._rest
        return max(1, math.ceil(left))

    def take(self, number: int) -> None:
        """A pair that the plane holds already is out."""
        self._in_use += 1
        if number in self._free:
            self._free.remove(number)

    def release(self, number: int) -> None:
        """Let the pair of that RTP port rest."""
        self._in_use -= 1
        if not self._any:
            self._resting.append((self._clock() + self._rest, number))

    def _wake(self) -> None:
        now = self._clock()
        while self._resting and self._resting[0][0] <= now:
            self._free.append(self._resting.popleft()[1])


class PortPools:
    """The pools of all addresses that RTP is bound to, one of each IP version at most."""

    def __init__(self, pools: Sequence[PortPool]) -> None:
        """The first is for whose version nobody knows."""
        self._pools = tuple(pools)

    def of(self, family: int) -> PortPool:
        """The pool of this IP version, the first where there is none."""
        return next((pool for pool in self._pools if pool.family == family), self._pools[0])

    @property
    def in_use(self) -> int:
        """Pairs that are out."""
        return sum(pool.in_use for pool in self._pools)

    @property
    def free(self) -> int:
        """Pairs that could be given out now."""
        return sum(pool.free for pool in self._pools)

    @property
    def size(self) -> int:
        """Pairs of the range, at each address; 0 where the system chooses."""
        return sum(pool.size for pool in self._pools)
