"""Session or media level of a description as frozen raw lines, with typed views on demand.

A section is lossless: it holds all its lines in order, known or unknown. A view (`section.all(RtpMap)`,
`section.setup`) parses the lines of one name once. Editing returns a new value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final, Self, TypeVar

from sdp.attributes.base import Attribute, attribute_line
from sdp.attributes.direction import Direction
from sdp.attributes.security import Fingerprint, Setup, SetupRole
from sdp.errors import SdpSyntaxError
from sdp.fields import Bandwidth, Connection, Field, Key
from sdp.grammar import check_lines, read_tolerantly
from sdp.index import Index, index_lines, read_lines

A = TypeVar("A", bound=Attribute)
F = TypeVar("F", bound=Field)

_ORDER: Final = {letter: rank for rank, letter in enumerate("mvosiuepcbtrzka")}
_DIRECTION_KEYS: Final = {f"a={direction}": direction for direction in Direction}
_SECRET: Final = re.compile(r"(a=(?:ice-pwd|crypto):|k=).+", re.IGNORECASE)


@dataclass(frozen=True, slots=True, repr=False)
class Section:
    """Lines of one level: the session part or one media section."""

    _FIRST: ClassVar[str] = ""
    lines: tuple[str, ...]
    """Raw lines, `type=value`, without line ends."""
    first_line: int = field(default=1, kw_only=True, compare=False, repr=False)
    """Line number of lines[0] in the original text."""
    strict: bool = field(default=False, kw_only=True, compare=False, repr=False)
    """True to raise SdpSyntaxError in the view of a malformed line; otherwise the line counts as absent."""
    _index: Index = field(default_factory=dict, init=False, compare=False, repr=False)
    _views: dict[Any, Any] = field(default_factory=dict, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_lines(self.lines, self._FIRST)

    def __repr__(self) -> str:
        # Descriptions end up in tracebacks and logs, which must not show keys and passwords.
        shown = ", ".join([repr(_SECRET.sub(r"\1***", line)) for line in self.lines])
        return f"{type(self).__name__}([{shown}])"

    # Raw values

    def _indexed(self) -> Index:
        """Return values of lines by "a=name", and of other lines by "type="."""
        if not self._index:
            object.__setattr__(self, "_index", index_lines(self.lines))
        return self._index

    def know_index(self, lines: list[str], known: Index) -> None:
        """Set the index from `known`, the index of all lines except `lines`.

        No name may occur in both.
        """
        object.__setattr__(self, "_index", read_lines(lines) | known)

    def _positions(self, key: str) -> list[int]:
        """Return positions in `lines` of the index entry `key`."""
        if key not in self._indexed():
            return []
        named = key + ":"
        if key[0] != "a":
            return [number for number, line in enumerate(self.lines) if line.startswith(key)]
        return [number for number, line in enumerate(self.lines) if line == key or line.startswith(named)]

    def has(self, name: str) -> bool:
        """Return True if an attribute is present, with or without a value."""
        return "a=" + name in (self._index or self._indexed())

    def values(self, name: str) -> tuple[str, ...]:
        """Return the text after the colon of each `a=name` line, in order; "" without colon."""
        return tuple((self._index or self._indexed()).get("a=" + name, ()))

    def value(self, name: str) -> str | None:
        """Return the first of `values(name)`, or None."""
        found = (self._index or self._indexed()).get("a=" + name)
        return found[0] if found else None

    def field_values(self, letter: str) -> tuple[str, ...]:
        """Return the text after `letter=` of each line of a type other than a=, in order."""
        return tuple(self._indexed().get(letter + "=", ()))

    def line_numbers(self, name: str) -> tuple[int, ...]:
        """Return line numbers in the original text of an attribute ("m=" for m= lines)."""
        key = name if name.endswith("=") else "a=" + name
        return tuple([self.first_line + number for number in self._positions(key)])

    # Typed values

    def all(self, view: type[A]) -> tuple[A, ...]:
        """Return the readable attributes of a type, in order; with `strict` raise SdpSyntaxError for a malformed
        line."""
        found: tuple[A, ...] | None = self._views.get(view)
        if found is None:
            key = "a=" + view.NAME
            here = key in (self._index or self._indexed())
            found = self._views[view] = self._read(key, len(key) + 1, view.parse) if here else ()
        return found

    def first(self, view: type[A]) -> A | None:
        """Return the first attribute of a type, or None; raise SdpSyntaxError like `all`."""
        found = self.all(view)
        return found[0] if found else None

    def _fields(self, letter: str, view: type[F]) -> tuple[F, ...]:
        found: tuple[F, ...] | None = self._views.get(view)
        if found is None:
            key = letter + "="
            here = key in (self._index or self._indexed())
            found = self._views[view] = self._read(key, 2, view.parse) if here else ()
        return found

    def _read(self, key: str, skip: int, parse: Callable[[str], Any]) -> tuple[Any, ...]:
        found: list[Any] = []
        values = self._indexed().get(key, ())
        if not self.strict:
            return tuple([read for value in values if (read := read_tolerantly(parse, value)) is not None])
        for value in values:
            try:
                found.append(parse(value))
            except SdpSyntaxError as error:
                raise error.at(self.first_line + self._positions(key)[len(found)], skip) from None
        return tuple(found)

    @property
    def connection(self) -> Connection | None:
        """Return the first c= line of the level."""
        found = self._fields("c", Connection)
        return found[0] if found else None

    @property
    def key(self) -> Key | None:
        """Return the k= line of the level, obsolete (RFC 8866 section 5.12)."""
        found = self._fields("k", Key)
        return found[0] if found else None

    @property
    def bandwidths(self) -> tuple[Bandwidth, ...]:
        """Return the b= lines of the level."""
        return self._fields("b", Bandwidth)

    @property
    def direction(self) -> Direction | None:
        """Return the direction attribute of the level; None if absent (RFC 8866: sendrecv)."""
        # Most sections have one direction, read many times: the result is cached beside the views.
        if Direction in self._views:
            kept: Direction | None = self._views[Direction]
            return kept
        found = [name for name in self._indexed() if name in _DIRECTION_KEYS]
        if len(found) > 1:
            found.sort(key=lambda name: self._positions(name)[0])
        said = _DIRECTION_KEYS[found[0]] if found else None
        self._views[Direction] = said
        return said

    @property
    def fingerprints(self) -> tuple[Fingerprint, ...]:
        """Return the a=fingerprint lines of the level."""
        return self.all(Fingerprint)

    @property
    def setup(self) -> SetupRole | None:
        """Return the role of a=setup at the level."""
        found = self.first(Setup)
        return found.role if found else None

    # Editing: each method returns a new value

    def with_lines(self, lines: Iterable[str]) -> Self:
        """Return a copy with other lines."""
        return replace(self, lines=tuple(lines))

    def with_attribute(self, *attributes: Attribute | str) -> Self:
        """Return a copy with attributes appended, typed or as text without `a=`."""
        return self.with_lines((*self.lines, *map(attribute_line, attributes)))

    def without(self, *names: str) -> Self:
        """Return a copy without the named attributes."""
        drop = {number for name in names for number in self._positions("a=" + name)}
        if not drop:
            return self
        return self.with_lines(line for number, line in enumerate(self.lines) if number not in drop)

    def replace_attribute(self, *attributes: Attribute | str) -> Self:
        """Return a copy with attributes (of one name) at the first position of the name, else at the end, replacing
        all."""
        new = [attribute_line(attribute) for attribute in attributes]
        return self._replaced(self._positions(new[0].partition(":")[0]), new, len(self.lines))

    def with_direction(self, direction: Direction) -> Self:
        """Return a copy with another direction."""
        old = sorted(number for name in _DIRECTION_KEYS for number in self._positions(name))
        return self._replaced(old, [f"a={direction}"], len(self.lines))

    def replace_field(self, letter: str, *values: object) -> Self:
        """Return a copy with other `letter=` lines (none: removed), in their first position or RFC 8866's."""
        rank = _ORDER.get(letter, len(_ORDER))
        place = next(
            (number for number, line in enumerate(self.lines) if _ORDER.get(line[0], 0) > rank), len(self.lines)
        )
        new = [f"{letter}={value}" for value in values]
        return self._replaced(self._positions(letter + "="), new, place)

    def _replaced(self, old: Iterable[int], new: list[str], place: int) -> Self:
        drop = sorted(old)
        place = drop[0] if drop else place
        dropped = set(drop)
        before = [line for number, line in enumerate(self.lines[:place]) if number not in dropped]
        after = [line for number, line in enumerate(self.lines[place:], place) if number not in dropped]
        return self.with_lines((*before, *new, *after))


S = TypeVar("S", bound=Section)


def unchecked(kind: type[S], lines: list[str], first_line: int, strict: bool = False) -> S:
    """Return a section of lines already checked by the reader."""
    section = object.__new__(kind)
    put = object.__setattr__
    put(section, "lines", tuple(lines))
    put(section, "first_line", first_line)
    put(section, "strict", strict)
    put(section, "_index", {})
    put(section, "_views", {})
    return section
