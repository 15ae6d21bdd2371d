"""Lines that no call needs and no strict reader takes: mended or left out, so that the others can be read."""

from __future__ import annotations

import re
from typing import Final

_LINE: Final = re.compile(r"[a-z]=")
_MEDIA: Final = re.compile(r"m[ \t]*(?:[= \t]|$)", re.IGNORECASE)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_BLANKS: Final = " \t"
_BEFORE: Final = _BLANKS + "\ufeff"


def mend(text: str) -> tuple[str, tuple[int, ...]]:
    """Return the lines that can be read, and the numbers of the lines mended or left out.

    Blanks before a line, CRs after it, empty lines, lines without `=` and optional lines with control octets go; `M=`
    becomes `m=`.
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
    """The line as it can be read; None where it says nothing."""
    text = line.rstrip("\r").lstrip(_BEFORE)
    if is_first:
        return text.rstrip(_BLANKS) or None
    if _LINE.match(text) is None:
        if text.startswith("M="):
            return "m" + text[1:]
        return text if _MEDIA.match(text) else None
    if _CONTROL.search(text) is None:
        return text
    return None if text[0] in "ab" else _CONTROL.sub("\ufffd", text)
