"""One timer at a deadline that moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """Something scheduled that can be called off."""

    def cancel(self) -> None: ...


class Alarm:
    """Rings at its deadline; one that would ring early is left to find out by itself."""

    def __init__(self, call_at: Callable[[float, Callable[[], None]], Timer], ring: Callable[[], None]) -> None:
        self._call_at = call_at
        self._ring = ring
        self._timer: Timer | None = None
        self._at = 0.0

    def set(self, deadline: float | None) -> None:
        """Ring then, or before; None: not at all."""
        if self._timer is not None:
            if deadline is not None and self._at <= deadline:
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._at = deadline
            self._timer = self._call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._ring()
