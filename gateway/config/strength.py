"""Strength of passwords: the length, where names and runs count as one character, known words as two."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from importlib import resources

ENOUGH = 8.0
"""Characters required of a password; in a row of digits each after the first counts half."""
_SHORTEST, _LONGEST = 3, 16
"""Length of names, words and runs to look for."""
_MOST = 256
"""Characters examined."""
_WORD = 2.0
"""Characters that a known word counts as."""
_SPELLED = str.maketrans("013457@$!", "oleastasi")
"""Digits and signs used in place of letters."""
_ROWS = ("qwertzuiop", "qwertyuiop", "asdfghjkl", "yxcvbnm", "zxcvbnm", "01234567890", "abcdefghijklmnopqrstuvwxyz")

ADVICE = '12 letters and digits by chance are hard to guess; "auto" makes a password'


def weakness(password: str, names: Iterable[str] = ()) -> str | None:
    """Return why a password is easily guessed, as a predicate; None for a strong password.

    `names`: words that a guesser tries first, such as the user's own names.
    """
    own = frozenset(_spelled(name) for name in names if len(name) >= _SHORTEST)
    if _spelled(password) in own:
        return "is the user's own name"
    if password.casefold() in _common():
        return "is among the passwords that are tried first"
    if points(password, own) < ENOUGH:
        return "is easily guessed: it is short, where names, known words and runs count as one character or two"
    return None


def points(password: str, own: frozenset[str] = frozenset()) -> float:
    """Return the counted characters of a password, up to the required number."""
    plain, spelled = password[:_MOST].casefold(), _spelled(password[:_MOST])
    bound = min(ENOUGH, 2.0 * len(set(plain)))
    total, at = 0.0, 0
    while at < len(plain) and total < bound:
        length, counts = max(_parts(plain, spelled, at, own))
        total += counts
        at += length
    return min(total, bound)


def _parts(plain: str, spelled: str, at: int, own: frozenset[str]) -> Iterator[tuple[int, float]]:
    """Yield possible parts at `at`: length, and the number of characters counted."""
    follows = at > 0 and plain[at - 1].isdigit() and plain[at].isdigit()
    yield 1, 0.5 if follows else 1.0
    yield max(_word(plain, at, _common()), _word(spelled, at, _common())), _WORD
    yield max(_word(spelled, at, own), _word(plain, at, _runs()), _same(plain, at)), 1.0


def _spelled(text: str) -> str:
    return text.casefold().translate(_SPELLED)


def _word(text: str, at: int, known: frozenset[str]) -> int:
    """Return the length of the longest word at a position; 0 for none."""
    longest = range(min(_LONGEST, len(text) - at), _SHORTEST - 1, -1)
    return next((length for length in longest if text[at : at + length] in known), 0)


def _same(text: str, at: int) -> int:
    """Return the number of repetitions of a character at `at`; 0 for fewer than three."""
    length = len(text) - at - len(text[at:].lstrip(text[at]))
    return length if length >= _SHORTEST else 0


@cache
def _runs() -> frozenset[str]:
    """Return neighbours in the alphabet, among the digits or on a keyboard, both ways."""
    both = (way for row in _ROWS for way in (row, row[::-1]))
    return frozenset(
        way[first:last] for way in both for first in range(len(way)) for last in range(first + _SHORTEST, len(way) + 1)
    )


@cache
def _common() -> frozenset[str]:
    lines = (resources.files("gateway.config") / "common_passwords.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if not line.startswith("#"))
