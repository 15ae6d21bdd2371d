"""Repair or removal of malformed but unnecessary lines, so that the rest can be parsed."""

from __future__ import annotations

import re
from typing import Final

_LINE: Final = re.compile(r"[a-z]=")
_MEDIA: Final = re.compile(r"m[ \t]*(?:[= \t][ \t]*|$)", re.IGNORECASE)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_BLANKS: Final = " \t"
_BEFORE: Final = _BLANKS + "\ufeff"


def mend(text: str) -> tuple[str, tuple[int, ...]]:
    """Return the readable lines, and the numbers of lines mended or dropped.

    Dropped: leading blanks, trailing CRs, empty lines, lines without `=`, optional lines with control octets. In other
    lines control octets become U+FFFD; `M=`, `m =` and `m` become `m=`.
    """
    kept: list[str] = []
    mended: list[int] = []
    for number, line in enumerate(text.split("\n"), 1):
        found = _mended(line, is_first=not kept)
        if found is not None:
            kept.append(found)
        if found != line:
            mended.append(number)
    return "\n".join(kept), tuple(mended)


def _mended(line: str, is_first: bool) -> str | None:
    """Return the readable form of a line; None to drop the line."""
    text = line.rstrip("\r").lstrip(_BEFORE)
    if is_first:
        return text.rstrip(_BLANKS) or None
    if _LINE.match(text) is None:
        return "m=" + text[found.end() :] if (found := _MEDIA.match(text)) else None
    if _CONTROL.search(text) is None:
        return text
    return None if text[0] in "ab" else _CONTROL.sub("\ufffd", text)
