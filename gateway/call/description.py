"""Facts about SDP that calls need: preferred codecs of an answer, and hold."""

from __future__ import annotations

from collections.abc import Collection

from sdp.attributes.direction import Direction
from sdp.description import SessionDescription
from sdp.errors import SdpSyntaxError
from sdp.transport import is_nowhere

_STATIC = {"0": "pcmu", "8": "pcma", "9": "g722"}
"""Static payload types, valid without rtpmap (RFC 3551 section 6)."""
_NOT_SPEECH = frozenset({"telephone-event", "cn", "red"})


def audio_codecs(text: str) -> tuple[str, ...]:
    """Return the audio codecs of an answer in lower case, best first; () for none."""
    try:
        media = SessionDescription.parse(text).media
    except SdpSyntaxError:
        return ()
    for section in media:
        if section.kind == "audio" and section.port:
            return _names(section.formats, section.values("rtpmap"))
    return ()


def has_video(text: str, codecs: Collection[str]) -> bool:
    """Return True if an offer has video in one of these codecs (lower case)."""
    try:
        media = SessionDescription.parse(text).media
    except SdpSyntaxError:
        return False
    live = [each for each in media if each.kind == "video" and (each.port or each.has("bundle-only"))]
    return any(not set(codecs).isdisjoint(_names(each.formats, each.values("rtpmap"))) for each in live)


def _names(formats: tuple[str, ...], rtpmaps: tuple[str, ...]) -> tuple[str, ...]:
    named = dict(_STATIC)
    for rtpmap in rtpmaps:
        payload_type, _, encoding = rtpmap.partition(" ")
        named[payload_type] = encoding.partition("/")[0].strip().lower()
    names = (named.get(payload_type) for payload_type in formats)
    return tuple(dict.fromkeys(name for name in names if name and name not in _NOT_SPEECH))


def holds(text: str) -> bool:
    """Return True if an offer holds the peer: sendonly, inactive, or address 0.0.0.0 (RFC 3264 section 8.4).

    With ICE, 0.0.0.0 only means that no candidate is known yet (RFC 8840 section 4.1.1).
    """
    return _audio_direction(text) in (Direction.SENDONLY, Direction.INACTIVE)


def is_two_way(text: str) -> bool:
    """Return True for an offer of two-way audio, whose answer can show hold by the peer."""
    return _audio_direction(text) is Direction.SENDRECV


def _audio_direction(text: str) -> Direction | None:
    """Return the direction of the first audio section, SENDONLY for a null address; None without audio."""
    try:
        description = SessionDescription.parse(text)
    except SdpSyntaxError:
        return None
    for section in description.media:
        if section.kind == "audio" and section.port:
            connection = description.connection_of(section)
            has_ice = section.has("ice-ufrag") or description.has("ice-ufrag")
            if not has_ice and is_nowhere(connection):
                return Direction.SENDONLY
            return description.direction_of(section)
    return None
