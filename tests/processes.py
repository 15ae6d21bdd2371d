"""Ends the processes of peers: a peer that does not listen to SIGTERM holds up no other test."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

PATIENCE = 5.0
"""Seconds that a peer is given to end by itself."""


async def end(process: asyncio.subprocess.Process) -> None:
    """SIGTERM, and SIGKILL to who is still there after `PATIENCE`; it is reaped either way."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    await reap(process)


async def end_group(process: asyncio.subprocess.Process) -> None:
    """`end`, and SIGKILL to whatever it began: it was started with a session of its own."""
    await end(process)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


async def reap(process: asyncio.subprocess.Process) -> None:
    """Wait for one that was asked to end by its own means, at most `PATIENCE`."""
    try:
        async with asyncio.timeout(PATIENCE):
            await process.wait()
    except TimeoutError:
        await kill(process)


async def kill(process: asyncio.subprocess.Process) -> None:
    """SIGKILL to one that may have ended by itself; it is reaped either way."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()
