"""Virtual time, the default of every test: a loop whose clock jumps to the next timer once nothing is left to do.

A test whose peer is another process carries the mark `wall` and runs on the ordinary clock. In virtual time the clocks
of `time` follow the loop, and every random source follows a seed: a slow machine makes no timer fire early.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import selectors
import socket
import subprocess
import threading
import time
import weakref
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from concurrent.futures.thread import _worker as _pool_worker
from typing import Any, ClassVar

import pytest

TURN = 5e-4
"""Seconds that a turn of the loop takes: two instants of one test differ, as on a machine."""
READING = 1e-9
"""Seconds that a reading of the clock takes."""
GLANCE, GLANCE_AT_THREADS = 1e-4, 1e-3
"""Real seconds before each jump for what the kernel, or another thread, is about to deliver."""
GLANCE_AT_READERS, READING_TIME = 0.02, 0.1
"""The same for a thread of no pool, such as one that reads a file whose disk may be dead, and how long it is given."""
THREAD_STEP = 0.05
"""Longest real wait for a thread before timers are looked at again, in seconds."""

_monotonic, _time, _urandom = time.monotonic, time.time, os.urandom


class _Selector(selectors.DefaultSelector):
    """Selector that moves the clock of `loop` instead of waiting."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.loop.now += TURN
        events = super().select(0)
        if events or timeout == 0:
            return events
        if self.loop.jobs or timeout is None:
            begun = _monotonic()
            events = super().select(THREAD_STEP if timeout is None else min(timeout, THREAD_STEP))
            self.loop.now += _monotonic() - begun
            return events
        events = super().select(_glance())
        if not events:
            self.loop.now += max(timeout, 0)
        return events


_BEFORE = frozenset(threading.enumerate())
"""The main thread, and those of the program that runs the tests."""


_seen: weakref.WeakKeyDictionary[threading.Thread, float] = weakref.WeakKeyDictionary()
"""Threads of no pool, and the real time at which each was met first."""


def _glance() -> float:
    """Return the real seconds that the other threads of this process may take before the clock jumps."""
    others = [thread for thread in threading.enumerate() if thread not in _BEFORE]
    now = _monotonic()
    readers = [thread for thread in others if getattr(thread, "_target", None) is not _pool_worker]
    if any([now - _seen.setdefault(thread, now) < READING_TIME for thread in readers]):
        return GLANCE_AT_READERS
    return GLANCE_AT_THREADS if others else GLANCE


