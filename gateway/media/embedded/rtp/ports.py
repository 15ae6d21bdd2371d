"""RTP port pairs: even for RTP, the next odd one for RTCP (RFC 3550 section 11)."""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from gateway.media.engine import MediaError

MAXIMUM_ATTEMPTS = 64
"""Pairs tried for one call before the pool is called exhausted."""
BUSY = frozenset({errno.EADDRINUSE, errno.EACCES})


@dataclass(frozen=True, slots=True)
class PortPair:
    """Two bound, non-blocking UDP sockets; whoever acquired them closes them and releases the pair."""

    port: int
    """The even port, of RTP."""
    rtp: socket.socket
    rtcp: socket.socket

    def close(self) -> None:
        """Close both sockets; for pairs that no transport has taken over."""
        self.rtp.close()
        self.rtcp.close()


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
        receive_buffer: int = 0,
    ) -> None:
        """`low` to `high` inclusive; `rest` in seconds; `receive_buffer` in octets, 0 for the system's."""
        self._host = host
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._clock = clock
        self._rest = rest
        self._receive_buffer = receive_buffer
        self._any = low == 0
        ports = list(range(low + (low & 1), high, 2)) if low else []
        random.shuffle(ports)
        self._free: deque[int] = deque(ports)
        self._resting: deque[tuple[float, int]] = deque()
        self._in_use = 0

    @property
    def in_use(self) -> int:
        """Pairs that are out."""
        return self._in_use

    @property
    def free(self) -> int:
        """Pairs that could be given out now."""
        self._wake()
        return len(self._free)

    def acquire(self) -> PortPair:
        """Bind the next pair; raises MediaError 503 when none is left."""
        self._wake()
        for _ in range(MAXIMUM_ATTEMPTS):
            if self._any:
                pair = self._bind_any()
            elif self._free:
                port = self._free.popleft()
                pair = self._bind(port)
                if pair is None:
                    self._resting.append((self._clock() + self._rest, port))
            else:
                break
            if pair is not None:
                self._in_use += 1
                return pair
        raise MediaError("no RTP port is left", 503)

    def release(self, pair: PortPair) -> None:
        """Let the pair rest; its sockets are closed by whoever reads them."""
        self._in_use -= 1
        if not self._any:
            self._resting.append((self._clock() + self._rest, pair.port))

    def _wake(self) -> None:
        now = self._clock()
        while self._resting and self._resting[0][0] <= now:
            self._free.append(self._resting.popleft()[1])

    def _bind_any(self) -> PortPair | None:
        with self._socket() as probe:
            probe.bind((self._host, 0))
            port: int = probe.getsockname()[1] & ~1
        return self._bind(port)

    def _bind(self, port: int) -> PortPair | None:
        opened: list[socket.socket] = []
        try:
            for number in (port, port + 1):
                opened.append(self._socket())
                opened[-1].bind((self._host, number))
        except OSError as error:
            for each in opened:
                each.close()
            if error.errno in BUSY:
                return None
            full = error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS)
            reason = f"cannot bind RTP ports on {self._host}: {error.strerror}"
            raise MediaError(reason, 503 if full else 500) from error
        return PortPair(port, *opened)

    def _socket(self) -> socket.socket:
        made = socket.socket(self._family, socket.SOCK_DGRAM)
        made.setblocking(False)
        if self._receive_buffer:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        return made
