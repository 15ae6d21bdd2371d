"""Threads for what would hold up the event loop, and with it every call's packets: decoding and encoding audio."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

logger = logging.getLogger("gateway.media.workers")

MOST_THREADS = 4
ERRORS_LOGGED = 20
Made = TypeVar("Made")


class Workers:
    """As many threads as there are cores, a few at most, started when there is something to do."""

    def __init__(self) -> None:
        threads = min(MOST_THREADS, os.cpu_count() or 1)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="audio")
        self._errors = 0

    def do(self, job: Callable[[], Made], then: Callable[[Made | None], None]) -> None:
        """Do the job in a thread, and call `then` in the running loop with what it made, None where it failed."""
        future = asyncio.get_running_loop().run_in_executor(self._executor, job)
        future.add_done_callback(lambda done: self._done(done, then))

    def _done(self, done: asyncio.Future[Made], then: Callable[[Made | None], None]) -> None:
        if done.cancelled():
            return
        error = done.exception()
        if error is not None:
            self._errors += 1
            if self._errors <= ERRORS_LOGGED:
                logger.error("audio could not be made", exc_info=error)
        then(done.result() if error is None else None)

    def close(self) -> None:
        """Begin nothing more."""
        self._executor.shutdown(wait=False, cancel_futures=True)
