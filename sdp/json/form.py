"""Conversion of a description to plain dictionaries in the form of the sdp-transform family, and back.

The form keeps known lines, and every other attribute as text (under "invalid"). Lost are the order of lines,
unknown line types, k=, and all but the last of c=, r= and most attributes. Lines misread by sdp-transform
(Python 1.1.0) are parsed correctly:

- numbers: only text equal to the written number becomes a number, so that an ICE password 0042,
  a phone number +1 or a session name 1_0 stays text;
- `tcptype` of candidates, misspelt in sdp-transform's table, and the fields after `tcptype`;
- attributes match by the whole name, so `rtcp-mux-only` is no `rtcp-mux`;
- `m=audio 49170/2 ...` gives type, port, protocol and payloads, and `numPorts` 2, instead of nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from sdp.errors import SdpSyntaxError
from sdp.json.shape import ATTRIBUTE_ROWS, LINES, MEDIA_ORDER, SESSION_ORDER, Piece, Row

Json = dict[str, Any]

_DIRECTIONS: Final = ("sendrecv", "recvonly", "sendonly", "inactive")
_INVALID: Final = "invalid"
_MOST_DIGITS: Final = 400
_LARGEST: Final = 10**_MOST_DIGITS


class _Codec:
    """Row of the table, compiled for reading and writing."""

    __slots__ = ("fields", "match", "name", "pieces", "row")

    def __init__(self, name: str, row: Row) -> None:
        self.name = name.partition(" ")[0]
        self.row = row
        self.match = row.pattern().match
        self.fields = row.fields()
        self.pieces = row.pieces()

    def read(self, value: str, target: Json) -> bool:
        """Store the value in `target`; return False if the value does not match the row."""
        match = self.match(value)
        if match is None:
            return False
        found = {key: _number(text) for key, text in zip(self.fields, match.groups(), strict=True) if text is not None}
        row = self.row
        if row.single:
            target[row.key] = found[self.fields[0]] if self.fields else self.name
        elif row.many:
            target.setdefault(row.key, []).append(found)
        elif row.key:
            target.setdefault(row.key, {}).update(found)
        else:
            target.update(found)
        return True

    def write(self, source: Mapping[str, Any], path: str) -> Iterable[str]:
        """Yield the wire values held by `source` for the row."""
        row = self.row
        if not row.key:
            yield self._value(source, path.rstrip("."))
            return
        found = source.get(row.key)
        if found is None or row.read_only:
            return
        path = f"{path}{row.key}"
        if row.single:
            yield _text(found, path) if self.fields else ""
        elif row.many:
            for number, element in enumerate(_list(found, path)):
                yield self._value(_mapping(element, f"{path}[{number}]"), f"{path}[{number}]")
        else:
            yield self._value(_mapping(found, path), path)

    def _value(self, source: Mapping[str, Any], path: str) -> str:
        return _write(self.pieces, source, path)


_LINE_CODECS: Final = {letter: _Codec(letter, row) for letter, row in LINES.items()}
_ATTRIBUTE_CODECS: Final[dict[str, list[_Codec]]] = {}
for _name, _row in ATTRIBUTE_ROWS.items():
    _codec = _Codec(_name, _row)
    _ATTRIBUTE_CODECS.setdefault(_codec.name, []).append(_codec)

_CANONICAL: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def _number(text: str) -> str | int | float:
    """Return a number if its own text equals `text`; otherwise `text`."""
    match = _CANONICAL.fullmatch(text)
    if match is None or len(text) > _MOST_DIGITS:
        return text
    number = float(text) if match[1] else int(text)
    return number if str(number) == text else text


def section_to_dict(lines: Iterable[str], target: Json) -> Json:
    """Read the lines of one section into `target` and return `target`."""
    for line in lines:
        letter, value = line[0], line[2:]
        if letter == "a":
            _read_attribute(value, target)
        elif letter in _LINE_CODECS:
            _LINE_CODECS[letter].read(value, target)
    return target


def _read_attribute(text: str, target: Json) -> None:
    name, _, value = text.partition(":")
    if name in _DIRECTIONS:
        target["direction"] = name
        return
    for codec in _ATTRIBUTE_CODECS.get(name, ()):
        if codec.read(value, target):
            return
    target.setdefault(_INVALID, []).append({"value": _number(text)})


def to_dict(session: Iterable[str], media: Iterable[Iterable[str]]) -> Json:
    """Return the dictionary of a description's session lines and media sections."""
    found = section_to_dict(session, {})
    found["media"] = [section_to_dict(lines, {"rtp": [], "fmtp": []}) for lines in media]
    return found


def from_dict(data: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return the session lines and media section lines of a dictionary.

    Unknown keys are ignored. Raise SdpSyntaxError (line 0) naming the key for a wrong type or a missing value.
    """
    _mapping(data, "the description")
    session = {"version": 0, "name": "-", **{key: value for key, value in data.items() if value is not None}}
    lines = list(_section_lines(session, SESSION_ORDER, ""))
    media = []
    for number, section in enumerate(_list(data.get("media") or [], "media")):
        path = f"media[{number}]"
        media.append(list(_section_lines(_mapping(section, path), MEDIA_ORDER, path + ".")))
    return lines, media


def _section_lines(source: Mapping[str, Any], order: Iterable[str], path: str) -> Iterable[str]:
    for letter in order:
        for value in _LINE_CODECS[letter].write(source, path):
            yield f"{letter}={value}"
    for codecs in _ATTRIBUTE_CODECS.values():
        for codec in codecs:
            for value in codec.write(source, path):
                yield f"a={codec.name}:{value}" if codec.fields else f"a={codec.name}"
    direction = source.get("direction")
    if direction is not None:
        if direction not in _DIRECTIONS:
            raise SdpSyntaxError(0, 1, f"a direction at {path}direction")
        yield f"a={direction}"
    for number, element in enumerate(_list(source.get(_INVALID) or [], path + _INVALID)):
        where = f"{path}{_INVALID}[{number}]"
        yield f"a={_text(_mapping(element, where).get('value'), where)}"


def _write(pieces: list[Piece], source: Mapping[str, Any], path: str) -> str:
    parts = []
    for piece in pieces:
        if isinstance(piece, str):
            parts.append(piece)
        elif isinstance(piece, tuple):
            parts.append(_text(source.get(piece[0]), f"{path}.{piece[0]}"))
        elif _present(piece, source):
            parts.append(_write(piece, source, path))
    return "".join(parts)


def _present(pieces: list[Piece], source: Mapping[str, Any]) -> bool:
    """Return True if an optional run must be written: literal text always, else with a field present."""
    fields = [piece[0] for piece in pieces if isinstance(piece, tuple)]
    return not fields or any(source.get(key) is not None for key in fields)


def _text(value: object, path: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST:
        return str(value)
    raise SdpSyntaxError(0, 1, f"text or a number at {path}")


def _mapping(value: object, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SdpSyntaxError(0, 1, f"an object at {path}")
    return value


def _list(value: object, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise SdpSyntaxError(0, 1, f"a list at {path}")
    return value
