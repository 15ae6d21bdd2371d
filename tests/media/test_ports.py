"""Port pairs: even and odd, random order, rested before they are used again."""

from __future__ import annotations

import itertools
import socket
from random import Random
from typing import Any

import pytest

from gateway.media.embedded.plane.python import PythonPlane
from gateway.media.embedded.rtp.ports import PortPool
from gateway.media.engine import MediaError
from tests.media.plane_support import Handler
from tests.media.rtp_support import ManualClock, ManualReactor
from tests.media.webrtc_support import finished


def free_range(pairs: int) -> tuple[int, int]:
    """A run of ports nobody has right now."""
    for base in range(42000, 60000, 2 * pairs):
        opened = []
        try:
            for port in range(base, base + 2 * pairs):
                made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                opened.append(made)
                made.bind(("127.0.0.1", port))
        except OSError:
            continue
        finally:
            for made in opened:
                made.close()
        return base, base + 2 * pairs - 1
    raise AssertionError("no free ports on this machine")


class Pairs:
    """A pool and the plane that binds for it."""

    def __init__(self, pool: PortPool) -> None:
        self.pool = pool
        clock = ManualClock()
        self.plane = PythonPlane(ManualReactor(clock), clock)
        finished(self.plane.start(Handler()))
        self._ids = itertools.count(1)
        self._open: dict[int, int] = {}

    def acquire(self) -> int:
        number = next(self._ids)
        port = finished(self.pool.open(self.plane, number))[0].address[1]
        self._open[port] = number
        return port

    def release(self, port: int) -> None:
        self.plane.close_port(self._open.pop(port))
        self.pool.release(port)


def test_a_wildcard_is_told_as_the_address_that_the_machine_has_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """By DHCP it may be another one than at the start; what is configured, or bound, stands."""
    now = ["192.0.2.1"]
    monkeypatch.setattr("gateway.media.embedded.addresses._routed", lambda family: now[0])
    given: dict[str, Any] = {"random": Random(1), "clock": lambda: 0.0}
    pools = [PortPool("0.0.0.0", 0, 0, **given), PortPool("0.0.0.0", 0, 0, told="203.0.113.1", **given)]
    pools.append(PortPool("127.0.0.1", 0, 0, **given))
    assert [pool.told for pool in pools] == ["192.0.2.1", "203.0.113.1", "127.0.0.1"]
    now[0] = "192.0.2.9"
    assert [pool.told for pool in pools] == ["192.0.2.9", "203.0.113.1", "127.0.0.1"]


def pool_of(pairs: int, clock: ManualClock, seed: int = 1) -> Pairs:
    low, high = free_range(pairs)
    return Pairs(PortPool("127.0.0.1", low, high, random=Random(seed), clock=clock, rest=10.0))


def test_a_pair_is_an_even_port_and_the_next() -> None:
    """RFC 3550 section 11."""
    pool = pool_of(4, ManualClock())
    port = pool.acquire()
    assert port % 2 == 0
    for number in (port, port + 1):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, pytest.raises(OSError, match="in use"):
            probe.bind(("127.0.0.1", number))
    pool.release(port)


def test_an_exhausted_range_is_503() -> None:
    """The caller is told to come later."""
    pool = pool_of(3, ManualClock())
    pairs = [pool.acquire() for _ in range(3)]
    with pytest.raises(MediaError) as raised:
        pool.acquire()
    assert raised.value.status == 503
    assert pool.pool.in_use == 3
    for pair in pairs:
        pool.release(pair)
    assert pool.pool.in_use == 0


def test_a_released_pair_rests_before_it_is_used_again() -> None:
    """Late packets of the last call must not reach the next one."""
    clock = ManualClock()
    pool = pool_of(1, clock)
    pool.release(pool.acquire())
    with pytest.raises(MediaError):
        pool.acquire()
    clock.advance(9.9)
    assert pool.pool.free == 0
    clock.advance(0.2)
    pool.release(pool.acquire())


def test_a_port_that_somebody_else_has_is_passed_over() -> None:
    """Another program in the range costs one pair, not the call; neither half is left bound."""
    clock = ManualClock()
    low, high = free_range(2)
    pool = Pairs(PortPool("127.0.0.1", low, high, random=Random(3), clock=clock))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", low + 1))
        pair = pool.acquire()
        assert pair == low + 2
        with pytest.raises(MediaError):
            pool.acquire()
    pool.release(pair)


def test_the_order_is_random() -> None:
    """Two seeds give two orders, so that ports cannot be guessed."""
    low, high = free_range(8)
    orders = []
    for seed in (1, 2):
        pool = Pairs(PortPool("127.0.0.1", low, high, random=Random(seed), clock=ManualClock()))
        pairs = [pool.acquire() for _ in range(8)]
        orders.append(pairs)
        for pair in pairs:
            pool.release(pair)
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])


def test_an_address_that_is_not_ours_is_an_error_of_its_own() -> None:
    """Not taken for an exhausted range."""
    pool = Pairs(PortPool("192.0.2.1", 42000, 42010, random=Random(1), clock=ManualClock()))
    with pytest.raises(MediaError) as raised:
        pool.acquire()
    assert raised.value.status == 500
    assert "192.0.2.1" in raised.value.reason


def test_an_odd_first_port_is_not_used() -> None:
    """The first pair begins at the next even port."""
    pool = Pairs(PortPool("127.0.0.1", 42001, 42004, random=Random(1), clock=ManualClock()))
    assert pool.pool.free == 1
