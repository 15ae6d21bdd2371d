"""Types of lines, and descriptions without malformed typed lines."""

from __future__ import annotations

from typing import Any, Final, TypeVar

from sdp.attributes import ATTRIBUTES, RtpMap
from sdp.codecs import read_codecs
from sdp.description import MediaDescription, SessionDescription
from sdp.fields import FIELDS
from sdp.grammar import read_tolerantly
from sdp.lines import Section

_ORDER: Final = "micbk?a"
"""Types of a section's lines, in the order of RFC 8866 section 5; "?" stands for others."""

S = TypeVar("S", bound=Section)


def typed(line: str) -> tuple[str, str, type[Any] | None]:
    """Return the head of a line ("a=ptime:", "c="), its value, and its type, None for an untyped line."""
    if line[0] != "a":
        return line[:2], line[2:], FIELDS.get(line[0])
    name, colon, value = line.partition(":")
    return name + colon, value, ATTRIBUTES.get(name[2:])


def cleaned(description: SessionDescription) -> SessionDescription:
    """Return the description as parsed by the library, for a stricter reader.

    Malformed lines are dropped and sections' lines sorted; m= lines get their protocol in upper case, Opus its two
    channels.
    """
    return _without_unreadable(description).with_media(map(_cleaned_section, description.media))


def _cleaned_section(media: MediaDescription) -> MediaDescription:
    opus = [codec for codec in read_codecs(media) if codec.key[0] == "opus"]
    wanted = {f"{codec.payload_type}": f"a=rtpmap:{codec.payload_type} {codec.rtpmap}" for codec in opus}
    kept = _without_unreadable(media).with_media_line(media.media_line)
    lines = sorted(kept.lines, key=_rank)
    return kept.with_lines(wanted.get(_mapped(line), line) for line in lines)


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
            lines.append(line)
        elif read_tolerantly(view.parse, value) is not None:
            lines.append(name + value.strip(" \t"))
    return section.with_lines(lines)
