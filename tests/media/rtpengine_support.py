"""A real rtpengine on loopback for tests: in the foreground, in user space, on ports of its own."""

from __future__ import annotations

import atexit
import contextlib
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.media.rtpengine.bencode import encode
from gateway.media.rtpengine.client import Address, ClientConfig
from gateway.media.rtpengine.engine import RtpengineConfig
from gateway.media.rtpengine.ng import Retries
from tests import peers

_RANGE = 400
"""Ports for RTP, as many as one test file's calls may hold at once."""


@dataclass
class Daemon:
    """A running rtpengine."""

    address: Address
    process: subprocess.Popen[bytes] = field(repr=False)
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid


@contextlib.contextmanager
def rtpengine(*options: str) -> Iterator[Daemon]:
    """One daemon, ended with the context; skips the test, or fails it in CI, where the package is not installed."""
    binary = peers.program("rtpengine", "rtpengine-daemon")
    control, media = _free_port(), _free_range()
    with tempfile.TemporaryDirectory(prefix="rtpengine-") as folder:
        log = Path(folder) / "log"
        command = [
            binary,
            *("--config-file=none", "--foreground", "--log-stderr", "--log-level=5", "--table=-1", "--num-threads=2"),
            *("--interface=127.0.0.1", f"--listen-ng=127.0.0.1:{control}"),
            *(f"--port-min={media}", f"--port-max={media + _RANGE - 1}"),
            *options,
        ]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            _await_pong(control, process, log)
            yield Daemon(("127.0.0.1", control), process, log)
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def shared() -> Daemon:
    """The daemon that all tests of this run may use together, started for the first of them and ended with Python."""
    if not _shared:
        stack = contextlib.ExitStack()
        _shared.append(stack.enter_context(rtpengine()))
        atexit.register(stack.close)
    return _shared[0]


_shared: list[Daemon] = []


def config(*addresses: Address, **changes: object) -> RtpengineConfig:
    """For these daemons, with little patience: they are next door."""
    client = ClientConfig(Retries((0.1, 0.3), 0.6), ping_interval=0.5)
    return RtpengineConfig(addresses, client=client, **changes)  # type: ignore[arg-type]  # whatever a test changes


def _await_pong(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 10
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("127.0.0.1", port))
        probe.settimeout(0.1)
        while time.monotonic() < deadline and process.poll() is None:
            try:
                probe.send(b"up " + encode({"command": "ping"}))
                if probe.recv(100) == b"up " + encode({"result": "pong"}):
                    return
            except ConnectionRefusedError:
                time.sleep(0.02)
            except TimeoutError:
                continue
    pytest.fail(f"rtpengine did not start: {log.read_text(errors='replace')[-2000:]}")


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _free_range() -> int:
    """The first of a run of ports outside what the kernel hands out, none of them in use just now."""
    for first in range(20_000, 32_000, _RANGE):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + _RANGE):
                probe = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                probe.bind(("127.0.0.1", port))
            return first
    raise OSError("no free run of ports")
