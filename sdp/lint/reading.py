"""Description prepared for lint rules: every value with its line, malformed lines separate."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from sdp.attributes import Attribute
from sdp.description import MediaDescription, SessionDescription
from sdp.errors import SdpSyntaxError
from sdp.fields import Connection, MediaLine
from sdp.grammar import read_tolerantly
from sdp.hosts import has_leading_zeros
from sdp.lines import Section
from sdp.typed import typed

A = TypeVar("A", bound=Attribute)

_OPTIONAL: Final = "ab"
"""Types of malformed lines that phones ignore, while browsers reject the description."""
_REFUSED: Final = "m= cannot be read, the section counts as refused (port 0)"
_RFC: Final = re.compile(r"RFC \d+(?: section [\d.]*\d)?")


@dataclass(frozen=True, slots=True)
class Hit:
    """Line that breaks a rule."""

    line: int
    detail: str | int = ""
    reference: str = ""


def _misspelt(found: Any, value: str) -> str:
    """Return the fault of a tolerated value; "" for none."""
    if isinstance(found, MediaLine) and found.protocol not in value:
        return f"written in other letters than {found.protocol}"
    if isinstance(found, Connection) and has_leading_zeros(found.address):
        return "an address with leading zeros, read as decimal"
    return ""


def reference_of(view: type[Any]) -> str:
    """Return the first RFC and section in the docstring of a view."""
    found = _RFC.search(view.__doc__ or "")
    return found[0] if found else "RFC 8866 section 6"


class Reading:
    """Description with the values of each section parsed once, and errors collected."""

    def __init__(self, description: SessionDescription) -> None:
        self.description = description
        self.media = description.media
        self.malformed: list[Hit] = []
        self.tolerated: list[Hit] = []
        """Lines rejected by a strict reader, but ignored or accepted by `SessionDescription.parse`."""
        self._values: dict[tuple[int, str], list[tuple[int, Any]]] = {}
        for section in (description, *description.media):
            self._read(section)
        refused = {section.first_line for section in self.media if not section.port}
        self.tolerated += [
            Hit(number, _REFUSED, "RFC 3264 section 6")
            if number in refused
            else Hit(number, "not of the form type=value, mended or left out", "RFC 8866 section 9")
            for number in description.mended
        ]
        if description.tail:
            self.tolerated.append(Hit(description.tail, "NULs or blanks follow the last line", "RFC 8866 section 9"))

    def _read(self, section: Section) -> None:
        parts = [section] if isinstance(section, MediaDescription) else self.media
        for number, line in enumerate(section.lines, section.first_line):
            head, value, view = typed(line)
            if view is None:
                continue
            what = head.removesuffix(":")
            try:
                found = view.parse(value)
                wrong = _misspelt(found, value)
            except SdpSyntaxError as error:
                found = read_tolerantly(view.parse, value)
                wrong = f"malformed: column {error.column + len(head)}, expected {error.expected}"
            if found is not None:
                self._values.setdefault((section.first_line, what), []).append((number, found))
            if wrong:
                passed_over = line[0] in _OPTIONAL and not any(map(speaks_webrtc, parts))
                told = self.tolerated if found is not None or passed_over else self.malformed
                told.append(Hit(number, f"{what} is {wrong}", reference_of(view)))

    def all(self, section: Section, view: type[A]) -> list[tuple[int, A]]:
        """Return the well-formed attributes of a type in the section, with their line numbers."""
        return self._values.get((section.first_line, "a=" + view.NAME), [])

    def fields(self, section: Section, letter: str) -> list[tuple[int, Any]]:
        """Return the well-formed lines of another type in the section, with their line numbers."""
        return self._values.get((section.first_line, letter + "="), [])

    def rtp(self) -> Iterator[MediaDescription]:
        """Return the RTP sections."""
        return (section for section in self.media if "RTP/" in section.protocol.upper())

    def webrtc(self) -> Iterator[MediaDescription]:
        """Return the WebRTC sections in use."""
        return (section for section in self.media if speaks_webrtc(section) and in_use(section))

    def phone(self) -> Iterator[MediaDescription]:
        """Return the RTP sections in use other than WebRTC."""
        return (section for section in self.rtp() if not speaks_webrtc(section) and in_use(section))


def speaks_webrtc(section: MediaDescription) -> bool:
    """Return True for DTLS-SRTP with feedback, or data channels (RFC 8829 section 5.1.2 lists the spellings)."""
    protocol = section.protocol.upper()
    return protocol.endswith(("TLS/RTP/SAVPF", "DTLS/SCTP"))


def in_use(section: MediaDescription) -> bool:
    """Return True unless rejected or disabled; bundle-only sections have port 0 and are in use."""
    return section.port != 0 or section.has("bundle-only")
