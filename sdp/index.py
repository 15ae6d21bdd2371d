"""Index of a section's line values by name, built once for all views.

Most lines of a browser define payload types, and calls of equal browsers repeat these lines: their part of the index is
cached, so that a call pays only for its own lines.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

Index = dict[str, list[str]]
"""Values by key: after each colon for "a=name" ("" without colon), after the letter for other "type="."""

_FEW: Final = 12
"""Lines up to which indexing is as fast as a look-up."""
_REMEMBERED: Final = 128
_LONGEST_REMEMBERED: Final = 8192
"""Characters; longer runs are never cached, so that strangers cannot fill memory."""
_OF_CODECS: Final = ("\na=rtpmap:", "\na=fmtp:", "\na=rtcp-fb:")
_CODEC_NAMES: Final = frozenset(prefix[1:-1] for prefix in _OF_CODECS)

_known: dict[str, tuple[Index, int]] = {}
"""Runs of codec lines, free of secrets, with their index and number of lines."""


def index_lines(lines: tuple[str, ...]) -> Index:
    """Return the index of one section."""
    if len(lines) <= _FEW:
        return read_lines(lines)
    text = "\n".join(lines)
    start = text.find(_OF_CODECS[0]) + 1
    if not start:
        return read_lines(lines)
    end = text.find("\n", max([text.rfind(prefix) for prefix in _OF_CODECS]) + 1)
    run = text[start:end] if end >= 0 else text[start:]
    known = _known.get(run) or _learn(run)
    if known is None:
        return read_lines(lines)
    first = text.count("\n", 0, start)
    index = read_lines(lines[:first] + lines[first + known[1] :])
    index.update(known[0])
    return index


def _learn(run: str) -> tuple[Index, int] | None:
    """Cache a run from the first to the last codec line; None for a long run or with other lines in between."""
    lines = run.split("\n")
    index = read_lines(lines)
    if len(run) > _LONGEST_REMEMBERED or not index.keys() <= _CODEC_NAMES:
        return None
    if len(_known) >= _REMEMBERED:
        del _known[next(iter(_known))]
    _known[run] = index, len(lines)
    return _known[run]


def read_lines(lines: Iterable[str]) -> Index:
    """Return the index of the lines, parsing each line."""
    found: Index = {}
    for line in lines:
        if line < "b":  # an attribute line
            name, _, value = line.partition(":")
        else:
            name, value = line[:2], line[2:]
        if name in found:
            found[name].append(value)
        else:
            found[name] = [value]
    return found
