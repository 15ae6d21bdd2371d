"""What the caller of a program types, and is shown."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

logger = logging.getLogger("gateway.media.program")


class Reader(Protocol):
    """Who can be shown text: a phone, or a browser by a data channel."""

    def type(self, text: str) -> None: ...


class ProgramText:
    """The text of a program's call; what a caller types ends here (`data.text.TextEnd`)."""

    def __init__(self) -> None:
        self.reader: Reader | None = None
        """The caller; None: it has no text."""
        self._heard: dict[int, Callable[[str], None]] = {}
        self._numbers = 0

    def on_text(self, heard: Callable[[str], None]) -> Callable[[], None]:
        """Have `heard` called with what the caller types; returns what ends that."""
        self._numbers += 1
        number = self._numbers
        self._heard[number] = heard

        def stop() -> None:
            self._heard.pop(number, None)

        return stop

    def type(self, text: str) -> None:
        """The caller has typed this."""
        for heard in tuple(self._heard.values()):
            try:
                heard(text)
            except Exception:
                logger.exception("a program did not take what was typed")

    def show(self, text: str) -> None:
        """Show this to the caller, as soon as may be; nothing where it has no text."""
        if self.reader is not None:
            self.reader.type(text)
