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
_START: Final = 90.0
"""Seconds a start may take: the first one compiles every module, maybe beside other work."""


def cpu_of(pid: int) -> float:
    """Seconds of CPU that all threads of a process have had, as the scheduler counts them (in ns, not in ticks)."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def waited_for_a_core(pid: int) -> float:
    """Seconds that a process's main thread could have run while others had the cores (schedstat)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def threads_waited_for_a_core(pid: int) -> float:
    """The same of all its threads together."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[1]) for thread in threads) / 1e9


def cpu_with_children(pid: int) -> float:
    """The same of a process and the processes it has started."""
    found = cpu_of(pid)
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        found += sum([cpu_of(int(child)) for child in children.read_text().split()])
    return found


def memory_of(pid: int) -> int:
    """Octets of memory that the process has for itself, shared pages by share (Pss)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024


def plane_of(state_dir: str) -> int | None:
    """Process id of the native plane of that state folder; None where there is none."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            command = (folder / "cmdline").read_bytes()
            if PLANE.encode() in command.split(b"\0")[0] and state_dir.encode() in command:
                return int(folder.name)
    return None


@dataclass(slots=True)
class Gateway:
    """A running gateway."""

    process: subprocess.Popen[bytes] = field(repr=False)
    url: str
    state_dir: str

    def plane(self) -> int | None:
        """Process id of its native plane; None where Python carries the packets."""
        return plane_of(self.state_dir)


@contextlib.asynccontextmanager
async def gateway(phones: int, log: Path, **changes: Any) -> AsyncIterator[Gateway]:
    """Start one as `environment` says, in a state folder of its own; end it with the context.

    Raises RuntimeError, with what it said, when it does not come up.
    """
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder:
        async with running(environment(folder, phones, **changes), log) as found:
            yield found


@contextlib.asynccontextmanager
async def running(environ: dict[str, str], log: Path) -> AsyncIterator[Gateway]:
    """Start one in that environment, which names its state folder and its web address; end it with the context.

    Raises RuntimeError, with what it said, when it does not come up.
    """
    folder = environ["GATEWAY_STATE_DIR"]
    process = _spawn(environ, log)
    found = Gateway(process, f"http://{environ['GATEWAY_WEB__LISTEN']}", folder)
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


def _spawn(environ: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "gateway", "run"]
    folder = environ["GATEWAY_STATE_DIR"]
    with log.open("wb") as output:
        return subprocess.Popen(
            command, cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )


def _said(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]


def environment(folder: str, phones: int, **changes: Any) -> dict[str, str]:
    """Of a gateway on free ports whose numbers 9... lead to the phones on that port of loopback.

    `changes` are keys of the configuration as in its environment ("MEDIA__ENGINE").
    """
    many = 1_000_000
    web, sip, webrtc = free_ports(3)
    user = {"id": USER, "web": True, "password": PASSWORD, "may_call": ["*", "9*"], "max_calls": 10_000}
    values: dict[str, Any] = {
        "WEB__LISTEN": f"127.0.0.1:{web}",
        "SIP__LISTEN": [f"udp:127.0.0.1:{sip}"],
        "WEBRTC__LISTEN": f"127.0.0.1:{webrtc}",
        "LIMITS__DRAIN_TIMEOUT": 0,
        # The first calls are silent until the last is set up.
        "WEBRTC__CONSENT_TIMEOUT": 300,
        "RTP__PORTS": _RTP_PORTS,
        "RTP__MEDIA_TIMEOUT": 0,
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
        **changes,
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
            except urllib.error.HTTPError as answer:
                answer.close()
                return
            except OSError:
                await asyncio.sleep(0.1)
