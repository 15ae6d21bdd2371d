"""Text level of RFC 8866: limits, lines and sections, and the grammars of single values.

Reading a description costs a few passes inside the interpreter's C code (replace, split, one regular expression);
single lines are parsed only for a view.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NoReturn, TypeVar

from sdp.errors import SdpLimitError, SdpSyntaxError
from sdp.mending import mend


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of a received description; the defaults fit the largest browser offers."""

    size: int = 65536
    """Bytes of the whole description (UTF-8)."""
    lines: int = 4096
    """Lines of the whole description."""
    line_length: int = 8192
    """Characters of one line, without its end."""
    media: int = 64
    """Media sections (m= lines)."""
    section_lines: int = 1024
    """Lines of one section: the session part or one media section; so also a limit of its attributes."""


T = TypeVar("T")

DEFAULT_LIMITS: Final = Limits()

ADDRESS: Final = "{1,255}"
"""Characters of an address: the longest DNS name."""
_LONGEST_REMEMBERED: Final = 256
_REMEMBERED: Final = 1024
_LINES: Final = re.compile(r"(?:[a-z]=.*+\n)*+")


def decode(text: str | bytes, limits: Limits) -> tuple[str, str]:
    """Return `text` as a string, with the charset of its bytes: "utf-8", or "latin-1" if not valid UTF-8.

    Raise SdpSyntaxError for a too long text or characters without encoding (lone surrogates).
    """
    if len(text) > limits.size:
        raise SdpLimitError(1, 1, f"at most {limits.size} bytes")
    if isinstance(text, bytes):
        try:
            return text.decode(), "utf-8"
        except UnicodeDecodeError:
            return text.decode("latin-1"), "latin-1"
    if not text.isascii():
        try:
            size = len(text.encode())
        except UnicodeEncodeError as error:
            raise _error_at(text, error.start, "a Unicode character, not half of a surrogate pair") from None
        if size > limits.size:
            raise SdpLimitError(1, 1, f"at most {limits.size} bytes")
    return text, "utf-8"


def split_sections(text: str, limits: Limits, *, strict: bool = False) -> tuple[list[list[str]], tuple[int, ...]]:
    """Return the lines of the session part and of each media section, without line ends, and the mended line numbers.

    Lines end with CRLF or LF, even mixed. Trailing empty lines are dropped, without `strict` also NULs and blanks;
    malformed lines are mended or dropped (`mend`). Raise SdpSyntaxError without `v=0`, for malformed lines if `strict`,
    and beyond `limits`.
    """
    mended: tuple[int, ...] = ()
    sections = _split(text.removesuffix("\r\n"), "\r\n")
    plain = "\n".join(["\n".join(lines) for lines in sections]) + "\n"
    if not _are_lines(plain) or plain.count("\n") != sum(map(len, sections)):
        # Lines with other ends than CRLF, trailing empty lines, or no description at all.
        text = text.replace("\r\n", "\n")
        text = text.rstrip("\n") if strict else _without_tail(text)
        plain = text + "\n"
        if not strict and not _are_lines(plain):
            text, mended = mend(text)
            plain = text + "\n"
        if not _are_lines(plain):
            _refuse_lines(plain)
        sections = _split(text, "\n")
    _check_sections(sections, limits, len(plain) > limits.line_length)
    return sections, mended


def has_tail(text: str) -> bool:
    """Return True if NULs or a blank line follow the last line."""
    ended = text.rstrip("\r\n")
    if ended[-1:] not in (" ", "\t", "\0"):
        return False
    plain = ended.replace("\r\n", "\n")
    return len(_without_tail(plain)) < len(plain)


def _without_tail(text: str) -> str:
    """Return the text up to the end of its last line; only line ends, blanks and NULs follow."""
    kept = text.rstrip(" \t\n\0")
    tail = text[len(kept) :]
    ends = [place for place in (tail.find("\n"), tail.find("\0")) if place >= 0]
    return kept + tail[: min(ends, default=len(tail))]


def _split(text: str, end: str) -> list[list[str]]:
    first, *rest = text.split(end + "m=")
    return [first.split(end), *[("m=" + part).split(end) for part in rest]]


def _are_lines(plain: str) -> bool:
    found = plain.startswith("v=0\n") and _LINES.fullmatch(plain) is not None
    return found and "\r" not in plain and "\0" not in plain