class VirtualLoop(asyncio.SelectorEventLoop):
    """Event loop in virtual time; jobs of executors take the real time that their threads take."""

    running_tests: ClassVar[list[VirtualLoop]] = []
    """Loops that are open, the newest last: its clock is the process's."""

    def __init__(self) -> None:
        selector = _Selector()
        selector.loop = self
        self.now = time.monotonic()
        self.epoch = time.time() - self.now
        self.jobs = 0
        super().__init__(selector)
        self._clock_resolution = 1e-9
        self.running_tests.append(self)

    def time(self) -> float:
        """Return seconds; no two readings are equal, so that timers of one delay fire in the order they were set."""
        self.now += READING
        return self.now

    def close(self) -> None:
        if self in self.running_tests:
            self.running_tests.remove(self)
        super().close()

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        future = super().run_in_executor(executor, func, *args)
        self.jobs += 1
        future.add_done_callback(self._job_done)
        return future

    def _job_done(self, _future: asyncio.Future[Any]) -> None:
        self.jobs -= 1

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect, and refuse a peer that another process owns: virtual time passes no faster there."""
        await super().sock_connect(sock, address)
        if sock.family == getattr(socket, "AF_UNIX", None):
            owner = int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 4), "little")
            if owner != os.getpid():
                raise RuntimeError(f"{OUTSIDE} (it connects to process {owner})")
        elif sock.type == socket.SOCK_STREAM and not _is_listened_at_here(address[1]):
            raise RuntimeError(f"{OUTSIDE} (it connects to port {address[1]}, which another process listens at)")


def _is_listened_at_here(port: int) -> bool:
    """Tell whether this process has a listening TCP socket at a port, by the tables of Linux; True without any."""
    listening = set()
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        with contextlib.suppress(OSError), open(table) as lines:
            # Most lines of a long run are closed connections, not worth to be split.
            rows = (line.split() for line in lines if f":{port:04X} " in line)
            listening |= {row[9] for row in rows if row[3] == "0A" and row[1].endswith(f":{port:04X}")}
    if not listening:
        return True
    own = set()
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the one that lists
            own.add(os.readlink(f"/proc/self/fd/{descriptor}"))
    return any(f"socket:[{inode}]" in own for inode in listening)


OUTSIDE = "This test runs in virtual time and has a peer in another process: give it the mark `wall`"


def now() -> float:
    """Return the monotonic clock: of the test's loop, outside of tests the machine's."""
    return VirtualLoop.running_tests[-1].time() if VirtualLoop.running_tests else _monotonic()


def wall_clock() -> float:
    """Return seconds since 1970 by the test's loop, outside of tests the machine's."""
    if VirtualLoop.running_tests:
        return VirtualLoop.running_tests[-1].epoch + VirtualLoop.running_tests[-1].time()
    return _time()


class _Test:
    """State of the test that runs: its clock and its source of random octets."""

    is_wall = False
    is_alone = False
    """A test without the mark `wall` runs, with a loop or without: no process is started beside it."""
    random = random.Random(0)


def octets(count: int) -> bytes:
    """Return random octets: of the test's seed in virtual time, outside the machine's."""
    return _Test.random.randbytes(count) if VirtualLoop.running_tests else _urandom(count)


_fsync = os.fsync


def _sync(fd: Any) -> None:
    """Write a file to its disk, but not in virtual time, where no test takes the power away and each waits 9 ms."""
    if not VirtualLoop.running_tests:
        _fsync(fd)


_popen, _posix_spawn = subprocess.Popen.__init__, os.posix_spawn


def _start(self: subprocess.Popen[Any], *args: Any, **options: Any) -> None:
    """Start a process, but not in virtual time; `media.plane: auto` then finds that the native plane does not start."""
    command = args[0] if args else options.get("args")
    if _Test.is_alone and "gateway-plane" in str(command) and "--version" in str(command):
        raise OSError("a test in virtual time has no process beside it")
    _refuse(command)
    _popen(self, *args, **options)


def _spawn(path: str | os.PathLike[str], *args: Any, **options: Any) -> int:
    _refuse(path)
    return _posix_spawn(path, *args, **options)


def _refuse(command: object) -> None:
    if _Test.is_alone:
        raise RuntimeError(f"{OUTSIDE} (it starts {command})")


def outside(name: str) -> pytest.ParameterSet:
    """Return a parameter whose tests have a peer in another process, such as a store or a plane."""
    return pytest.param(name, marks=pytest.mark.wall)


def is_wall(item: pytest.Item) -> bool:
    """Tell whether a test has a peer in another process: by a mark, or by a parameter that names the native plane."""
    callspec = getattr(item, "callspec", None)
    is_native = callspec is not None and "native" in callspec.params.values()
    return is_native or any(item.get_closest_marker(name) for name in ("wall", "serial"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=0, help="seed of every random source of tests in virtual time")


def pytest_report_header(config: pytest.Config) -> str:
    """Name the seed with which a failure comes again."""
    return f"seed: {config.getoption('--seed')} (random octets of tests in virtual time; --seed N for others)"


def _take_over() -> None:
    """Put the clocks and random sources of tests in the place of the machine's, which follow outside of tests.

    Modules of the gateway bind clocks as defaults when they are imported, a conftest of one room as soon as pytest
    starts: the import of this plugin is the last moment before all of them.
    """
    time.monotonic, time.time = now, wall_clock
    time.monotonic_ns, time.time_ns = lambda: int(now() * 1e9), lambda: int(wall_clock() * 1e9)
    os.urandom = random._urandom = octets  # type: ignore[attr-defined]
    subprocess.Popen.__init__ = _start  # type: ignore[method-assign]
    os.fsync = _sync
    os.posix_spawn = _spawn  # type: ignore[assignment]


_take_over()


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"test": new_loop}


def new_loop() -> asyncio.AbstractEventLoop:
    """Return the loop that the present test runs in."""
    return asyncio.SelectorEventLoop() if _Test.is_wall else VirtualLoop()


def seed(item: pytest.Item) -> None:
    """Begin the random octets of a test: by its name and `--seed`."""
    _Test.random = random.Random(zlib.crc32(item.nodeid.encode()) ^ item.config.getoption("--seed"))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    _Test.is_wall = is_wall(item)
    _Test.is_alone = not _Test.is_wall
    seed(item)
    try:
        return (yield)
    finally:
        _Test.is_alone = False
