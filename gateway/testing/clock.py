"""A clock that tests turn by hand."""

from __future__ import annotations


class ManualClock:
    """Monotonic seconds that pass only when told; call it to read it."""

    def __init__(self, start: float = 1000.0) -> None:
        self.now = start

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> float:
        """Let `seconds` pass; the new time. Time never runs backwards (ValueError)."""
        if seconds < 0:
            raise ValueError("time does not run backwards")
        self.now += seconds
        return self.now

    def move_to(self, moment: float) -> float:
        """Go to `moment`, or stay where it is already past."""
        self.now = max(self.now, moment)
        return self.now
