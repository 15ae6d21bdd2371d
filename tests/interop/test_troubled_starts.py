"""Signals and a full disk while `gateway run` still starts: no call of the gateway before is left without a word."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench.process import environment, plane_of, running
from gateway.net.user_agent import UserAgent
from gateway.sip.auth.account import Credentials
from gateway.sip.invite.events import Answered, Ended
from tests import peers
from tests.net.peers import OFFER, Application, Recorder, answering, port_of, started
from tests.ports import listening

pytestmark = [pytest.mark.wall, pytest.mark.serial]

DOMAIN, DESK, PASSWORD = "gateway.example", "1001", "only for this run"
MOMENTS = 10


@dataclass(frozen=True, slots=True)
class Left:
    """A call whose gateway was killed."""

    environ: dict[str, str]
    log: Path
    caller: Recorder
    callee: Recorder
    start: float
    """Seconds from the program to its first answer."""

    def is_up(self) -> bool:
        """Whether neither side was told of an end."""
        return not any(isinstance(event, Ended) for side in (self.caller, self.callee) for event in side.events)


@contextlib.asynccontextmanager
async def left_call(folder: Path, **changes: Any) -> AsyncIterator[Left]:
    """A call of two phones, answered, whose gateway dies."""
    peers.plane()
    application = Application(answering)
    callee, caller = await started(application), await started(Application())
    desk = {"id": DESK, "sip": True, "password": PASSWORD, "may_call": ["9*"]}
    changes = {"MEDIA__PLANE": "native", "DOMAIN": DOMAIN, "USERS": [desk], **listening(), **changes}
    environ, log = environment(str(folder), port_of(callee, "udp"), **changes), folder / "log"
    try:
        begun = time.monotonic()
        async with running(environ, log) as gateway:
            start = time.monotonic() - begun
            call = _call(caller, environ)
            await call.wait(Answered)
            other = await application.calls.get()
            gateway.process.kill()
            await asyncio.to_thread(gateway.process.wait)
        yield Left(environ, log, call, other, start)
    finally:
        await caller.close()
        await callee.close()
        plane = plane_of(str(folder))
        if plane is not None:
            os.kill(plane, signal.SIGKILL)


def _call(caller: UserAgent, environ: dict[str, str]) -> Recorder:
    [received] = json.loads(environ["GATEWAY_SIP__LISTEN"])
    credentials = Credentials(DESK, PASSWORD)
    desk = f"<sip:{DESK}@{DOMAIN}>"
    return Recorder(
        caller.invite(f"sip:9000@{DOMAIN}", received=received, caller=desk, body=OFFER, credentials=credentials)
    )


@contextlib.asynccontextmanager
async def starting(left: Left, *, writes: bool = True) -> AsyncIterator[asyncio.subprocess.Process]:
    """The next gateway, as soon as it holds signals back; before that it is not yet a program of ours.

    `writes`: into the log.
    """
    with (left.log if writes else Path(os.devnull)).open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", "run", env=left.environ, stdout=output, stderr=output
        )
    try:
        async with asyncio.timeout(30):
            while not _held_back(process.pid):  # noqa: ASYNC110  # nobody tells of it
                await asyncio.sleep(0.01)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _held_back(pid: int) -> bool:
    """Whether that process blocks SIGTERM (proc(5), SigBlk)."""
    status = Path(f"/proc/{pid}/status").read_text()
    blocked = next(line.split()[1] for line in status.splitlines() if line.startswith("SigBlk:"))
    return bool(int(blocked, 16) & 1 << (signal.SIGTERM - 1))


async def test_a_call_is_left_to_the_next_gateway_whenever_sigterm_comes_in_a_start(tmp_path: Path) -> None:
    """`limits.keep_calls: restart`: ten starts that SIGTERM ends, and the eleventh goes on with the call."""
    async with left_call(tmp_path, LIMITS__KEEP_CALLS="restart") as left:
        for moment in range(MOMENTS):
            async with starting(left) as process:
                await asyncio.sleep(moment * left.start / MOMENTS)
                process.terminate()
                async with asyncio.timeout(60):
                    assert await process.wait() == 0, (moment, left.log.read_text())
            assert left.is_up(), moment
        async with running(left.environ, left.log):
            left.caller.session.hangup()
            await left.callee.wait(Ended)


@pytest.mark.parametrize("moment", [0.0, 0.5])
async def test_a_call_that_is_not_kept_is_told_of_its_end_though_sigterm_comes_in_a_start(
    tmp_path: Path, moment: float
) -> None:
    """Both sides hear BYE of a gateway that was not yet up as it was to stop."""
    async with left_call(tmp_path, LIMITS__DRAIN_TIMEOUT=0) as left, starting(left) as process:
        await asyncio.sleep(moment * left.start)
        process.terminate()
        await asyncio.gather(left.caller.wait(Ended), left.callee.wait(Ended))
        async with asyncio.timeout(60):
            assert await process.wait() == 0


async def test_sighup_in_a_start_ends_nothing_and_is_done_once_the_gateway_is_up(tmp_path: Path) -> None:
    """`systemctl reload` right behind `start`: what the file says then is taken."""
    async with left_call(tmp_path, LOG__LEVEL="info") as left, starting(left) as process:
        process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(60):
            while "configuration reloaded" not in left.log.read_text():  # a file tells of nothing
                assert process.returncode is None
                await asyncio.sleep(0.05)
        assert left.is_up()


async def test_a_gateway_starts_on_a_full_disk_and_goes_on_with_the_call(tmp_path: Path) -> None:
    """No file of its may grow; it says what that costs, until there is room again."""
    async with left_call(tmp_path) as left, starting(left, writes=False) as process:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        said = await _said(left, lambda conditions: len(conditions) == 1)
        assert "1 calls cannot be written down" in said[0]
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await _said(left, lambda conditions: not conditions)
        left.caller.session.hangup()
        await left.callee.wait(Ended)


async def _said(left: Left, enough: Callable[[list[str]], bool]) -> list[str]:
    """What `/healthz` says once it says enough."""
    url = f"http://{left.environ['GATEWAY_WEB__LISTEN']}/healthz"
    async with asyncio.timeout(60), httpx.AsyncClient() as client:
        while True:
            with contextlib.suppress(httpx.TransportError):
                conditions: list[str] = (await client.get(url)).json()["conditions"]
                if enough(conditions):
                    return conditions
            await asyncio.sleep(0.1)
