"""A session description: the session part and its media sections, read and written without loss."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self, TypeVar

from sdp.attributes.base import Attribute, attribute_line
from sdp.attributes.direction import Direction
from sdp.attributes.ice import Candidate
from sdp.attributes.payload import Fmtp, RtpMap
from sdp.attributes.security import Crypto
from sdp.attributes.source import Mid
from sdp.errors import SdpSyntaxError
from sdp.fields import Bandwidth, Connection, MediaLine, Origin, Repeat, Timing, Zones
from sdp.grammar import DEFAULT_LIMITS, Limits, decode, has_tail, read_tolerantly, split_sections
from sdp.json import form as json_form
from sdp.lines import Section, unchecked

A = TypeVar("A", bound=Attribute)


@dataclass(frozen=True, slots=True, repr=False)
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
            found = None if self.strict else read_tolerantly(MediaLine.parse, self.lines[0][2:])
            try:
                found = found or MediaLine.parse(self.lines[0][2:])
            except SdpSyntaxError as error:
                raise error.at(self.first_line, 2) from None
            self._views[MediaLine] = found
        return found

    @property
    def kind(self) -> str:
        """audio, video, text, application, message, image."""
        kind: str = (self._views.get(MediaLine) or self.media_line).kind
        return kind

    @property
    def port(self) -> int:
        """0 where the section is rejected, disabled, or bundle-only."""
        return (self._views.get(MediaLine) or self.media_line).port

    @property
    def protocol(self) -> str:
        """As "UDP/TLS/RTP/SAVPF"."""
        return (self._views.get(MediaLine) or self.media_line).protocol

    @property
    def formats(self) -> tuple[str, ...]:
        """Payload types, or what the protocol names, as text."""
        return (self._views.get(MediaLine) or self.media_line).formats

    @property
    def mid(self) -> str | None:
        """The section's identification (RFC 5888); None where there is none, or no readable one."""
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


@dataclass(frozen=True, slots=True, repr=False)
class SessionDescription(Section):
    """A whole description: the session part (its `lines`) and the media sections."""

    _FIRST: ClassVar[str] = "v=0\n"

    media: tuple[MediaDescription, ...] = ()
    charset: str = field(default="utf-8", kw_only=True, compare=False, repr=False)
    """What its bytes were in: "utf-8", or "latin-1" where they were not UTF-8."""
    tail: int = field(default=0, kw_only=True, compare=False, repr=False)
    """Line number of NULs and blanks that followed the last line and were left out; 0: none."""
    mended: tuple[int, ...] = field(default=(), kw_only=True, compare=False, repr=False)
    """Line numbers, in the text it was read from, of lines mended or left out (`sdp.mending`)."""

    @classmethod
    def parse(cls, text: str | bytes, limits: Limits = DEFAULT_LIMITS, *, strict: bool = False) -> Self:
        """Read a description: CRLF or LF, unknown lines and attributes kept.

        Raises SdpSyntaxError for other text, and beyond `limits`. Malformed lines count as absent, and the section of a
        malformed m= line that names its kind as refused by its sender; a `strict` reading, or its views, raise.
        """
        string, charset = decode(text, limits)
        sections, mended = split_sections(string, limits, strict=strict)
        number = 1 + len(sections[0])
        media = []
        for lines in sections[1:]:
            section = unchecked(MediaDescription, lines, number, strict)
            try:
                section.media_line  # noqa: B018
            except SdpSyntaxError:
                refused = None if strict else MediaLine.refused(lines[0][2:])
                if refused is None:
                    raise
                section = unchecked(MediaDescription, [f"m={refused}"], number)
                mended += (number,)
            media.append(section)
            number += len(lines)
        description = unchecked(cls, sections[0], 1, strict)
        object.__setattr__(description, "media", tuple(media))
        object.__setattr__(description, "charset", charset)
        object.__setattr__(description, "tail", number if has_tail(string) else 0)
        object.__setattr__(description, "mended", mended)
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

    def __repr__(self) -> str:
        return f"{Section.__repr__(self)[:-1]}, media={list(self.media)!r})"

    def __bytes__(self) -> bytes:
        return str(self).encode(self.charset)

    def to_dict(self) -> dict[str, Any]:
        """The description as plain dictionaries in sdp-transform's shape (see `sdp.json`)."""
        return json_form.to_dict(self.lines, (section.lines for section in self.media))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], limits: Limits = DEFAULT_LIMITS) -> Self:
        """Read what `to_dict` or sdp-transform made; SdpSyntaxError where it is not of that shape."""
        session, media = json_form.from_dict(data)
        lines = session + [line for section in media for line in section]
        if any("\n" in line or "\r" in line for line in lines):
            raise SdpSyntaxError(0, 1, "values without line ends")
        text = "\r\n".join(lines)
        cls.parse(text, limits, strict=True)
        return cls.parse(text, limits)

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
        """The c= line that holds for a section: its own, else the session's (RFC 8866 section 5.7).

        None where there is none, and where the section's own cannot be read: the session's does not replace it.
        """
        return media.connection if media.field_values("c") else self.connection

    def direction_of(self, media: MediaDescription) -> Direction:
        """The direction that holds for a section: its own, the session's, sendrecv (RFC 8866 section 6.7)."""
        return media.direction or self.direction or Direction.SENDRECV

    def value_of(self, media: MediaDescription, name: str) -> str | None:
        """The first value of that attribute in the section, else at session level, None where it is nowhere."""
        key = "a=" + name
        found = (media._index or media._indexed()).get(key) or (self._index or self._indexed()).get(key)
        return found[0] if found else None

    def first_of(self, media: MediaDescription, view: type[A]) -> A | None:
        """The first attribute of that type in the section, else at session level."""
        found = media.first(view)
        return found if found is not None else self.first(view)

    def all_of(self, media: MediaDescription, view: type[A]) -> tuple[A, ...]:
        """The attributes of that type in the section, else those at session level."""
        return media.all(view) or self.all(view)
