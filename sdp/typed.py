"""Types of lines, and descriptions without the lines that their types cannot read."""

from __future__ import annotations

from typing import Any, TypeVar

from sdp.attributes import ATTRIBUTES, RtpMap
from sdp.codecs import read_codecs
from sdp.description import MediaDescription, SessionDescription
from sdp.fields import FIELDS
from sdp.grammar import read_tolerantly
from sdp.lines import Section

S = TypeVar("S", bound=Section)


def typed(line: str) -> tuple[str, str, type[Any] | None]:
    """Return the head of a line ("a=ptime:", "c="), its value, and the type that reads it, None for no type."""
    if line[0] != "a":
        return line[:2], line[2:], FIELDS.get(line[0])
    name, colon, value = line.partition(":")
    return name + colon, value, ATTRIBUTES.get(name[2:])


def cleaned(description: SessionDescription) -> SessionDescription:
    """Return the description as this library reads it, for a stricter reader.

    Lines that cannot be read are left out, m= lines have their protocol in capitals, Opus its two channels.
    """
    return _without_unreadable(description).with_media(map(_cleaned_section, description.media))


def _cleaned_section(media: MediaDescription) -> MediaDescription:
    opus = [codec for codec in read_codecs(media) if codec.key[0] == "opus"]
    wanted = {f"{codec.payload_type}": f"a=rtpmap:{codec.payload_type} {codec.rtpmap}" for codec in opus}
    kept = _without_unreadable(media).with_media_line(media.media_line)
    return kept.with_lines(wanted.get(_mapped(line), line) for line in kept.lines)


def _mapped(line: str) -> str:
    """Return the payload type of an a=rtpmap line, "" for other lines."""
    _, value, view = typed(line)
    return value.partition(" ")[0] if view is RtpMap else ""


def _without_unreadable(section: S) -> S:
    lines = []
    for line in section.lines:
        name, value, view = typed(line)
        if view is None:
            lines.append(line)
        elif read_tolerantly(view.parse, value) is not None:
            lines.append(name + value.strip(" \t"))
    return section.with_lines(lines)
