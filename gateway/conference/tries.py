"""Wrong PINs of a room: each caller, and all strangers together, wait longer after each further one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

WRONG_PINS, PENALTY = 10, 60.0
"""Wrong PINs of one caller at a room before its first wait, and seconds of that wait; each further one doubles it."""
WRONG_OF_ALL, FORGIVEN = 100, 36.0
"""Wrong PINs of all strangers together before their first wait, and its seconds."""
LONGEST = 3_600.0
_REMEMBERED = 1_000


class PinTries:
    """Counts of wrong PINs by room and caller, bounded; one is forgiven each `longest` seconds.

    A 4-digit PIN bears 24 guesses a day of all strangers, once the first 107 are made.
    """

    def __init__(self, clock: Callable[[], float], longest: float = LONGEST) -> None:
        """`longest`: longest wait, in seconds."""
        self._clock = clock
        self._longest = longest
        self._of_caller: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Wrong PINs not yet forgiven, and the time of the last."""
        self._of_all: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """The same of all strangers, by room."""
        self._known: OrderedDict[str, None] = OrderedDict()
        """Strangers whose source has entered the right PIN: others' guesses do not bar them."""

    def barred(self, room: str, caller: str, *, is_user: bool) -> bool:
        """Return True while no PIN may be tried; a user and a known stranger only wait for their own wrong PINs."""
        key = f"{room} {caller}"
        if self._waits(self._of_caller.get(key), WRONG_PINS, PENALTY):
            return True
        return not is_user and key not in self._known and self._waits(self._of_all.get(room), WRONG_OF_ALL, FORGIVEN)

    def count(self, room: str, caller: str, *, is_user: bool) -> None:
        """Count a wrong PIN."""
        self._add(self._of_caller, f"{room} {caller}")
        if not is_user:
            self._add(self._of_all, room)

    def was_right(self, room: str, caller: str, *, is_user: bool, is_sure: bool) -> None:
        """Take back the last count; `is_sure`: nobody else can take the caller's name."""
        key = f"{room} {caller}"
        self._of_caller.pop(key, None)
        if not is_user and room in self._of_all:
            wrong, last = self._of_all[room]
            self._of_all[room] = (max(0.0, wrong - 1), last)
        if is_sure:
            self._known[key] = None
            self._known.move_to_end(key)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)

    def _waits(self, counted: tuple[float, float] | None, free: int, first: float) -> bool:
        wrong, last = counted or (0.0, 0.0)
        if wrong <= free - 1:
            return False
        return self._clock() - last < min(first * 2 ** max(0.0, min(wrong - free, 32.0)), self._longest)

    def _add(self, counts: OrderedDict[str, tuple[float, float]], key: str) -> None:
        now = self._clock()
        wrong, last = counts.pop(key, (0.0, now))
        counts[key] = max(0.0, wrong - (now - last) / self._longest) + 1, now
        if len(counts) > _REMEMBERED:
            counts.popitem(last=False)
