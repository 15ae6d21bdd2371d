"""Gateways that start at once: `gateway run` in a fork of a process that has imported it already.

`python -m tests.chaos.forked [CLOCK]` reads a JSON object of GATEWAY_ variables a line, starts a gateway in that
environment and says its process id. Its gateways look at the clock of that file.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import NoReturn

from tests.chaos.clock import Clock
from tests.processes import kill

ROOT = Path(__file__).parents[2]
READY = "stops the gateway"
"""What it says once everything is open."""
_PATIENCE = 60.0
"""Seconds that a start may take beside other work."""


class Forks:
    """Starts gateways, one after the other."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def start(self, environ: dict[str, str], log: Path) -> Running:
        """One in the folder of its log, which is to say READY."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"environ": environ, "log": str(log)}).encode() + b"\n")
        async with asyncio.timeout(_PATIENCE):
            running = Running(int(await self._process.stdout.readline()), log)
            try:
                await running.ready()
            except BaseException:
                await running.kill()
                raise
        return running


class Running:
    """A gateway."""

    def __init__(self, pid: int, log: Path) -> None:
        self.pid = pid
        self.log = log
        self._end = os.pidfd_open(pid)
        self._ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._end, self._has_ended)

    def _has_ended(self) -> None:
        asyncio.get_running_loop().remove_reader(self._end)
        os.close(self._end)
        self._ended.set()

    async def ready(self) -> None:
        """Wait for READY; RuntimeError where it ends before."""
        while READY not in self.said():
            if self._ended.is_set():
                raise RuntimeError(f"the gateway did not start: {self.said()[-2000:]}")
            await asyncio.sleep(0.01)

    def said(self) -> str:
        """Its log."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def strike(self) -> None:
        """SIGKILL."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.strike()
        async with asyncio.timeout(_PATIENCE):
            await self._ended.wait()

    async def terminate(self) -> None:
        """Have it end its calls, and itself."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGINT)
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._ended.wait()
        except TimeoutError:
            await self.kill()
            raise


class Succession:
    """Gateways in one environment, on one state folder, one after the other."""

    def __init__(self, folder: Path, start: Forks, environ: dict[str, str]) -> None:
        """`folder` is for their logs."""
        self._folder, self._forks, self._environ = folder, start, environ
        self._starts = 0
        self._running: Running

    async def start(self) -> None:
        """The next one."""
        self._starts += 1
        self._running = await self._forks.start(self._environ, self._folder / f"{self._starts}.log")

    def strike(self) -> None:
        """SIGKILL."""
        self._running.strike()

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        await self._running.kill()

    async def stop(self) -> None:
        """Have it end its calls, and itself."""
        await self._running.terminate()

    def said(self) -> list[str]:
        """The log of each."""
        return [(self._folder / f"{number}.log").read_text() for number in range(1, self._starts + 1)]

    def faults(self) -> list[str]:
        """Exceptions that were logged."""
        return [each[-4000:] for each in self.said() if "Traceback" in each]


@contextlib.asynccontextmanager
async def forks(host: Sequence[str] = (), clock: Clock | None = None) -> AsyncIterator[Forks]:
    """A process that has imported the gateway; `host` are words that run a command elsewhere."""
    process = await asyncio.create_subprocess_exec(
        *(*host, sys.executable, "-m", "tests.chaos.forked", *(() if clock is None else (str(clock.file),))),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Forks(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(_PATIENCE):
                await process.wait()
        except TimeoutError:
            await kill(process)


def _run(environ: dict[str, str], log: Path) -> NoReturn:
    from gateway.cli import main

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, each in enumerate((nothing, out, out)):
        os.dup2(each, number)
    os.chdir(log.parent)
    os.environ.update(environ)
    sys.argv = ["gateway", "run"]
    status = 1
    try:
        main()
        status = 0
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else 1
    finally:
        sys.stdout.flush()
        os._exit(status)


def _main() -> None:
    for file in sys.argv[1:2]:
        Clock(Path(file)).hang_up()
    import gateway.cli
    import gateway.commands.run  # noqa: F401  # all that a gateway is made of

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.freeze()
    for line in sys.stdin.buffer:
        wanted = json.loads(line)
        Path(wanted["log"]).write_bytes(b"")
        pid = os.fork()
        if not pid:
            _run(wanted["environ"], Path(wanted["log"]))
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _main()
