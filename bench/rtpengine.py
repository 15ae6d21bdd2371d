"""A real rtpengine on loopback: in the foreground, in user space, on ports of its own. Tests start theirs here too."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gateway.media.rtpengine.bencode import encode

RANGE = 400
"""Ports for RTP where no more are asked for: what a hundred calls between two phones need."""
_SECONDS = 10.0
"""How long a start may take."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running rtpengine."""

    address: tuple[str, int]
    """Where it takes the ng protocol."""
    process: subprocess.Popen[bytes] = field(repr=False)

    def cpu(self) -> float:
        """Seconds of CPU that all its threads have had, as the scheduler counts them (in ns, not in ticks)."""
        threads = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


@contextlib.contextmanager
def rtpengine(
    binary: str, *options: str, ports: int = RANGE, control: int | None = None, first: int | None = None
) -> Iterator[Daemon]:
    """Start one with so many ports for RTP (four a call), end it with the context.

    `control` is its port for the ng protocol and `first` its lowest for RTP; where they are None, free ones are found.

    Raises RuntimeError, with what it said, when it does not come up.
    """
    control = _free_port() if control is None else control
    media = _free_range(ports) if first is None else first
    with tempfile.TemporaryDirectory(prefix="rtpengine-") as folder:
        log = Path(folder) / "log"
        command = [
            binary,
            *("--config-file=none", "--foreground", "--log-stderr", "--log-level=5", "--table=-1", "--num-threads=2"),
            *("--interface=127.0.0.1", f"--listen-ng=127.0.0.1:{control}"),
            *(f"--port-min={media}", f"--port-max={media + ports - 1}"),
            *options,
        ]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            if not _answers(control, process):
                raise RuntimeError(f"rtpengine did not start: {log.read_text(errors='replace')[-2000:]}")
            yield Daemon(("127.0.0.1", control), process)
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + _SECONDS
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("127.0.0.1", port))
        probe.settimeout(0.1)
        while time.monotonic() < deadline and process.poll() is None:
            try:
                probe.send(b"up " + encode({"command": "ping"}))
                if probe.recv(100) == b"up " + encode({"result": "pong"}):
                    return True
            except ConnectionRefusedError:
                # Nobody listens there yet.
                time.sleep(0.02)
            except TimeoutError:
                continue
    return False


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False


def _free_range(ports: int) -> int:
    """The first of a run of ports outside what the kernel hands out, none of them in use just now."""
    for first in range(20_000, 32_000, RANGE):
        if all(map(_is_free, range(first, first + ports))):
            return first
    raise OSError("no free run of ports")
