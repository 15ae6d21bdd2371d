"""Types of lines, and descriptions without malformed typed lines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, TypeVar

from sdp.attributes import ATTRIBUTES, RtpMap
from sdp.codecs import payload_number, read_codecs
from sdp.description import MediaDescription, SessionDescription
from sdp.fields import FIELDS, MediaLine, Origin
from sdp.grammar import read_tolerantly
from sdp.lines import Section
from sdp.pairing import is_rtp

_ORDER: Final = "micbk?a"
"""Types of a section's lines, in the order of RFC 8866 section 5; "?" stands for others."""

_KNOWN: Final = frozenset("vosiuepcbtrzkam")
"""Types of lines that RFC 8866 section 5 defines."""
_NOBODY: Final = Origin("-", "0", 0, "0.0.0.0")

S = TypeVar("S", bound=Section)


def typed(line: str) -> tuple[str, str, type[Any] | None]:
    """Return the head of a line ("a=ptime:", "c="), its value, and its type, None for an untyped line."""
    if line[0] != "a":
        return line[:2], line[2:], FIELDS.get(line[0])
    name, colon, value = line.partition(":")
    return name + colon, value, ATTRIBUTES.get(name[2:])


def cleaned(description: SessionDescription) -> SessionDescription:
    """Return the description as parsed by the library, for a stricter reader.

    Malformed and unknown lines are dropped, sections' lines sorted, a missing o= line added; m= lines get protocols in
    upper case and payload types alone.
    """
    origin = description.origin or _NOBODY
    session = _without_unreadable(description).replace_field("o", origin)
    return session.with_media(map(_cleaned_section, description.media))


def _cleaned_section(media: MediaDescription) -> MediaDescription:
    opus = [codec for codec in read_codecs(media) if codec.key[0] == "opus"]
    wanted = {f"{codec.payload_type}": f"a=rtpmap:{codec.payload_type} {codec.rtpmap}" for codec in opus}
    kept = _without_unreadable(media).with_media_line(_cleaned_media_line(media))
    lines = sorted(kept.lines, key=_rank)
    return kept.with_lines(wanted.get(_mapped(line), line) for line in lines)


def _cleaned_media_line(media: MediaDescription) -> MediaLine:
    numbers = tuple(text for text in media.formats if payload_number(text) is not None) if is_rtp(media) else ()
    return replace(media.media_line, formats=numbers or media.formats)


def _rank(line: str) -> int:
    found = _ORDER.find(line[0])
    return found if found >= 0 else _ORDER.index("?")


def _mapped(line: str) -> str:
    """Return the payload type of an a=rtpmap line, "" for other lines."""
    _, value, view = typed(line)
    return value.partition(" ")[0] if view is RtpMap else ""


def _without_unreadable(section: S) -> S:
    lines = []
    for line in section.lines:
        name, value, view = typed(line)
        if view is None:
            lines += [line] if line[0] in _KNOWN else []
        elif read_tolerantly(view.parse, value) is not None:
            lines.append(name + value.strip(" \t"))
    return section.with_lines(lines)
