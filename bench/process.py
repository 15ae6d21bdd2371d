"""The gateway as a process of its own, and what it and the processes beside it cost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gateway.demo.ports import free_ports

USER, PASSWORD = "bench", "only for this run"
PLANE: Final = "gateway-plane"
"""Name of the native plane's program."""
_RTP_PORTS: Final = "10000-19999"
_START: Final = 30.0
"""Seconds a start may take."""


def cpu_of(pid: int) -> float:
    """Seconds of CPU that all threads of a process have had, as the scheduler counts them (in ns, not in ticks)."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def memory_of(pid: int) -> int:
    """Octets of memory that the process has for itself, shared pages by share (Pss)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024


@dataclass(slots=True)
class Gateway:
    """A running gateway."""

    process: subprocess.Popen[bytes] = field(repr=False)
    url: str
    state_dir: str

    def plane(self) -> int | None:
        """Process id of its native plane; None where Python carries the packets."""
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                command = (folder / "cmdline").read_bytes()
                if PLANE.encode() in command.split(b"\0")[0] and self.state_dir.encode() in command:
                    return int(folder.name)
        return None


@contextlib.asynccontextmanager
async def gateway(phones: int, log: Path, **changes: Any) -> AsyncIterator[Gateway]:
    """Start one whose numbers 9... lead to the phones on that port of loopback; end it with the context.

    `changes` are keys of the configuration as in its environment ("MEDIA__ENGINE"). Raises RuntimeError, with what
    it said, when it does not come up.
    """
    web, sip, webrtc = free_ports(3)
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder:
        environ = _environment(folder, web, sip, webrtc, phones) | {
            f"GATEWAY_{key}": value if isinstance(value, str) else json.dumps(value) for key, value in changes.items()
        }
        command = [sys.executable, "-m", "gateway", "run"]
        process = _spawn(command, folder, environ, log)
        found = Gateway(process, f"http://127.0.0.1:{web}", folder)
        try:
            await _started(found, log)
            yield found
        finally:
            process.terminate()
            try:
                await asyncio.to_thread(process.wait, 30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _spawn(command: list[str], folder: str, environ: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            command, cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )


def _said(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]


def _environment(folder: str, web: int, sip: int, webrtc: int, phones: int) -> dict[str, str]:
    many = 1_000_000
    user = {"id": USER, "web": True, "password": PASSWORD, "may_call": ["*", "9*"], "max_calls": 10_000}
    values: dict[str, Any] = {
        "WEB__LISTEN": f"127.0.0.1:{web}",
        "SIP__LISTEN": [f"udp:127.0.0.1:{sip}"],
        "WEBRTC__LISTEN": f"127.0.0.1:{webrtc}",
        "RTP__PORTS": _RTP_PORTS,
        "IDENTITY__STORE": "memory",
        "STATE_DIR": folder,
        "USERS": [user],
        "ROUTES": [{"match": "9*", "to": f"sip:{{user}}@127.0.0.1:{phones}"}],
        "LIMITS__MAX_CALLS": 10_000,
        "LIMITS__CALLS_PER_SECOND": many,
        "WEB__LIMITS__MAX_SESSIONS": 10_000,
        "WEB__LIMITS__OFFERS_PER_SECOND": many,
        "WEB__LIMITS__OFFER_BURST": many,
        "WEB__LIMITS__REQUESTS_PER_SECOND": many,
        "WEB__LIMITS__BURST": many,
        "SIP__LIMITS__REQUESTS_PER_SECOND": many,
        "SIP__LIMITS__BURST": many,
        "LOG__LEVEL": "warning",
    }
    own = {f"GATEWAY_{key}": value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
    return {key: value for key, value in os.environ.items() if not key.startswith("GATEWAY_")} | own


async def _started(found: Gateway, log: Path) -> None:
    async with asyncio.timeout(_START):
        while True:
            if found.process.poll() is not None:
                raise RuntimeError(f"the gateway did not start: {_said(log)}")
            try:
                await asyncio.to_thread(urllib.request.urlopen, found.url, None, 2)
                return
            except urllib.error.HTTPError:
                return
            except OSError:
                await asyncio.sleep(0.1)
