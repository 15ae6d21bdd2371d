"""The clock of the calls: asyncio's event loop in the gateway, one turned by hand in tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """One appointment."""

    def cancel(self) -> None: ...


class Timers(Protocol):
    """`asyncio.AbstractEventLoop` is one."""

    def time(self) -> float:
        """Monotonic seconds."""

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Call `callback` once, `delay` seconds from now."""