def _check_sections(sections: list[list[str]], limits: Limits, looked_at: bool) -> None:
    """Raise for too many lines or sections, and if the text is long enough, for too long lines."""
    if sum(map(len, sections)) > limits.lines:
        raise SdpLimitError(limits.lines + 1, 1, f"at most {limits.lines} lines")
    if len(sections) - 1 > limits.media:
        line = 1 + sum(map(len, sections[: limits.media + 1]))
        raise SdpLimitError(line, 1, f"at most {limits.media} media sections")
    line = 1
    for lines in sections:
        if len(lines) > limits.section_lines:
            raise SdpLimitError(line + limits.section_lines, 1, f"at most {limits.section_lines} lines in a section")
        if looked_at and max(map(len, lines)) > limits.line_length:
            long = next(number for number, text in enumerate(lines) if len(text) > limits.line_length)
            raise SdpLimitError(line + long, limits.line_length + 1, f"at most {limits.line_length} characters")
        line += len(lines)


def _refuse_lines(plain: str) -> NoReturn:
    """Raise for the first malformed line."""
    if not plain.startswith("v=0\n"):
        raise SdpSyntaxError(1, 1, '"v=0"')
    bad = len(plain)
    for character in "\r\0":
        found = plain.find(character)
        bad = found if 0 <= found < bad else bad
    good = _LINES.match(plain)
    end = good.end() if good else 0
    if end >= bad:
        raise _error_at(plain, bad, "a character other than NUL and CR")
    column = 1 if "a" <= plain[end] <= "z" else 0
    raise _error_at(plain, end + column, '"="' if column else "a lower-case type letter")


def _error_at(text: str, position: int, expected: str) -> SdpSyntaxError:
    start = text.rfind("\n", 0, position) + 1
    return SdpSyntaxError(text.count("\n", 0, position) + 1, position - start + 1, expected)


def check_lines(lines: tuple[str, ...], first: str) -> None:
    """Reject lines built by a program that would not parse back as one section (smuggled line ends).

    `first`: required beginning of the section; no other m= line may follow.
    """
    joined = "\n".join(lines) + "\n"
    if _LINES.fullmatch(joined) is None or joined.count("\n") != len(lines) or "\r" in joined or "\0" in joined:
        raise SdpSyntaxError(0, 1, "lines of the form type=value, without line ends")
    if not joined.startswith(first) or "\nm=" in joined:
        raise SdpSyntaxError(0, 1, f"a section that begins with {first.rstrip()} and has no other m= line")


class Grammar:
    """Grammar of one attribute's value: named parts, each a regular expression.

    The value must match all parts joined. For a mismatch, the longest matching run of parts gives the column and the
    expected part.
    """

    __slots__ = ("_fullmatch", "_parts")

    def __init__(self, *parts: tuple[str, str]) -> None:
        self._parts = parts
        self._fullmatch = re.compile("".join(pattern for _, pattern in parts)).fullmatch

    def match(self, value: str) -> re.Match[str]:
        """Return the match of the whole `value`; raise SdpSyntaxError with the column of a mismatch."""
        match = self._fullmatch(value)
        if match is None:
            raise self._error(value)
        return match

    def _error(self, value: str) -> SdpSyntaxError:
        pattern = ""
        column = 1
        for what, part in self._parts:
            pattern += part
            match = re.match(pattern, value)
            if match is None:
                return SdpSyntaxError(0, column, what)
            column = match.end() + 1
        return SdpSyntaxError(0, column, "the end of the line")


def read_tolerantly(parse: Callable[[str], T], value: str) -> T | None:
    """Return the parsed value, if necessary after removing blanks; None if `parse` rejects both forms."""
    for text in dict.fromkeys((value, value.strip(" \t"), " ".join(value.split()))):
        try:
            return parse(text)
        except SdpSyntaxError:
            continue
    return None


def remember(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Cache the last thousand short values, as calls of equal browsers repeat their codec lines.

    Only for lines without secrets, and with frozen values.
    """
    remembered = lru_cache(maxsize=_REMEMBERED)(parse)

    def read(value: str) -> T:
        return remembered(value) if len(value) <= _LONGEST_REMEMBERED else parse(value)

    return read
