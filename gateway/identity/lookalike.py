"""Visually confusable names: names with equal skeletons look alike (Unicode UTS 39, section 4)."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache

from gateway.identity.model import fold

_MOST_SEEN = 512
"""Characters of one class of lookalikes visited at most."""


def skeleton(name: str) -> str:
    """Return letters and digits of a name, each replaced by the first of its lookalikes; case is ignored."""
    shown = unicodedata.normalize("NFD", fold(name))
    bare = "".join(char for char in shown if char.isalnum())
    for pair, single in _pairs().items():
        bare = bare.replace(pair, single)
    return "".join(map(_first_alike, bare))


def words_of(name: str) -> Iterable[str]:
    """Yield skeletons of the words in a name, with and without leading and trailing digits; then of the whole name."""
    for word in "".join(char if char.isalnum() else " " for char in fold(name)).split():
        bare = word.strip("0123456789")
        yield skeleton(word)
        if bare:
            yield skeleton(bare)
    yield skeleton(name)


@lru_cache(4096)
def _first_alike(char: str) -> str:
    seen, waiting = {char}, [char]
    while waiting and len(seen) < _MOST_SEEN:
        char = waiting.pop()
        new = {other for other in (*_alike(char), char.upper(), char.lower()) if len(other) == 1} - seen
        seen |= new
        waiting += new
    return min(seen, key=lambda one: (not (one.isascii() and one.isalnum()), one))


@cache
def _pairs() -> dict[str, str]:
    """Return letters that look like a pair of letters, e.g. "m" for "rn"."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    return {
        pair: one for one in letters for pair in _alike(one) if len(pair) == 2 and pair.isascii() and pair.isalpha()
    }


def _alike(char: str) -> list[str]:
    # The table takes a megabyte, needed only for guests.
    from confusable_homoglyphs.confusables import is_confusable

    found = is_confusable(char, greedy=True)
    return [alike["c"] for alike in found[0]["homoglyphs"]] if found else []
