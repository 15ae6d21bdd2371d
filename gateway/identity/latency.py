"""Response time of a store: median over the last seconds."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_WINDOW = 2.0
"""Seconds for which an answer counts."""
_MOST = 256
"""Latest answers counted."""
_FEWEST = 5
"""Fewest answers for a result: with few requests nothing piles up, and a single one may be slow by chance."""


class Latency:
    """Response time of one store; an unanswered request counts with its age."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` returns monotonic seconds."""
        self._clock = clock
        self._took: deque[tuple[float, float]] = deque(maxlen=_MOST)
        """Times of answers, with their durations."""
        self._asked: dict[object, float] = {}

    @contextmanager
    def question(self) -> Iterator[None]:
        """Measure the request in the body; an exception is no answer."""
        question, began = object(), self._clock()
        self._asked[question] = began
        try:
            yield
            now = self._clock()
            self._took.append((now, now - began))
        finally:
            del self._asked[question]

    def median(self) -> float:
        """Return the median in seconds; 0 with few recent requests."""
        now = self._clock()
        while self._took and self._took[0][0] < now - _WINDOW:
            self._took.popleft()
        known = [*(took for _, took in self._took), *self._waiting(now)]
        return statistics.median(known) if len(known) >= _FEWEST else 0.0

    def _waiting(self, now: float) -> list[float]:
        """Return ages of the oldest unanswered requests, as many as answers are counted."""
        ages = (now - began for _, began in zip(range(_MOST), self._asked.values(), strict=False))
        # A request younger than the median reveals nothing yet.
        known = statistics.median(took for _, took in self._took) if self._took else 0.0
        return [age for age in ages if age > known]
