"""Bencoding, the encoding of rtpengine's ng protocol: integers, byte strings, lists, dictionaries.

Byte strings are `str` here, UTF-8 with whatever is not UTF-8 kept as surrogates, so that any
description goes through unchanged. rtpengine does not sort keys, so their order is not checked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Value = int | str | list["Value"] | dict[str, "Value"]
"""What `decode` gives."""
Encodable = int | str | Sequence["Encodable"] | Mapping[str, "Encodable"]
"""What `encode` takes."""

_INTEGER = re.compile(rb"i(0|-?[1-9][0-9]{0,19})e")
_LENGTH = re.compile(rb"(0|[1-9][0-9]{0,8}):")


class BencodeError(ValueError):
    """Bytes that are not what they should be; the text says what and at which byte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one value may be at most."""

    size: int = 65_535
    """Bytes in all."""
    depth: int = 16
    """Lists and dictionaries inside each other."""
    values: int = 20_000
    """Integers, strings, lists and dictionaries together."""


DEFAULT_LIMITS = Limits()


def encode(value: Encodable) -> bytes:
    """The bytes of `value`; dictionary keys stay in their order."""
    parts: list[bytes] = []
    _encode(value, parts)
    return b"".join(parts)


def _encode(value: Encodable, parts: list[bytes]) -> None:
    if isinstance(value, int):
        parts.append(b"i%de" % value)
    elif isinstance(value, str):
        data = value.encode("utf-8", "surrogateescape")
        parts.append(b"%d:%b" % (len(data), data))
    elif isinstance(value, Mapping):
        parts.append(b"d")
        for key, item in value.items():
            _encode(key, parts)
            _encode(item, parts)
        parts.append(b"e")
    else:
        parts.append(b"l")
        for item in value:
            _encode(item, parts)
        parts.append(b"e")


def decode(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Value:
    """The one value that `data` is; raises BencodeError for anything else, and past a limit."""
    if len(data) > limits.size:
        raise BencodeError(f"more than {limits.size} bytes")
    reader = _Reader(data, limits)
    value = reader.value(0)
    if reader.place != len(data):
        raise BencodeError(f"something after the end, at byte {reader.place}")
    return value


class _Reader:
    """A place in the bytes, and how many values were read so far."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        self.place = 0
        self._data = data
        self._limits = limits
        self._left = limits.values

    def value(self, depth: int) -> Value:
        self._left -= 1
        if self._left < 0:
            raise BencodeError(f"more than {self._limits.values} values")
        first = self._data[self.place : self.place + 1]
        if first == b"i":
            return self._integer()
        if first in (b"l", b"d"):
            if depth >= self._limits.depth:
                raise BencodeError(f"more than {self._limits.depth} levels, at byte {self.place}")
            self.place += 1
            return self._list(depth + 1) if first == b"l" else self._dictionary(depth + 1)
        return self._string()

    def _integer(self) -> int:
        found = _INTEGER.match(self._data, self.place)
        if found is None:
            raise BencodeError(f"not an integer, at byte {self.place}")
        self.place = found.end()
        return int(found[1])

    def _string(self) -> str:
        found = _LENGTH.match(self._data, self.place)
        if found is None:
            raise BencodeError(f"not a value, at byte {self.place}")
        start, length = found.end(), int(found[1])
        if start + length > len(self._data):
            raise BencodeError(f"a string longer than what is there, at byte {self.place}")
        self.place = start + length
        return self._data[start : self.place].decode("utf-8", "surrogateescape")

    def _ends(self) -> bool:
        if self._data[self.place : self.place + 1] != b"e":
            return False
        self.place += 1
        return True

    def _list(self, depth: int) -> list[Value]:
        items: list[Value] = []
        while not self._ends():
            items.append(self.value(depth))
        return items

    def _dictionary(self, depth: int) -> dict[str, Value]:
        items: dict[str, Value] = {}
        while not self._ends():
            start = self.place
            key = self._string()
            if key in items:
                raise BencodeError(f"a key twice, at byte {start}")
            items[key] = self.value(depth)
        return items
