"""A goodbye that is said for another process, as whoever wants it said hears of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


class Farewell:
    """What becomes of a goodbye that is said for another process."""

    def __init__(self, answered: Callable[[], None], changed: Callable[[Mapping[str, Any], bool], None]) -> None:
        """`answered` is called once, when the peer has answered, or nobody does.

        `changed` gets the values by which a third process would say it, before a message leaves that needs them, and
        whether those of before stand beside them: several have answered, and more than one is still to be told.
        """
        self._answered: Callable[[], None] | None = answered
        self.changed = changed

    def answered(self) -> None:
        """The peer has answered, or nobody does."""
        answered, self._answered = self._answered, None
        if answered is not None:
            answered()
