"""Reads what may never answer, as a file of a server that is gone, by threads that nobody has to wait for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE = 5.0
"""Seconds that a file may take to be read."""


def by_thread(read: Callable[[], T]) -> Future[T]:
    """Have a thread of its own `read`: nothing can stop it, and a process ends without it."""
    found: Future[T] = Future()

    def work() -> None:
        try:
            result = read()
        except BaseException as error:
            found.set_exception(error)
        else:
            found.set_result(result)

    threading.Thread(target=work, daemon=True).start()
    return found


class Reading:
    """Has a thread read one thing at a time, of which one at most never answers."""

    def __init__(self) -> None:
        self._last: asyncio.Future[Any] | None = None

    async def ask(self, read: Callable[[], T]) -> T:
        """What `read` gives from now on. Raises what it raises, and TimeoutError after PATIENCE."""
        async with asyncio.timeout(PATIENCE):
            if self._last is not None:
                await asyncio.wait((self._last,))
            self._last = found = asyncio.wrap_future(by_thread(read))
            found.add_done_callback(_heard)
            await asyncio.wait((found,))
        return found.result()


def _heard(found: asyncio.Future[Any]) -> None:
    """What came of it too late is nobody's business."""
    if not found.cancelled():
        found.exception()
