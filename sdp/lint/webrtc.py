"""Lint rules for browsers' demands on a WebRTC section."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator
from typing import Final, TypeVar

from sdp.attributes import (
    Attribute,
    Candidate,
    ExtMap,
    Group,
    IcePwd,
    IceUfrag,
    Mid,
    Rid,
    RtpMap,
    Simulcast,
)
from sdp.attributes.source import SDES_RTP_STREAM_ID
from sdp.description import MediaDescription
from sdp.lint.media import stray_parameters
from sdp.lint.reading import Hit, Reading

A = TypeVar("A", bound=Attribute)

_SHORTEST: Final[tuple[tuple[type[IceUfrag] | type[IcePwd], int], ...]] = ((IceUfrag, 4), (IcePwd, 22))
_ICE_CHARACTERS: Final = re.compile(r"[A-Za-z0-9+/]*")


def _groups(reading: Reading) -> list[tuple[int, Group]]:
    return reading.all(reading.description, Group)


def _mid(reading: Reading, section: MediaDescription) -> str | None:
    found = reading.all(section, Mid)
    return found[0][1].value if found else None


def _bundled_elsewhere(reading: Reading, section: MediaDescription) -> bool:
    """Return True if the section shares another section's transport (RFC 8843 section 7.1.3)."""
    if section.has("bundle-only"):
        return True
    mid = _mid(reading, section)
    return any(group.semantics == "BUNDLE" and mid in group.mids[1:] for _, group in _groups(reading))


def _lacking(reading: Reading, name: str) -> Iterator[MediaDescription]:
    """Yield sections with their own transport that lack an attribute, even at session level."""
    for section in reading.webrtc():
        if not section.has(name) and not reading.description.has(name) and not _bundled_elsewhere(reading, section):
            yield section


def no_ice(reading: Reading) -> Iterator[Hit]:
    for name in ("ice-ufrag", "ice-pwd"):
        yield from (Hit(section.first_line, "a=" + name) for section in _lacking(reading, name))


def no_fingerprint(reading: Reading) -> Iterator[Hit]:
    return (Hit(section.first_line) for section in _lacking(reading, "fingerprint"))


def no_setup(reading: Reading) -> Iterator[Hit]:
    return (Hit(section.first_line) for section in _lacking(reading, "setup"))


def _credentials(reading: Reading) -> Iterator[tuple[int, str, str, int]]:
    for section in (reading.description, *reading.media):
        for view, shortest in _SHORTEST:
            yield from ((number, view.NAME, found.value, shortest) for number, found in reading.all(section, view))


def short_ice(reading: Reading) -> Iterator[Hit]:
    return (Hit(number, name) for number, name, value, shortest in _credentials(reading) if len(value) < shortest)


def ice_characters(reading: Reading) -> Iterator[Hit]:
    return (
        Hit(number, name) for number, name, value, _ in _credentials(reading) if not _ICE_CHARACTERS.fullmatch(value)
    )


def sdes(reading: Reading) -> Iterator[Hit]:
    for section in reading.webrtc():
        yield from map(Hit, section.line_numbers("crypto")[:1])


def no_rtcp_mux(reading: Reading) -> Iterator[Hit]:
    # RFC 8829 section 5.2.1 omits rtcp-mux from bundled sections; Chromium rejects the omission
    for section in reading.webrtc():
        if "RTP/" in section.protocol.upper() and not section.has("rtcp-mux"):
            yield Hit(section.first_line)


def stray_fmtp(reading: Reading) -> Iterator[Hit]:
    for section in reading.webrtc():
        yield from stray_parameters(reading, section)


def extmap_range(reading: Reading) -> Iterator[Hit]:
    for section in (reading.description, *reading.webrtc()):
        for number, extmap in reading.all(section, ExtMap):
            if not 1 <= extmap.id <= 255:
                yield Hit(number, extmap.id)


def simulcast_without_extension(reading: Reading) -> Iterator[Hit]:
    for section in reading.webrtc():
        if not any(extmap.uri == SDES_RTP_STREAM_ID for _, extmap in reading.all(section, ExtMap)):
            yield from (Hit(number) for number, _ in reading.all(section, Simulcast))


def no_mid(reading: Reading) -> Iterator[Hit]:
    return (Hit(section.first_line) for section in reading.webrtc() if not section.has("mid"))


def _bundles(reading: Reading) -> Iterator[list[MediaDescription]]:
    for _, group in _groups(reading):
        if group.semantics == "BUNDLE":
            mids = set(group.mids)
            yield [section for section in reading.webrtc() if _mid(reading, section) in mids]


def _clashes(reading: Reading, view: type[A], identity: Callable[[A], tuple[int, Hashable]]) -> Iterator[Hit]:
    """Yield numbers with different meanings in two sections of a bundle."""
    for sections in _bundles(reading):
        meanings: dict[int, Hashable] = {}
        for section in sections:
            here: dict[int, Hashable] = {}
            for line, found in reading.all(section, view):
                number, meaning = identity(found)
                if meanings.get(number, meaning) != meaning:
                    yield Hit(line, number)
                here.setdefault(number, meaning)
            meanings = here | meanings


def bundle_payload_types(reading: Reading) -> Iterator[Hit]:
    return _clashes(reading, RtpMap, lambda found: (found.payload_type, (found.encoding.lower(), found.clock_rate)))


def bundle_extensions(reading: Reading) -> Iterator[Hit]:
    return _clashes(reading, ExtMap, lambda found: (found.id, (found.uri, found.attributes)))


def bundle_only_port(reading: Reading) -> Iterator[Hit]:
    for section in reading.media:
        if section.has("bundle-only") and section.port != 0:
            yield Hit(section.first_line)


def mdns_candidate(reading: Reading) -> Iterator[Hit]:
    for section in reading.media:
        for number, candidate in reading.all(section, Candidate):
            if candidate.address.lower().endswith(".local"):
                yield Hit(number)


def no_sctp_port(reading: Reading) -> Iterator[Hit]:
    for section in reading.webrtc():
        if section.protocol.upper().endswith("SCTP") and not (section.has("sctp-port") or section.has("sctpmap")):
            yield Hit(section.first_line)


def simulcast_of_strangers(reading: Reading) -> Iterator[Hit]:
    for section in reading.media:
        declared = {rid.id for _, rid in reading.all(section, Rid)}
        for number, simulcast in reading.all(section, Simulcast):
            for alternatives in (*simulcast.send, *simulcast.recv):
                yield from (Hit(number, stream.id) for stream in alternatives if stream.id not in declared)
