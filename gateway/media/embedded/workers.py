"""Worker threads for audio and sound files, which would delay every call's packets on the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

logger = logging.getLogger("gateway.media.workers")

MOST_THREADS = 4
ERRORS_LOGGED = 20
Made = TypeVar("Made")


class Workers:
    """Pool with one thread for each core, at most MOST_THREADS, started on demand."""

    def __init__(self, name: str = "audio") -> None:
        threads = min(MOST_THREADS, os.cpu_count() or 1)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._errors = 0
        self._waiting: set[asyncio.Future[Any]] = set()

    def do(self, job: Callable[[], Made], then: Callable[[Made | None], None]) -> None:
        """Run `job` in a thread, then call `then` in the running loop with the result, or None after an exception."""
        future = asyncio.get_running_loop().run_in_executor(self._executor, job)
        self._waiting.add(future)
        future.add_done_callback(lambda done: self._done(done, then))

    def _done(self, done: asyncio.Future[Made], then: Callable[[Made | None], None]) -> None:
        self._waiting.discard(done)
        if done.cancelled():
            return
        error = done.exception()
        if error is not None:
            self._errors += 1
            if self._errors <= ERRORS_LOGGED:
                logger.error("audio could not be made", exc_info=error)
        then(done.result() if error is None else None)

    async def finish(self, timeout: float) -> None:
        """Wait at most `timeout` seconds for all jobs, including jobs started meanwhile, then close."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._waiting:
                    await asyncio.wait(self._waiting)
                    await asyncio.sleep(0)
        self.close()

    def close(self) -> None:
        """Cancel waiting jobs and accept no more."""
        self._executor.shutdown(wait=False, cancel_futures=True)
