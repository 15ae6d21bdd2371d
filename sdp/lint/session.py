"""Lint rules for the whole description: lines, order and level, mids and groups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sdp.attributes import Group, Mid
from sdp.lines import Section
from sdp.lint.reading import Hit, Reading, speaks_webrtc

_SESSION_ORDER: Final = "vosiuepcbtrzka"
_MEDIA_ORDER: Final = "micbka"
_ONCE: Final = ("o", "s", "u", "z")
_DATAGRAM: Final = 1300
"""Octets from which requests avoid UDP (RFC 3261 section 18.1.1)."""

_SESSION_ONLY: Final = {
    "group": "RFC 5888 section 5",
    "ice-lite": "RFC 8839 section 5.3",
    "msid-semantic": "RFC 8830 section 2",
}
_MEDIA_ONLY: Final = {
    "rtpmap": "RFC 8866 section 6.6",
    "fmtp": "RFC 8866 section 6.15",
    "ptime": "RFC 8866 section 6.4",
    "maxptime": "RFC 8866 section 6.5",
    "mid": "RFC 5888 section 4",
    "candidate": "RFC 8839 section 5.1",
    "remote-candidates": "RFC 8839 section 5.2",
    "rtcp": "RFC 3605 section 2.1",
    "rtcp-mux": "RFC 5761 section 5.1.1",
    "crypto": "RFC 4568 section 4",
    "ssrc": "RFC 5576 section 4.1",
    "ssrc-group": "RFC 5576 section 4.2",
    "rid": "RFC 8851 section 10",
    "simulcast": "RFC 8853 section 5.1",
    "sctp-port": "RFC 8841 section 5.1",
    "bundle-only": "RFC 8843 section 6",
}


def no_origin(reading: Reading) -> Iterator[Hit]:
    if not reading.description.field_values("o"):
        yield Hit(1)


def no_name(reading: Reading) -> Iterator[Hit]:
    if not reading.description.field_values("s"):
        yield Hit(1)


def no_timing(reading: Reading) -> Iterator[Hit]:
    if not reading.description.field_values("t"):
        yield Hit(1)


def twice(reading: Reading) -> Iterator[Hit]:
    for letter in _ONCE:
        for number in reading.description.line_numbers(letter + "=")[1:]:
            yield Hit(number, letter)


def unknown_line(reading: Reading) -> Iterator[Hit]:
    for section, known in ((reading.description, _SESSION_ORDER), *((media, _MEDIA_ORDER) for media in reading.media)):
        for number, line in enumerate(section.lines, section.first_line):
            if line[0] not in known:
                yield Hit(number, line[0])


def _out_of_order(section: Section, known: str) -> Iterator[Hit]:
    reached = 0
    for number, line in enumerate(section.lines, section.first_line):
        # t=, r= and z= lines may alternate
        rank = known.find("t" if line[0] in "rz" else line[0])
        if 0 <= rank < reached:
            yield Hit(number, line[0])
        reached = max(reached, rank)


def session_order(reading: Reading) -> Iterator[Hit]:
    return _out_of_order(reading.description, _SESSION_ORDER)


def media_order(reading: Reading) -> Iterator[Hit]:
    for section in reading.media:
        yield from _out_of_order(section, _MEDIA_ORDER)


def malformed(reading: Reading) -> Iterator[Hit]:
    yield from reading.malformed


def tolerated(reading: Reading) -> Iterator[Hit]:
    yield from reading.tolerated


def wrong_level(reading: Reading) -> Iterator[Hit]:
    for name, reference in _MEDIA_ONLY.items():
        for number in reading.description.line_numbers(name):
            yield Hit(number, name, reference)
    for section in reading.media:
        for name, reference in _SESSION_ONLY.items():
            for number in section.line_numbers(name):
                yield Hit(number, name, reference)


def no_media(reading: Reading) -> Iterator[Hit]:
    if not reading.media:
        yield Hit(1)


def too_long_for_udp(reading: Reading) -> Iterator[Hit]:
    size = len(bytes(reading.description))
    if size > _DATAGRAM and not any(map(speaks_webrtc, reading.media)):
        yield Hit(1, size)


def mid_twice(reading: Reading) -> Iterator[Hit]:
    seen: set[str] = set()
    for section in reading.media:
        mids = reading.all(section, Mid)
        yield from (Hit(number, mid.value) for number, mid in mids if mid.value in seen)
        seen.update(mid.value for _, mid in mids)


def group_of_strangers(reading: Reading) -> Iterator[Hit]:
    known = {mid.value for section in reading.media for _, mid in reading.all(section, Mid)}
    for number, group in reading.all(reading.description, Group):
        for mid in group.mids:
            if mid not in known:
                yield Hit(number, mid)
