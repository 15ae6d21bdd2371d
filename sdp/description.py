"""Session description: session part and media sections, parsed and written without loss."""

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
    """Media section: the m= line and the lines after (RFC 8866 section 5.14)."""

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
        """Return a section from values; attributes are typed or text without `a=` ("rtcp-mux", "mid:0")."""
        lines = [f"m={kind} {port} {protocol} {' '.join(map(str, formats))}"]
        if connection is not None:
            lines.append(f"c={connection}")
        lines += [f"b={bandwidth}" for bandwidth in bandwidths]
        lines += map(attribute_line, attributes)
        return cls(tuple(lines))

    @property
    def media_line(self) -> MediaLine:
        """Return the typed m= line."""
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
        """Return audio, video, text, application, message or image."""
        kind: str = (self._views.get(MediaLine) or self.media_line).kind
        return kind

    @property
    def port(self) -> int:
        """Return the port; 0 for a rejected, disabled or bundle-only section."""
        return (self._views.get(MediaLine) or self.media_line).port

    @property
    def protocol(self) -> str:
        """Return the protocol, e.g. "UDP/TLS/RTP/SAVPF"."""
        return (self._views.get(MediaLine) or self.media_line).protocol

    @property
    def formats(self) -> tuple[str, ...]:
        """Return payload types, or other formats of the protocol, as text."""
        return (self._views.get(MediaLine) or self.media_line).formats

    @property
    def mid(self) -> str | None:
        """Return the section's identification (RFC 5888); None if absent or unreadable."""
        found = self.first(Mid)
        return found.value if found else None

    @property
    def rtpmaps(self) -> tuple[RtpMap, ...]:
        """Return the a=rtpmap lines."""
        return self.all(RtpMap)

    @property
    def fmtps(self) -> tuple[Fmtp, ...]:
        """Return the a=fmtp lines."""
        return self.all(Fmtp)

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Return the a=candidate lines."""
        return self.all(Candidate)

    @property
    def cryptos(self) -> tuple[Crypto, ...]:
        """Return the a=crypto lines."""
        return self.all(Crypto)

    @property
    def rtcp_mux(self) -> bool:
        """Return True if a=rtcp-mux is present (RFC 5761)."""
        return self.has("rtcp-mux")

    def with_media_line(self, media_line: MediaLine) -> Self:
        """Return a copy with another m= line."""
        return self.with_lines((f"m={media_line}", *self.lines[1:]))


@dataclass(frozen=True, slots=True, repr=False)
class SessionDescription(Section):
    """Whole description: the session part (its `lines`) and the media sections."""

    _FIRST: ClassVar[str] = "v=0\n"

    media: tuple[MediaDescription, ...] = ()
    charset: str = field(default="utf-8", kw_only=True, compare=False, repr=False)
    """Encoding of the bytes: "utf-8", or "latin-1" if not valid UTF-8."""
    tail: int = field(default=0, kw_only=True, compare=False, repr=False)
    """Line number of dropped NULs and blanks after the last line; 0 for none."""
    mended: tuple[int, ...] = field(default=(), kw_only=True, compare=False, repr=False)
    """Line numbers, in the original text, of mended or dropped lines (`sdp.mending`)."""

    @classmethod
    def parse(cls, text: str | bytes, limits: Limits = DEFAULT_LIMITS, *, strict: bool = False) -> Self:
        """Parse a description: CRLF or LF, unknown lines and attributes kept.

        Raise SdpSyntaxError for unreadable text or beyond `limits`. Malformed lines count as absent; a malformed m=
        line is a rejected section. With `strict`, parsing or the views raise.
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
                if strict:
                    raise
                section = unchecked(MediaDescription, [f"m={MediaLine.refused(lines[0][2:])}"], number)
                mended = tuple(sorted({*mended, number}))
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
        """Return a description from values, in the order of RFC 8866."""
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
        """Return the description as plain dictionaries in sdp-transform's form (see `sdp.json`)."""
        return json_form.to_dict(self.lines, (section.lines for section in self.media))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], limits: Limits = DEFAULT_LIMITS) -> Self:
        """Build a description from `to_dict` or sdp-transform output; raise SdpSyntaxError for other forms."""
        session, media = json_form.from_dict(data)
        lines = session + [line for section in media for line in section]
        if any("\n" in line or "\r" in line for line in lines):
            raise SdpSyntaxError(0, 1, "values without line ends")
        text = "\r\n".join(lines)
        cls.parse(text, limits, strict=True)
        return cls.parse(text, limits)

    @property
    def origin(self) -> Origin | None:
        """Return the o= line."""
        found = self._fields("o", Origin)
        return found[0] if found else None

    @property
    def timings(self) -> tuple[Timing, ...]:
        """Return the t= lines."""
        return self._fields("t", Timing)

    @property
    def repeats(self) -> tuple[Repeat, ...]:
        """Return the r= lines."""
        return self._fields("r", Repeat)

    @property
    def zones(self) -> Zones | None:
        """Return the z= line."""
        found = self._fields("z", Zones)
        return found[0] if found else None

    @property
    def name(self) -> str | None:
        """Return the text of the s= line."""
        found = self.field_values("s")
        return found[0] if found else None

    def with_media(self, media: Iterable[MediaDescription]) -> Self:
        """Return a copy with other media sections."""
        return replace(self, media=tuple(media))

    def connection_of(self, media: MediaDescription) -> Connection | None:
        """Return the c= line of a section: its own, else the session's (RFC 8866 section 5.7).

        None without either, and for an unreadable line of the section: the session's line is no substitute.
        """
        return media.connection if media.field_values("c") else self.connection

    def direction_of(self, media: MediaDescription) -> Direction:
        """Return the direction of a section: its own, the session's, or sendrecv (RFC 8866 section 6.7)."""
        return media.direction or self.direction or Direction.SENDRECV

    def value_of(self, media: MediaDescription, name: str) -> str | None:
        """Return the first value of an attribute in the section, else at session level, else None."""
        key = "a=" + name
        found = (media._index or media._indexed()).get(key) or (self._index or self._indexed()).get(key)
        return found[0] if found else None

    def first_of(self, media: MediaDescription, view: type[A]) -> A | None:
        """Return the first attribute of a type in the section, else at session level."""
        found = media.first(view)
        return found if found is not None else self.first(view)

    def all_of(self, media: MediaDescription, view: type[A]) -> tuple[A, ...]:
        """Return the attributes of a type in the section, else at session level."""
        return media.all(view) or self.all(view)
