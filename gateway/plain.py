"""Text of strangers as people may read it: without characters that move, hide or turn other text."""

from __future__ import annotations

import unicodedata

LONGEST_NAME = 128
"""Characters of a name that are kept."""
_KEPT_FORMATS = "\u200c\u200d"
"""Joiners that Persian, Hindi and emoji are written with."""
_KEPT_IN_TEXTS = "\n\t" + _KEPT_FORMATS + "\u200e\u200f\u061c"
"""Marks of direction affect only their neighbours, so that texts keep them; embeddings and overrides do not."""
_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
"""Categories of Unicode without a shape of their own."""


def plain_name(text: str, longest: int = LONGEST_NAME) -> str:
    """Return a name on one line: no control or bidirectional character, runs of blanks as one, `longest` characters."""
    if not text.isprintable():
        kept = (char if _is_shown(char, _KEPT_FORMATS) else " " if char.isspace() else "" for char in text)
        text = " ".join("".join(kept).split())
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "\u2026"


def plain_text(text: str) -> str:
    """Return a text of many lines without control and bidirectional characters; line ends are LF."""
    if text.isprintable():
        return text
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n")
    return "".join(char for char in lines if _is_shown(char, _KEPT_IN_TEXTS))


def escaped(text: str) -> str:
    """Return a text for diagnosis: hidden characters as "\\u202e", line ends and tabs as they are."""
    if text.isprintable():
        return text
    return "".join(char if _is_shown(char, "\r\n\t") else _escape(char) for char in text)


def is_hidden(char: str) -> bool:
    """Return whether a character has no shape of its own, and may move, hide or turn others."""
    return unicodedata.category(char) in _HIDDEN


def _escape(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"


def _is_shown(char: str, kept: str) -> bool:
    return char in kept or not is_hidden(char)
