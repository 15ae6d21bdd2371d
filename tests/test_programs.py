"""gateway.testing: other programs beside a test."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from pathlib import Path
from typing import cast

import pytest

from gateway import GatewayError
from gateway.testing import answers_options, running

DEAF = "import signal, sys, time; signal.signal(15, signal.SIG_IGN); open(sys.argv[1], 'w'); time.sleep(600)"
STUBBORN = (
    "import signal, sys, time; signal.signal(15, lambda *_: open(sys.argv[2], 'w')); open(sys.argv[1], 'w')\n"
    "while True: time.sleep(60)"
)


async def test_a_program_that_is_not_there_is_named() -> None:
    """With the package that has it."""
    with pytest.raises(GatewayError, match=r"^there is no nosuch; install the Debian package nosuch-daemon$"):
        async with running(Path("log"), "nosuch-daemon", "nosuch"):
            pass


@pytest.mark.wall
async def test_a_program_that_does_not_end_is_killed(tmp_path: Path) -> None:
    """A Kamailio may go on after it was asked to end; so does this one."""
    ready = tmp_path / "ready"
    async with running(tmp_path / "log", "python3", sys.executable, "-c", DEAF, str(ready)) as process:
        async with asyncio.timeout(20):
            while not ready.exists():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.wall
async def test_a_program_that_does_not_end_is_killed_when_its_wait_is_cancelled(tmp_path: Path) -> None:
    """As the second Ctrl-C does; the first has asked it to end."""
    ready, asked = tmp_path / "ready", tmp_path / "asked"
    began: asyncio.Future[asyncio.subprocess.Process] = asyncio.get_running_loop().create_future()

    async def run() -> None:
        async with running(tmp_path / "log", "python3", sys.executable, "-c", STUBBORN, str(ready), str(asked)) as one:
            began.set_result(one)
            await asyncio.sleep(60)

    task = asyncio.create_task(run())
    process = await asyncio.wait_for(asyncio.shield(began), 20)
    for seen in (ready, asked):
        async with asyncio.timeout(20):
            while not seen.exists():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        task.cancel()
    await asyncio.wait({task}, timeout=20)
    assert task.cancelled()
    assert await asyncio.wait_for(process.wait(), 20) == -signal.SIGKILL


async def test_nobody_answers_options() -> None:
    """It says where, and how long it was waited; and of the tasks that waited none is left."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        port = mute.getsockname()[1]
        with pytest.raises(TimeoutError, match=rf"^OPTIONS to 127.0.0.1:{port}: no answer within 0.3 s$"):
            await answers_options("127.0.0.1", port, 0.3)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.wall
async def test_a_program_that_has_ended_is_not_asked_any_longer(tmp_path: Path) -> None:
    """It says so, and does not wait for what cannot come."""
    async with running(tmp_path / "log", "python3", sys.executable, "-c", "raise SystemExit(3)") as program:
        with pytest.raises(GatewayError, match=r"^what should answer at 127.0.0.1:9 has ended with 3$"):
            await answers_options("127.0.0.1", 9, 20, program)


async def test_options_are_asked_until_they_are_answered() -> None:
    """The first are lost where the program is not there yet."""
    asked: list[bytes] = []

    class Late(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast(asyncio.DatagramTransport, transport)

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            asked.append(data)
            if len(asked) == 3:
                self.transport.sendto(b"SIP/2.0 200 OK\r\n\r\n", addr)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Late, ("127.0.0.1", 0))
    try:
        host, port = transport.get_extra_info("sockname")
        await answers_options(host, port, 20)
    finally:
        transport.close()
    assert len(asked) >= 3
    assert asked[0].startswith(b"OPTIONS sip:127.0.0.1:")
