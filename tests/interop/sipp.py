"""Runs sipp, an independent SIP peer, as caller or callee on loopback."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from tests import peers
from tests.ports import free_port

SCENARIOS = Path(__file__).parent / "sipp"


class Sipp:
    """One sipp process; leave the context to have it ended, `finish` to learn how it went."""

    def __init__(
        self,
        *arguments: str,
        port: int | None = None,
        calls: int = 1,
        seconds: int = 20,
        transport: str = "u1",
        host: str = "127.0.0.1",
    ) -> None:
        self.port = port or free_port()
        self._arguments = [
            *arguments,
            *("-i", host, "-p", str(self.port), "-m", str(calls)),
            *("-timeout", f"{seconds}s", "-timeout_error", "-nostdin", "-t", transport),
        ]
        self._seconds = seconds
        self._table = Path("/proc/net/udp" if transport == "u1" else "/proc/net/tcp")
        self._process: asyncio.subprocess.Process | None = None

    @classmethod
    def uac(
        cls, scenario: str, target: tuple[str, int], *arguments: str, calls: int = 1, transport: str = "u1"
    ) -> Sipp:
        """A caller that runs scenario file `scenario` against `target`."""
        return cls(
            f"{target[0]}:{target[1]}",
            "-sf",
            str(SCENARIOS / f"{scenario}.xml"),
            *arguments,
            calls=calls,
            transport=transport,
        )

    @classmethod
    def uas(
        cls, scenario: str, *arguments: str, port: int | None = None, calls: int = 1, transport: str = "u1"
    ) -> Sipp:
        """A callee that runs scenario file `scenario`."""
        file = str(SCENARIOS / f"{scenario}.xml")
        return cls("-sf", file, *arguments, port=port, calls=calls, transport=transport)

    async def __aenter__(self) -> Sipp:
        self._process = await asyncio.create_subprocess_exec(
            peers.sipp(),
            *self._arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "TERM": "dumb"},
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            process.kill()
            await process.communicate()

    async def bound(self) -> None:
        """Wait until a callee has its port, by the kernel's own table; TimeoutError after 30 s."""
        assert self._process is not None
        wanted = f":{self.port:04X} "
        async with asyncio.timeout(30):
            # The kernel gives no event for a port that another process binds.
            while not any(wanted in line for line in self._table.read_text().splitlines()):
                if self._process.returncode is not None:
                    await self.finish()
                await asyncio.sleep(0.01)

    async def finish(self) -> None:
        """Wait for the end; AssertionError with what sipp said unless every call went as the scenario says."""
        assert self._process is not None
        output, _ = await asyncio.wait_for(self._process.communicate(), self._seconds + 10)
        assert self._process.returncode == 0, output.decode("utf-8", "replace")[-6000:]
