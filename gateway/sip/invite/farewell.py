"""Ending a call on behalf of another process, with reports on progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


class Farewell:
    """Callbacks of a call end performed for another process."""

    def __init__(self, answered: Callable[[], None], changed: Callable[[Mapping[str, Any], bool], None]) -> None:
        """`answered`: called once, after the peer answered or can no longer answer.

        `changed(values, keeps_previous)`: called before a message leaves that changes the resumption values.
        `keeps_previous` is True while several branches have answered and more than one BYE is open.
        """
        self._answered: Callable[[], None] | None = answered
        self.changed = changed

    def answered(self) -> None:
        """Report, once, that the peer answered or can no longer answer."""
        answered, self._answered = self._answered, None
        if answered is not None:
            answered()
