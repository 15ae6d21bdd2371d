"""The values of a section's lines by name, found once for all views.

Most of a browser's lines say what its payload types mean, and every call of one browser brings the same
ones: their part of the index is remembered, so that a call pays for what is its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

Index = dict[str, list[str]]
"""By "a=name" what stands after each colon ("" where there is none), by other "type=" what stands after it."""

_FEW: Final = 12
"""Lines that are read as fast as looked up."""
_REMEMBERED: Final = 128
_LONGEST_REMEMBERED: Final = 8192
"""Characters; longer runs are read anew each time, so that strangers cannot fill memory."""
_OF_CODECS: Final = ("\na=rtpmap:", "\na=fmtp:", "\na=rtcp-fb:")
_CODEC_NAMES: Final = frozenset(prefix[1:-1] for prefix in _OF_CODECS)

_known: dict[str, tuple[Index, int]] = {}
"""Runs of codec lines, and so of nothing secret: their index and how many lines they are."""


def index_lines(lines: tuple[str, ...]) -> Index:
    """The index of one section."""
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
    """Remember a run from the first to the last codec line; None where other lines stand between or it is long."""
    lines = run.split("\n")
    index = read_lines(lines)
    if len(run) > _LONGEST_REMEMBERED or not index.keys() <= _CODEC_NAMES:
        return None
    if len(_known) >= _REMEMBERED:
        del _known[next(iter(_known))]
    _known[run] = index, len(lines)
    return _known[run]


def read_lines(lines: Iterable[str]) -> Index:
    """The index of these lines, each of them looked at."""
    found: Index = {}
    for line in lines:
        if line < "b":  # an attribute
            name, _, value = line.partition(":")
        else:
            name, value = line[:2], line[2:]
        if name in found:
            found[name].append(value)
        else:
            found[name] = [value]
    return found
