"""Text of several people in one stream, as each of them reads it: line by line, with who wrote it (RFC 9071, 4.2)."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from gateway.media.embedded.data.t140 import BYTE_ORDER_MARK, MISSING

NEW_LINE = "\u2028"
PAUSE = 5.0
"""Seconds without a character after which somebody else's line may begin in the middle of one."""
MOST_WAITING = 2000
"""Characters of one person that wait for a line of another; where there are more stands one MISSING."""
LONGEST_LINE = 500
"""Characters after which a line ends, so that nobody writes for ever while others wait."""
LONGEST_TURN = 30.0
"""Seconds after which it ends while others wait, whatever is typed and erased in it."""
MOST_CPS, MOST_AT_ONCE = 500, 2000
"""Characters a second that all others are shown, with the names before them, and as many at once after a pause: each
of them is told to as many as there are."""
_LONGEST_NAME = 64
_BREAKS = frozenset("\r\n\u2028\u2029\x85\x0b\x0c")
_ERASE = "\b"
_WRITTEN = frozenset("\u00a0\u202f\u3000\u200c\u200d")
"""What scripts and emoji need of what is not printable to Python: spaces and joiners."""


@dataclass(slots=True, eq=False)
class _Writer:
    """Somebody who types."""

    name: str
    waiting: str = ""
    was_return: bool = False
    """Whether its last character was CR, of which LF is a part."""

    def add(self, text: str) -> None:
        for character in text:
            is_part = character == "\n" and self.was_return
            self.was_return = character == "\r"
            if is_part or character == BYTE_ORDER_MARK:
                continue
            if character in _BREAKS:
                character = NEW_LINE
            elif character == "\t":
                character = " "  # who shows no control characters would erase what stands before it instead
            elif character != _ERASE and not character.isprintable() and character not in _WRITTEN:
                continue
            if len(self.waiting) < MOST_WAITING:
                self.waiting += character
            elif not self.waiting.endswith(MISSING):
                self.waiting += MISSING


class TextMix:
    """Who has the line, and who waits for it. Sans-IO, times in seconds."""

    def __init__(self) -> None:
        self._writers: dict[Hashable, _Writer] = {}
        """Those who have the line or wait for it, in their order."""
        self._line: Hashable | None = None
        """Whose line it is."""
        self._length = 0
        """Of the line, in characters."""
        self._begun_at = self._typed_at = 0.0
        self._may_show, self._taken_at = float(MOST_AT_ONCE), 0.0
        """Characters that may be shown now, and when they were counted."""

    def typed(self, writer: Hashable, name: str, text: str) -> None:
        """Somebody has typed; `name` is shown to the others."""
        known = self._writers.get(writer)
        if known is None:
            shown = "".join([each for each in name if each.isprintable()])[:_LONGEST_NAME]
            known = self._writers[writer] = _Writer(shown)
        known.add(text)

    def take(self, now: float) -> list[tuple[Hashable, str]]:
        """What all others are to read now, with who wrote it."""
        made: list[tuple[Hashable, str]] = []
        gained = max(0.0, now - self._taken_at) * MOST_CPS
        self._may_show, self._taken_at = min(MOST_AT_ONCE, self._may_show + gained), now
        while self._writers and self._may_show >= 1:
            if self._line is None:
                self._begin(made)
                self._begun_at = self._typed_at = now
            elif len(self._writers) > 1 and now - self._begun_at >= LONGEST_TURN:
                self._end(made)
            elif (writer := self._writers[self._line]).waiting:
                self._typed_at = now
                self._continue(writer, made)
            elif len(self._writers) > 1 and now - self._typed_at >= PAUSE:
                self._end(made)
            else:
                break
        return made

    def left(self, writer: Hashable) -> None:
        """Somebody is gone; what it typed last is read all the same."""
        if writer in self._writers:
            self._writers[writer].add(NEW_LINE)

    def removed(self, writer: Hashable) -> None:
        """Somebody was sent away: what nobody has read yet of it is read by nobody, and its line ends."""
        if writer == self._line:
            self._writers[writer].waiting = NEW_LINE
        else:
            self._writers.pop(writer, None)

    def _begin(self, made: list[tuple[Hashable, str]]) -> None:
        """The line of who has waited longest."""
        first, writer = next(iter(self._writers.items()))
        writer.waiting = writer.waiting.lstrip(_ERASE + NEW_LINE)
        if not writer.waiting:
            del self._writers[first]
            return
        self._line, self._length = first, 0
        self._show(first, f"[{writer.name}] ", made)

    def _continue(self, writer: _Writer, made: list[tuple[Hashable, str]]) -> None:
        """As much of the line as there is; erased is what belongs to it alone."""
        line, said = self._line, ""
        most = int(self._may_show)
        for place, character in enumerate(writer.waiting[:most]):
            if character == NEW_LINE or self._length >= LONGEST_LINE:
                writer.waiting = writer.waiting[place + (character == NEW_LINE) :]
                self._show(line, said, made)
                self._end(made)
                return
            if character != _ERASE:
                self._length += 1
            elif self._length:
                self._length -= 1
            else:
                continue
            said += character
        writer.waiting = writer.waiting[most:]
        self._show(line, said, made)

    def _end(self, made: list[tuple[Hashable, str]]) -> None:
        """Whose line it was waits behind all others, if it has more."""
        line, self._line = self._line, None
        self._show(line, NEW_LINE, made)
        writer = self._writers.pop(line)
        if writer.waiting:
            self._writers[line] = writer

    def _show(self, writer: Hashable, text: str, made: list[tuple[Hashable, str]]) -> None:
        self._may_show -= len(text)
        if text:
            made.append((writer, text))
