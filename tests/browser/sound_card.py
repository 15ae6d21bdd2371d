"""A sound card that nobody hears: Firefox keeps Web Audio suspended on a machine that has none."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from tests import peers
from tests.processes import end


@contextlib.asynccontextmanager
async def sound_card() -> AsyncIterator[dict[str, str]]:
    """A PulseAudio of this test's own with a null sink; the variables by which a program finds it."""
    program = peers.program("pulseaudio", "pulseaudio")
    folder = Path(tempfile.mkdtemp(prefix="gateway-sound-"))
    socket = folder / "native"
    home = {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder), "PULSE_RUNTIME_PATH": str(folder)}
    options = ("-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1", "--disable-shm=yes")
    listens = f"module-native-protocol-unix socket={socket} auth-anonymous=1"
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(program, *options, "-L", "module-null-sink", "-L", listens),
            env={**os.environ, **home},
            stdout=log,
            stderr=log,
        )
    try:
        if not await _listens(process, socket):
            raise RuntimeError(f"pulseaudio has ended: {_end_of(folder / 'log')}")
        yield {"PULSE_SERVER": f"unix:{socket}"}
    finally:
        await end(process)
        shutil.rmtree(folder, ignore_errors=True)


def _end_of(log: Path) -> str:
    return log.read_text()[-2000:]


async def _listens(process: asyncio.subprocess.Process, socket: Path) -> bool:
    """Whether it takes connections; False where it has ended."""
    async with asyncio.timeout(30):
        while process.returncode is None:
            try:
                _, writer = await asyncio.open_unix_connection(socket)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return True
    return False
