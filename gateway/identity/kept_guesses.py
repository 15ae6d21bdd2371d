"""Counts of wrong passwords in a file: a restart, however sudden, gives a guesser no further tries."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.files import LatestFile

logger = logging.getLogger(__name__)

_VERSION = 1
_PAUSE = 1.0
"""Seconds between two writes: a flood of guesses costs one write a second, and a kill what the last second counted."""


@dataclass(frozen=True, slots=True)
class Count:
    """Wrong passwords for a user, from a source, or both; "" stands for any."""

    user: str
    source: str
    wrong: int
    last: float
    """Time of the last one, on the clock of the counts."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Counts, and the sources that each user has signed in from, the latest last."""

    counts: tuple[Count, ...] = ()
    sources: Mapping[str, tuple[str, ...]] | None = None


class GuessFile:
    """File of counts, with times of the wall clock: sources and names of users, no password."""

    def __init__(self, path: Path, clock: Callable[[], float], wall_clock: Callable[[], float]) -> None:
        """`clock` is the clock of the counts; `wall_clock` gives Unix seconds."""
        self._path = path
        self._clock = clock
        self._wall_clock = wall_clock
        self._file: LatestFile | None = None

    def read(self) -> Counted:
        """Return the counts of the previous process; none from a file that is absent or cannot be read."""
        try:
            values = json.loads(self._path.read_text(encoding="utf-8"))
            if values["version"] != _VERSION:
                raise ValueError("another version")
            counts = tuple(self._counts(values["counts"]))
            sources = {str(user): tuple(map(str, places)) for user, places in values["sources"].items()}
        except FileNotFoundError:
            return Counted()
        except (OSError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
            logger.warning("the wrong passwords counted before cannot be read from %s", self._path.name)
            return Counted()
        return Counted(counts, sources)

    def begin(self, counted: Callable[[], Counted]) -> None:
        """Have the file hold what `counted` gives after each change."""
        self._file = LatestFile(self._path, lambda: self._text(counted()), pause=_PAUSE)

    def changed(self) -> None:
        """Write the file soon."""
        if self._file is not None:
            self._file.changed()

    async def written(self) -> None:
        """Wait until the latest change is in the file."""
        if self._file is not None:
            await self._file.written()

    def _counts(self, rows: list[Any]) -> Iterator[Count]:
        now, wall = self._clock(), self._wall_clock()
        for user, source, wrong, at in rows:
            if not (isinstance(wrong, int) and wrong > 0 and math.isfinite(at)):
                raise ValueError("no count")
            yield Count(str(user), str(source), wrong, now - max(wall - at, 0.0))

    def _text(self, counted: Counted) -> str:
        now, wall = self._clock(), self._wall_clock()
        rows = [(one.user, one.source, one.wrong, round(wall - (now - one.last), 1)) for one in counted.counts]
        values = {"version": _VERSION, "counts": rows, "sources": counted.sources}
        return json.dumps(values, separators=(",", ":"))
