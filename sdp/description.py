"""A session description as frozen sections of raw lines, with typed views made when asked for.

Nothing is lost: a section *is* its lines, in order, known or not. A view (`media.all(RtpMap)`,
`media.setup`) reads the lines of one name, once, and is kept. Editing returns a new value.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final, Self, TypeVar

from sdp import json_form
from sdp.attributes.base import Attribute, attribute_line
from sdp.attributes.direction import Direction
from sdp.attributes.ice import Candidate
from sdp.attributes.payload import Fmtp, RtpMap
from sdp.attributes.security import Crypto, Fingerprint, Setup, SetupRole
from sdp.attributes.source import Mid
from sdp.errors import SdpSyntaxError
from sdp.fields import Bandwidth, Connection, Field, Key, MediaLine, Origin, Repeat, Timing, Zones
from sdp.grammar import DEFAULT_LIMITS, Limits, check_lines, decode, split_sections

A = TypeVar("A", bound=Attribute)
F = TypeVar("F", bound=Field)

_ORDER: Final = {letter: rank for rank, letter in enumerate("mvosiuepcbtrzka")}
_DIRECTION_KEYS: Final = {f"a={direction}": direction for direction in Direction}


@dataclass(frozen=True, slots=True)
class Section:
    """The lines of one level: the session part or one media section."""

    _FIRST: ClassVar[str] = ""
    lines: tuple[str, ...]
    """Raw lines, `type=value`, without line ends."""
    first_line: int = field(default=1, kw_only=True, compare=False, repr=False)
    """Line number of lines[0] in the text it was read from."""
    _index: dict[str, list[int]] = field(default_factory=dict, init=False, compare=False, repr=False)
    _views: dict[Any, Any] = field(default_factory=dict, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_lines(self.lines, self._FIRST)

    # Raw reading

    def _indexed(self) -> dict[str, list[int]]:
        """Positions of lines by "a=name", and of other lines by "type="."""
        index = self._index
        if not index:
            found: defaultdict[str, list[int]] = defaultdict(list)
            for number, line in enumerate(self.lines):
                found[line.partition(":")[0] if line[0] == "a" else line[:2]].append(number)
            index.update(found)
        return index

    def has(self, name: str) -> bool:
        """Whether an attribute of that name is here, with or without a value."""
        return "a=" + name in self._indexed()

    def values(self, name: str) -> tuple[str, ...]:
        """What stands after the colon of each `a=name` line, in order; "" where there is no colon."""
        skip = len(name) + 3
        return tuple([self.lines[number][skip:] for number in self._indexed().get("a=" + name, ())])

    def value(self, name: str) -> str | None:
        """The first of `values(name)`, or None."""
        found = self._indexed().get("a=" + name)
        return self.lines[found[0]][len(name) + 3 :] if found else None

    def field_values(self, letter: str) -> tuple[str, ...]:
        """What stands after `letter=` of each line of that type other than a=, in order."""
        return tuple([self.lines[number][2:] for number in self._indexed().get(letter + "=", ())])

    def line_numbers(self, name: str) -> tuple[int, ...]:
        """Line numbers, in the text it was read from, of the attributes of that name ("m=" for m= lines)."""
        key = name if name.endswith("=") else "a=" + name
        return tuple([self.first_line + number for number in self._indexed().get(key, ())])

    # Typed reading

    def all(self, view: type[A]) -> tuple[A, ...]:
        """Every attribute of that type, in order; SdpSyntaxError naming the first line that is malformed."""
        found: tuple[A, ...] | None = self._views.get(view)
        if found is None:
            found = self._views[view] = self._read("a=" + view.NAME, len(view.NAME) + 3, view.parse)
        return found

    def first(self, view: type[A]) -> A | None:
        """The first attribute of that type, or None; SdpSyntaxError like `all`."""
        found = self.all(view)
        return found[0] if found else None

    def _fields(self, letter: str, view: type[F]) -> tuple[F, ...]:
        found: tuple[F, ...] | None = self._views.get(view)
        if found is None:
            found = self._views[view] = self._read(letter + "=", 2, view.parse)
        return found

    def _read(self, key: str, skip: int, parse: Callable[[str], Any]) -> tuple[Any, ...]:
        numbers = self._indexed().get(key)
        if not numbers:
            return ()
        found = []
        for number in numbers:
            try:
                found.append(parse(self.lines[number][skip:]))
            except SdpSyntaxError as error:
                raise error.at(self.first_line + number, skip) from None
        return tuple(found)

    @property
    def connection(self) -> Connection | None:
        """The first c= line of this level."""
        found = self._fields("c", Connection)
        return found[0] if found else None

    @property
    def key(self) -> Key | None:
        """The k= line of this level, obsolete (RFC 8866 section 5.12)."""
        found = self._fields("k", Key)
        return found[0] if found else None

    @property
    def bandwidths(self) -> tuple[Bandwidth, ...]:
        """The b= lines of this level."""
        return self._fields("b", Bandwidth)

    @property
    def direction(self) -> Direction | None:
        """The direction attribute of this level; None where there is none (RFC 8866: then sendrecv)."""
        index = self._indexed()
        found = [name for name in _DIRECTION_KEYS if name in index]
        return _DIRECTION_KEYS[min(found, key=lambda name: index[name][0])] if found else None

    @property
    def fingerprints(self) -> tuple[Fingerprint, ...]:
        """The a=fingerprint lines of this level."""
        return self.all(Fingerprint)

    @property
    def setup(self) -> SetupRole | None:
        """The role of a=setup at this level."""
        found = self.first(Setup)
        return found.role if found else None

    # Editing: every helper returns a new value

    def with_lines(self, lines: Iterable[str]) -> Self:
        """The same section made of other lines."""
        return replace(self, lines=tuple(lines))

    def with_attribute(self, *attributes: Attribute | str) -> Self:
        """With these added at the end, typed or as text without `a=`."""
        return self.with_lines((*self.lines, *map(attribute_line, attributes)))

    def without(self, *names: str) -> Self:
        """Without the attributes of these names."""
        index = self._indexed()
        drop = {number for name in names for number in index.get("a=" + name, ())}
        if not drop:
            return self
        return self.with_lines(line for number, line in enumerate(self.lines) if number not in drop)

    def replace_attribute(self, *attributes: Attribute | str) -> Self:
        """With these (of one name) where the first of that name stood, at the end if none; the others dropped."""
        new = [attribute_line(attribute) for attribute in attributes]
        return self._replaced(self._indexed().get(new[0].partition(":")[0], ()), new, len(self.lines))

    def with_direction(self, direction: Direction) -> Self:
        """With this direction in place of any that is here."""
        index = self._indexed()
        old = sorted(number for name in _DIRECTION_KEYS for number in index.get(name, ()))
        return self._replaced(old, [f"a={direction}"], len(self.lines))

    def replace_field(self, letter: str, *values: object) -> Self:
        """With these `letter=` lines (none: removed) where the first stood, else where RFC 8866 puts them."""
        rank = _ORDER.get(letter, len(_ORDER))
        place = next(
            (number for number, line in enumerate(self.lines) if _ORDER.get(line[0], 0) > rank), len(self.lines)
        )
        new = [f"{letter}={value}" for value in values]
        return self._replaced(self._indexed().get(letter + "=", ()), new, place)

    def _replaced(self, old: Iterable[int], new: list[str], place: int) -> Self:
        drop = sorted(old)
        place = drop[0] if drop else place
        dropped = set(drop)
        before = [line for number, line in enumerate(self.lines[:place]) if number not in dropped]
        after = [line for number, line in enumerate(self.lines[place:], place) if number not in dropped]
        return self.with_lines((*before, *new, *after))


S = TypeVar("S", bound=Section)


def _unchecked(kind: type[S], lines: list[str], first_line: int) -> S:
    """A section of lines that the reader has already checked."""
    section = object.__new__(kind)
    put = object.__setattr__
    put(section, "lines", tuple(lines))
    put(section, "first_line", first_line)
    put(section, "_index", {})
    put(section, "_views", {})
    return section


@dataclass(frozen=True, slots=True)
class MediaDescription(Section):
    """One media section: its m= line and what follows (RFC 8866 section 5.14)."""

    _FIRST: ClassVar[str] = "m="

    @classmethod
    def build(
        cls,
        kind: str,
        port: int,
        protocol: str,
        formats: Iterable[str | int],
        *,
        connection: Connection | None = None,
        bandwidths: Iterable[Bandwidth] = (),
        attributes: Iterable[Attribute | str] = (),
    ) -> Self:
        """A section from values; attributes are typed or text without `a=` ("rtcp-mux", "mid:0")."""
        lines = [f"m={kind} {port} {protocol} {' '.join(map(str, formats))}"]
        if connection is not None:
            lines.append(f"c={connection}")
        lines += [f"b={bandwidth}" for bandwidth in bandwidths]
        lines += map(attribute_line, attributes)
        return cls(tuple(lines))

    @property
    def media_line(self) -> MediaLine:
        """The m= line, typed."""
        found: MediaLine | None = self._views.get(MediaLine)
        if found is None:
            try:
                found = MediaLine.parse(self.lines[0][2:])
            except SdpSyntaxError as error:
                raise error.at(self.first_line, 2) from None
            self._views[MediaLine] = found
        return found

    @property
    def kind(self) -> str:
        """audio, video, text, application, message, image."""
        return self.media_line.kind

    @property
    def port(self) -> int:
        """0 where the section is rejected, disabled, or bundle-only."""
        return self.media_line.port

    @property
    def protocol(self) -> str:
        """As "UDP/TLS/RTP/SAVPF"."""
        return self.media_line.protocol

    @property
    def formats(self) -> tuple[str, ...]:
        """Payload types, or what the protocol names, as text."""
        return self.media_line.formats

    @property
    def mid(self) -> str | None:
        """The section's identification (RFC 5888)."""
        found = self.first(Mid)
        return found.value if found else None

    @property
    def rtpmaps(self) -> tuple[RtpMap, ...]:
        """The a=rtpmap lines."""
        return self.all(RtpMap)

    @property
    def fmtps(self) -> tuple[Fmtp, ...]:
        """The a=fmtp lines."""
        return self.all(Fmtp)

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The a=candidate lines."""
        return self.all(Candidate)

    @property
    def cryptos(self) -> tuple[Crypto, ...]:
        """The a=crypto lines."""
        return self.all(Crypto)

    @property
    def rtcp_mux(self) -> bool:
        """Whether a=rtcp-mux is here (RFC 5761)."""
        return self.has("rtcp-mux")

    def with_media_line(self, media_line: MediaLine) -> Self:
        """With another m= line."""
        return self.with_lines((f"m={media_line}", *self.lines[1:]))


@dataclass(frozen=True, slots=True)
class SessionDescription(Section):
    """A whole description: the session part (its `lines`) and the media sections."""

    _FIRST: ClassVar[str] = "v=0\n"

    media: tuple[MediaDescription, ...] = ()
    charset: str = field(default="utf-8", kw_only=True, compare=False, repr=False)
    """What its bytes were in: "utf-8", or "latin-1" where they were not UTF-8."""

    @classmethod
    def parse(cls, text: str | bytes, limits: Limits = DEFAULT_LIMITS) -> Self:
        """Read a description: CRLF or LF, unknown lines and attributes kept.

        Raises SdpSyntaxError (line, column, expected) for what is not lines beginning with v=0,
        for a malformed m= line, and beyond `limits`. Other malformed values raise when their view is asked for.
        """
        string, charset = decode(text, limits)
        sections = split_sections(string, limits)
        number = 1 + len(sections[0])
        media = []
        for lines in sections[1:]:
            section = _unchecked(MediaDescription, lines, number)
            section.media_line  # noqa: B018
            media.append(section)
            number += len(lines)
        description = _unchecked(cls, sections[0], 1)
        object.__setattr__(description, "media", tuple(media))
        object.__setattr__(description, "charset", charset)
        return description

    @classmethod
    def build(
        cls,
        origin: Origin,
        media: Iterable[MediaDescription],
        *,
        name: str = "-",
        connection: Connection | None = None,
        bandwidths: Iterable[Bandwidth] = (),
        timing: Timing = Timing(),  # noqa: B008
        attributes: Iterable[Attribute | str] = (),
    ) -> Self:
        """A description from values, in RFC 8866's order."""
        lines = ["v=0", f"o={origin}", f"s={name}"]
        if connection is not None:
            lines.append(f"c={connection}")
        lines += [f"b={bandwidth}" for bandwidth in bandwidths]
        lines.append(f"t={timing}")
        lines += map(attribute_line, attributes)
        return cls(tuple(lines), tuple(media))

    def __str__(self) -> str:
        lines = list(self.lines)
        for section in self.media:
            lines += section.lines
        lines.append("")
        return "\r\n".join(lines)

    def __bytes__(self) -> bytes:
        return str(self).encode(self.charset)

    def to_dict(self) -> dict[str, Any]:
        """The description as plain dictionaries in sdp-transform's shape (see `sdp.json_form`)."""
        return json_form.to_dict(self.lines, (section.lines for section in self.media))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], limits: Limits = DEFAULT_LIMITS) -> Self:
        """Read what `to_dict` or sdp-transform made; SdpSyntaxError where it is not of that shape."""
        session, media = json_form.from_dict(data)
        lines = session + [line for section in media for line in section]
        if any("\n" in line or "\r" in line for line in lines):
            raise SdpSyntaxError(0, 1, "values without line ends")
        return cls.parse("\r\n".join(lines), limits)

    @property
    def origin(self) -> Origin | None:
        """The o= line."""
        found = self._fields("o", Origin)
        return found[0] if found else None

    @property
    def timings(self) -> tuple[Timing, ...]:
        """The t= lines."""
        return self._fields("t", Timing)

    @property
    def repeats(self) -> tuple[Repeat, ...]:
        """The r= lines."""
        return self._fields("r", Repeat)

    @property
    def zones(self) -> Zones | None:
        """The z= line."""
        found = self._fields("z", Zones)
        return found[0] if found else None

    @property
    def name(self) -> str | None:
        """The s= line's text."""
        found = self.field_values("s")
        return found[0] if found else None

    def with_media(self, media: Iterable[MediaDescription]) -> Self:
        """With these media sections instead."""
        return replace(self, media=tuple(media))

    def connection_of(self, media: MediaDescription) -> Connection | None:
        """The c= line that holds for a section: its own, else the session's (RFC 8866 section 5.7)."""
        return media.connection or self.connection

    def direction_of(self, media: MediaDescription) -> Direction:
        """The direction that holds for a section: its own, the session's, sendrecv (RFC 8866 section 6.7)."""
        return media.direction or self.direction or Direction.SENDRECV

    def first_of(self, media: MediaDescription, view: type[A]) -> A | None:
        """The first attribute of that type in the section, else at session level."""
        found = media.first(view)
        return found if found is not None else self.first(view)

    def all_of(self, media: MediaDescription, view: type[A]) -> tuple[A, ...]:
        """The attributes of that type in the section, else those at session level."""
        return media.all(view) or self.all(view)
