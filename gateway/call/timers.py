"""Clock of the calls: asyncio's event loop in the gateway, a manual clock in tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """A scheduled callback."""

    def cancel(self) -> None: ...


class Timers(Protocol):
    """Clock and scheduler; implemented by `asyncio.AbstractEventLoop`."""

    def time(self) -> float:
        """Monotonic seconds."""

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Call `callback` once, `delay` seconds from now."""
