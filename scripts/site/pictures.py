"""Pictures made of text (lifelines of `|`, arrows of `-` and `=`, boxes with corners of `+`) as SVG."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape

from scripts.site.diagrams import figure

FENCED = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WIDE, HIGH = 7.8, 17
"""Size of one character."""
_ACROSS = re.compile(r"(?<![-=\w])[<+|]?(?:[-=]{2,}|(?<=<)[-=](?=>))(?:[-=]|\+(?=[-=]))*[>+|]?(?![-=\w])")
_LINE = "|+"
_TIP = ' marker-end="url(#tip)"'
Cell = tuple[int, int]
"""Row and column."""


class Picture:
    """The characters of one, and which of them have become lines."""

    def __init__(self, text: str) -> None:
        self._rows = text.rstrip("\n").split("\n")
        self._drawn: set[Cell] = set()

    @property
    def is_drawn(self) -> bool:
        """Whether it is a picture at all: somewhere a line goes down for three rows."""
        columns = range(max(map(len, self._rows)))
        return any(sum(1 for _ in run) >= 3 for column in columns for run in self._runs(column))

    def _at(self, row: int, column: int) -> str:
        if not 0 <= row < len(self._rows) or not 0 <= column < len(self._rows[row]):
            return " "
        return self._rows[row][column]

    def _runs(self, column: int) -> Iterator[range]:
        """The rows of each line that goes down there; `v` and `^` may end one."""
        rows = [row for row in range(len(self._rows)) if self._goes_down(row, column)]
        while rows:
            end = next((at for at, row in enumerate(rows) if row != rows[0] + at), len(rows))
            if end > 1:
                yield range(rows[0], rows[end - 1] + 1)
            rows = rows[end:]

    def _goes_down(self, row: int, column: int) -> bool:
        here, above, below = (self._at(one, column) for one in (row, row - 1, row + 1))
        if here == "v":
            return above == "|"
        if here == "+":
            return bool({self._at(row, column - 1), self._at(row, column + 1)} & {"-", "="})
        return below in _LINE if here == "^" else here == "|"

    def svg(self) -> str:
        """The whole of it, in the colour of the text around."""
        lines = [*self._across(), *self._down()]
        words = list(self._words())
        texts = [
            f'<text class="w" x="{column * WIDE:g}" y="{row * HIGH + HIGH - 5:g}" textLength="{len(word) * WIDE:g}">'
            f"{escape(word)}</text>"
            for (row, column), word in words
        ]
        width, height = max(map(len, self._rows)) * WIDE, len(self._rows) * HIGH
        return figure("; ".join(word for _, word in words), width, height, [*lines, *texts])

    def _across(self) -> Iterator[str]:
        for number, row in enumerate(self._rows):
            y = number * HIGH + HIGH / 2
            for found in _ACROSS.finditer(row):
                first, last = found[0][0], found[0][-1]
                begin = found.start() * WIDE + self._short(first, number, found.start() - 1)
                end = found.end() * WIDE - self._short(last, number, found.end())
                kind = ' class="d"' if "=" in found[0] else ""
                ways = [(begin, end, ">")] if first != "<" else [(end, begin, "<")]
                if first == "<" and last == ">":
                    ways = [((begin + end) / 2, begin, "<"), ((begin + end) / 2, end, ">")]
                for start, stop, tip in ways:
                    yield f'<path{kind} d="M{start:g} {y:g} H{stop:g}"{_TIP if tip in (first, last) else ""}/>'
                self._drawn |= {(number, column) for column in range(*found.span()) if row[column] != "|"}

    def _short(self, end: str, row: int, beside: int) -> float:
        """How much before the edge of its last character a line ends: in a corner's middle, or at what it points to."""
        if end in _LINE:
            return WIDE / 2
        return -WIDE / 2 if end in "<>" and self._at(row, beside) == "|" else 0.0

    def _down(self) -> Iterator[str]:
        for column in range(max(map(len, self._rows))):
            for run in self._runs(column):
                first, last = self._at(run[0], column), self._at(run[-1], column)
                begin = run[0] * HIGH + (HIGH / 2 if first == "+" else 0)
                end = run[-1] * HIGH + (HIGH / 2 if last == "+" else HIGH)
                x = column * WIDE + WIDE / 2
                if first == "^":
                    begin, end = end, begin
                yield f'<path d="M{x:g} {begin:g} V{end:g}"{_TIP if first == "^" or last == "v" else ""}/>'
                self._drawn |= {(row, column) for row in run}

    def _words(self) -> Iterator[tuple[Cell, str]]:
        """What is left, and where it stands."""
        for number, row in enumerate(self._rows):
            left = "".join(" " if (number, column) in self._drawn else one for column, one in enumerate(row))
            for found in re.finditer(r"\S+(?: \S+)*", left):
                yield (number, found.start()), found[0]


def drawn(markdown: str) -> str:
    """A page with its pictures drawn; other blocks stay as they are."""

    def draw(match: re.Match[str]) -> str:
        picture = Picture(match[2])
        return picture.svg() if not match[1] and picture.is_drawn else match[0]

    return FENCED.sub(draw, markdown)
