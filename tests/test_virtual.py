"""Virtual time: timers pass at once, clocks and randomness follow, and processes outside are refused."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator

import pytest

from tests.virtual import OUTSIDE, VirtualLoop, seed

REAL = time.clock_gettime


def machine() -> float:
    """Return the machine's own clock, which no test moves."""
    return REAL(time.CLOCK_MONOTONIC)


@contextlib.contextmanager
def foreign_listener() -> Iterator[int]:
    """A port that a child of this process listens at; fork and pipe are no way that tests start peers by."""
    ours, theirs = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        child = os.fork()
        if not child:
            os.read(ours, 1)
            os._exit(0)
    try:
        yield port
    finally:
        os.write(theirs, b".")
        os.waitpid(child, 0)
        os.close(ours)
        os.close(theirs)


async def test_an_hour_passes_at_once() -> None:
    """Both clocks of `time` and the loop's go on by as much."""
    begun = machine()
    before = (asyncio.get_running_loop().time(), time.monotonic(), time.time(), time.monotonic_ns() / 1e9)
    await asyncio.sleep(3600)
    after = (asyncio.get_running_loop().time(), time.monotonic(), time.time(), time.monotonic_ns() / 1e9)
    assert [round(end - start) for start, end in zip(before, after, strict=True)] == [3600] * 4
    assert machine() - begun < 60


async def test_a_busy_machine_makes_no_timer_fire_early() -> None:
    """Half a second of computing takes no virtual time, so what is due in a tenth is still to come."""
    fired: list[float] = []
    asyncio.get_running_loop().call_later(0.1, fired.append, 1.0)
    end = machine() + 0.5
    while machine() < end:
        pass
    for _ in range(20):
        await asyncio.sleep(0)
    assert fired == []


async def test_timers_fire_in_the_order_of_their_time() -> None:
    """Also where they lie a microsecond apart."""
    order: list[int] = []
    loop = asyncio.get_running_loop()
    for number in (3, 1, 2):
        loop.call_later(1 + number / 1e6, order.append, number)
    await asyncio.sleep(2)
    assert order == [1, 2, 3]


async def test_a_thread_is_waited_for() -> None:
    """A timer that is due after the thread's work fires after it."""
    done = threading.Event()

    def work() -> None:
        while machine() < begun + 0.2:
            pass
        done.set()

    begun = machine()
    job = asyncio.get_running_loop().run_in_executor(None, work)
    await asyncio.sleep(30)
    assert done.is_set()
    await job


async def test_sockets_of_this_process_answer_before_timers() -> None:
    """A connection, a line and its echo take no second of a timer."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    async with asyncio.timeout(1):
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"line\n")
        assert await reader.readline() == b"line\n"
        writer.close()
        await writer.wait_closed()
        server.close()


async def test_randomness_follows_the_seed(request: pytest.FixtureRequest) -> None:
    """Every source draws what a generator of the same seed draws again."""

    def draw() -> tuple[object, ...]:
        return os.urandom(4), secrets.token_hex(4), uuid.uuid4(), random.SystemRandom().random()

    seed(request.node)
    first = draw()
    assert first != draw()
    seed(request.node)
    assert draw() == first


async def test_a_process_outside_is_refused_in_a_sentence() -> None:
    """By each way of starting one."""
    with pytest.raises(RuntimeError, match=OUTSIDE[:40]):
        subprocess.run([sys.executable, "-c", ""], check=True)  # noqa: ASYNC221
    with pytest.raises(RuntimeError, match=OUTSIDE[:40]):
        await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    with pytest.raises(RuntimeError, match=OUTSIDE[:40]):
        os.posix_spawn(sys.executable, [sys.executable, "-c", ""], {})  # noqa: ASYNC221


async def test_a_port_of_another_process_is_refused_in_a_sentence() -> None:
    """As a store's that was started before; one of this process is not."""
    with foreign_listener() as port, pytest.raises(RuntimeError, match=OUTSIDE[:40]):
        await asyncio.open_connection("127.0.0.1", port)


@pytest.mark.wall
async def test_a_wall_test_has_the_machine_s_clock() -> None:
    """A tenth of a second takes a tenth of a second, and a process may be started."""
    begun = machine()
    await asyncio.sleep(0.1)
    assert machine() - begun >= 0.1
    assert abs(time.monotonic() - machine()) < 5
    assert not isinstance(asyncio.get_running_loop(), VirtualLoop)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    assert await process.wait() == 0
