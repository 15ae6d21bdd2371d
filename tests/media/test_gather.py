"""One descriptor for all sockets of the Python plane: read at once after a pause, together where many come."""

from __future__ import annotations

import asyncio
import select
import socket
import sys
from collections.abc import Iterator
from functools import partial

import pytest

from gateway.media.embedded.plane.gather import GatheringReactor
from tests import peers
from tests.media.rtp_support import ManualClock, ManualReactor

GATHER = 0.001


@pytest.fixture(autouse=True)
def linux() -> None:
    if sys.platform != "linux":
        peers.unavailable("epoll", "only Linux has it")


class Bench:
    """A reactor whose one reader is called by hand where it would be, and sockets that note when they are read."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.loop = ManualReactor(self.clock)
        self.reactor = GatheringReactor(self.loop, self.clock, GATHER)
        self.sockets: list[tuple[socket.socket, socket.socket]] = []
        self.read: list[tuple[int, bytes]] = []

    def open(self) -> int:
        """Another socket that is read; its number."""
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sockets.append((here, there))
        number = len(self.sockets) - 1
        self.reactor.add_reader(here, lambda: self.read.append((number, here.recv(100))))
        return number

    def send(self, number: int, data: bytes) -> None:
        """Something comes; the loop sees it where it watches."""
        self.sockets[number][1].send(data)
        self.turn()

    def turn(self) -> None:
        """What the event loop does when something can be read."""
        for number, callback in tuple(self.loop.readers.items()):
            if select.select([number], [], [], 0)[0]:
                callback()

    def close(self) -> None:
        for here, there in self.sockets:
            self.reactor.remove_reader(here)
            here.close()
            there.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()
    assert made.loop.readers == {}
    assert made.clock.pending == 0


def test_what_comes_after_a_pause_is_read_at_once(bench: Bench) -> None:
    """However often that is."""
    one = bench.open()
    for number in range(3):
        bench.clock.advance(0.02)
        bench.send(one, bytes((number,)))
        assert bench.read[-1] == (one, bytes((number,)))
    assert bench.clock.pending == 0


def test_what_comes_close_together_is_read_together(bench: Bench) -> None:
    """Of all sockets, a gathering time later, and the loop is not woken meanwhile."""
    one, other = bench.open(), bench.open()
    bench.clock.advance(1.0)
    bench.send(one, b"first")
    bench.clock.advance(GATHER / 4)
    bench.send(one, b"second")
    bench.send(other, b"third")
    assert bench.read == [(one, b"first")]
    assert bench.loop.readers == {}
    bench.clock.advance(GATHER)
    assert sorted(bench.read[1:]) == [(one, b"second"), (other, b"third")]


def test_when_nothing_more_comes_the_loop_waits_again(bench: Bench) -> None:
    """And what comes then is read at once."""
    one = bench.open()
    bench.clock.advance(1.0)
    bench.send(one, b"first")
    bench.send(one, b"second")
    bench.clock.advance(3 * GATHER)
    assert [data for _, data in bench.read] == [b"first", b"second"]
    assert len(bench.loop.readers) == 1
    bench.clock.advance(1.0)
    bench.send(one, b"third")
    assert bench.read[-1] == (one, b"third")


def test_a_reader_may_remove_another_and_itself(bench: Bench) -> None:
    """What came for them is nobody's, also within the time of gathering, and another socket is read on."""
    one, other, last = bench.open(), bench.open(), bench.open()

    def remove() -> None:
        for number in (one, other):
            bench.reactor.remove_reader(bench.sockets[number][0])
        bench.read.append((one, b"removed"))

    bench.clock.advance(1.0)
    bench.send(last, b"first")
    for number in (one, other):
        bench.reactor.add_reader(bench.sockets[number][0], remove)
        bench.send(number, b"x")
    bench.clock.advance(2 * GATHER)
    assert bench.read == [(last, b"first"), (one, b"removed")]
    bench.send(last, b"second")
    bench.clock.advance(2 * GATHER)
    assert bench.read[-1] == (last, b"second")


def test_a_reader_that_raises_ends_nothing(bench: Bench) -> None:
    """Its own socket and all others are read on, gathered or not."""
    one, other = bench.open(), bench.open()

    def broken() -> None:
        bench.sockets[other][0].recv(100)
        raise ArithmeticError

    bench.clock.advance(1.0)
    bench.send(one, b"first")
    bench.reactor.add_reader(bench.sockets[other][0], broken)
    bench.send(other, b"x")
    with pytest.raises(ArithmeticError):
        bench.clock.advance(GATHER)
    bench.send(one, b"second")
    bench.clock.advance(3 * GATHER)
    bench.send(one, b"third")
    bench.clock.advance(3 * GATHER)
    assert [data for number, data in bench.read if number == one] == [b"first", b"second", b"third"]


def test_all_may_be_removed_while_packets_are_gathered(bench: Bench) -> None:
    """Nothing is left to be called, and another socket begins afresh."""
    one = bench.open()
    bench.clock.advance(1.0)
    bench.send(one, b"first")
    bench.send(one, b"second")
    bench.reactor.remove_reader(bench.sockets[one][0])
    assert bench.clock.pending == 0
    other = bench.open()
    bench.clock.advance(1.0)
    bench.send(other, b"third")
    assert [data for _, data in bench.read] == [b"first", b"third"]


async def test_a_real_loop_reads_many_sockets() -> None:
    """Every datagram of a burst, in the order of its socket."""
    loop = asyncio.get_running_loop()
    reactor = GatheringReactor(loop, loop.time, GATHER)
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(20)]
    read: list[list[int]] = [[] for _ in pairs]
    done = asyncio.Event()

    def reader(number: int) -> None:
        read[number].append(pairs[number][0].recv(10)[0])
        if all(len(each) == 50 for each in read):
            done.set()

    for number, (here, _) in enumerate(pairs):
        reactor.add_reader(here, partial(reader, number))
    for value in range(50):
        for _, there in pairs:
            there.send(bytes((value,)))
        await asyncio.sleep(0)
    await asyncio.wait_for(done.wait(), 30)
    for here, there in pairs:
        reactor.remove_reader(here)
        here.close()
        there.close()
    assert read == [list(range(50))] * len(pairs)
