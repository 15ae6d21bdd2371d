"""An in-memory datagram network that delays, loses, doubles and reorders, the same way for the same seed."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gateway.testing.clock import ManualClock

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Weather:
    """How bad the network is; probabilities are per datagram, times in seconds."""

    delay: float = 0.01
    jitter: float = 0.0
    """Up to this much is added to the delay at random: enough of it reorders."""
    loss: float = 0.0
    duplication: float = 0.0


class Node(Protocol):
    """One host on the network: a sans-IO stack with its shell's duties spelt out."""

    def receive(self, data: bytes, source: Address, now: float) -> None:
        """Take a datagram that came from `source`."""

    def handle_timer(self, now: float) -> None:
        """Do what is due at `now`."""

    def deadline(self) -> float | None:
        """When `handle_timer` wants to be called next."""

    def drain(self) -> list[tuple[bytes, Address]]:
        """The datagrams to send, with their destinations."""


class LossyNetwork:
    """Nodes by address, datagrams in flight, and the clock that carries both on.

    `run` alternates deliveries and timers in order of time; nothing sleeps. `observe` sees each
    datagram as it is sent (source, destination, data), lost or not; `drop` may swallow chosen ones, `alter`
    change them.
    """

    def __init__(self, clock: ManualClock, weather: Weather | None = None, *, seed: int = 0) -> None:
        self.clock = clock
        self.weather = weather or Weather()
        self.random = random.Random(seed)
        self.nodes: dict[Address, Node] = {}
        self.sent = 0
        self.lost = 0
        self.delivered = 0
        self.observe: Callable[[Address, Address, bytes], None] | None = None
        self.drop: Callable[[Address, Address, bytes], bool] | None = None
        self.alter: Callable[[Address, Address, bytes], bytes] | None = None
        self._flying: list[tuple[float, int, Address, Address, bytes]] = []

    def attach(self, address: Address, node: Node) -> None:
        """Put `node` at `address`."""
        self.nodes[address] = node

    def send(self, source: Address, destination: Address, data: bytes) -> None:
        """Put one datagram on its way, if the weather lets it."""
        self.sent += 1
        if self.observe is not None:
            self.observe(source, destination, data)
        weather = self.weather
        swallowed = self.drop is not None and self.drop(source, destination, data)
        if swallowed or self.random.random() < weather.loss:
            self.lost += 1
            return
        if self.alter is not None:
            data = self.alter(source, destination, data)
        copies = 2 if self.random.random() < weather.duplication else 1
        for _ in range(copies):
            due = self.clock.now + weather.delay + self.random.random() * weather.jitter
            heapq.heappush(self._flying, (due, self.sent, source, destination, data))

    def cut(self, one: Address, other: Address) -> None:
        """Lose all that flies between two nodes, as when their connection breaks."""
        self._flying = [flight for flight in self._flying if {flight[2], flight[3]} != {one, other}]
        heapq.heapify(self._flying)

    def flush(self) -> None:
        """Collect what every node wants to send."""
        for address, node in self.nodes.items():
            for data, destination in node.drain():
                self.send(address, destination, data)

    def run(self, seconds: float, *, until: Callable[[], bool] | None = None) -> None:
        """Let `seconds` pass, or fewer when `until` becomes true."""
        end = self.clock.now + seconds
        self.flush()
        while until is None or not until():
            moment = self._next()
            if moment is None or moment > end:
                self.clock.move_to(end)
                return
            self.clock.move_to(moment)
            self._step()
            self.flush()

    def _next(self) -> float | None:
        moments = [deadline for node in self.nodes.values() if (deadline := node.deadline()) is not None]
        if self._flying:
            moments.append(self._flying[0][0])
        return min(moments, default=None)

    def _step(self) -> None:
        now = self.clock.now
        if self._flying and self._flying[0][0] <= now:
            _, _, source, destination, data = heapq.heappop(self._flying)
            node = self.nodes.get(destination)
            if node is not None:
                self.delivered += 1
                node.receive(data, source, now)
            return
        for node in self.nodes.values():
            deadline = node.deadline()
            if deadline is not None and deadline <= now:
                node.handle_timer(now)
