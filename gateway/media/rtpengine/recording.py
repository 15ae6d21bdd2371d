"""Calls that a daemon records: it writes their packets, decrypted, to a file of its own.

Whether it can its protocol does not tell: one without a folder (--recording-dir) says "ok" all the same.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from gateway.media.engine import MediaError, RecordingFile
from gateway.media.rtpengine.call import CallState
from gateway.media.rtpengine.requests import ask

_PATIENCE = 10.0
"""Seconds that the end of a call waits for its recording; a folder on a disk that hangs takes longer."""
_MEANING = re.compile(r"[|\s]+")
"""In the daemon's metadata, which are "key:value|key:value"."""


class DaemonRecording:
    """`gateway.media.engine.Recording`: from the daemon's "ok" to `stop`, the longest time, or the end of the call."""

    def __init__(
        self,
        call: CallState,
        wanted: RecordingFile,
        ended: Callable[[str | None], None],
        clock: Callable[[], float],
        before: DaemonRecording | None = None,
    ) -> None:
        """`clock` gives monotonic seconds; `before`: the last one of this call, which was stopped."""
        self._call = call
        self._wanted = wanted
        self._ended = ended
        self._clock = clock
        self._before = before
        self._began: float | None = None
        self._until: float | None = None
        self._reason: str | None = None
        self._stopped = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run())

    @property
    def stopped(self) -> bool:
        """Another may take its place."""
        return self._stopped.is_set()

    @property
    def seconds(self) -> float:
        """Since the daemon began with it."""
        if self._began is None:
            return 0.0
        return (self._clock() if self._until is None else self._until) - self._began

    @property
    def kept_by(self) -> str:
        """The daemon, and what its file begins with."""
        return f"rtpengine {self._call.host.name}, as {self._call.name}"

    def stop(self, reason: str | None = None) -> None:
        if not self._stopped.is_set():
            self._reason = reason
            self._stopped.set()

    async def finished(self) -> None:
        """Stop, and wait until the daemon was told and `ended` has heard, or for ten seconds."""
        self.stop()
        await asyncio.wait({self._task}, timeout=_PATIENCE)

    async def _run(self) -> None:
        try:
            if self._before is not None:
                await self._before.finished()
            self._before = None
            if not self.stopped:
                await self._record()
        except MediaError as error:
            self._reason = self._reason or error.reason
        except OSError as error:
            self._reason = error.strerror or str(error)
        finally:
            if self._until is None:
                self._until = self._clock()
            self._stopped.set()
            self._ended(self._reason)

    async def _record(self) -> None:
        if callable(self._wanted.path):
            await asyncio.to_thread(self._wanted.path)
        await self._ask("start recording")
        self._began = self._clock()
        try:
            async with asyncio.timeout(self._wanted.longest):
                await self._stopped.wait()
        except TimeoutError:
            self.stop("it is as long as recordings may be")
        self._until = self._clock()
        await self._ask("stop recording")

    async def _ask(self, command: str) -> None:
        """Nothing once the call has ended: so has the file."""
        if not self._call.closed:
            about = (f"{key}:{_MEANING.sub(' ', value)}" for key, value in self._wanted.about.items())
            await ask(self._call.host, {"command": command, "call-id": self._call.name, "metadata": "|".join(about)})
