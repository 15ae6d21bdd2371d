"""How long a store takes to answer: half of the questions of the last seconds took longer."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_WINDOW = 2.0
"""Seconds for which an answer counts."""
_MOST = 256
"""Answers that count; the latest."""
_FEWEST = 5
"""With fewer questions nothing is said: where little is asked nothing piles up, and one may be slow by chance."""


class Latency:
    """Of what is asked of one store; a question that is not answered yet counts with its age."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` gives monotonic seconds."""
        self._clock = clock
        self._took: deque[tuple[float, float]] = deque(maxlen=_MOST)
        """When an answer came, and what it took."""
        self._asked: dict[object, float] = {}

    @contextmanager
    def question(self) -> Iterator[None]:
        """The body asks; what it raises is no answer."""
        question, began = object(), self._clock()
        self._asked[question] = began
        try:
            yield
            now = self._clock()
            self._took.append((now, now - began))
        finally:
            del self._asked[question]

    def median(self) -> float:
        """Seconds; 0 where little was asked lately."""
        now = self._clock()
        while self._took and self._took[0][0] < now - _WINDOW:
            self._took.popleft()
        known = [*(took for _, took in self._took), *self._waiting(now)]
        return statistics.median(known) if len(known) >= _FEWEST else 0.0

    def _waiting(self, now: float) -> list[float]:
        """Ages of the oldest questions without an answer: those that count, once they have one."""
        ages = (now - began for _, began in zip(range(_MOST), self._asked.values(), strict=False))
        # One that was asked just now says nothing yet.
        known = statistics.median(took for _, took in self._took) if self._took else 0.0
        return [age for age in ages if age > known]
