"""What was typed for somebody who cannot be told it yet."""

from __future__ import annotations

from gateway.media.embedded.data.t140 import MISSING


class WaitingText:
    """So many characters at most; where there were more stands one MISSING, and they are `dropped`."""

    def __init__(self, most: int) -> None:
        self.dropped = 0
        self._most = most
        self._text = ""

    def __bool__(self) -> bool:
        return bool(self._text)

    def add(self, text: str) -> None:
        """Have it wait behind what does."""
        room = max(0, self._most - len(self._text))
        self._text += text[:room]
        if len(text) > room:
            self.dropped += len(text) - room
            if not self._text.endswith(MISSING):
                self._text += MISSING

    def put_back(self, text: str) -> None:
        """Have it wait before what does: it was taken, and not told."""
        later, self._text = self._text, ""
        self.add(text)
        self.add(later)

    def take(self, most: int | None = None) -> str:
        """So many characters of it, None: all."""
        taken = self._text[:most]
        self._text = self._text[len(taken) :]
        return taken
