"""A party's description at the door of a media engine: read once, and left with IP addresses alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol, TypeVar

from gateway.media.engine import Kind, MediaError
from sdp import Connection, Limits, MediaDescription, SdpError, SdpLimitError, SessionDescription
from sdp.hosts import is_name

S = TypeVar("S", SessionDescription, MediaDescription)

LIMITS = Limits(size=32768, lines=1024, media=64, section_lines=512)
"""Largest description taken from a stranger."""

_NO_PLACE, _NO_PORT = Connection("0.0.0.0"), 9


class Names(Protocol):
    """Host names in the DNS."""

    async def address_of(self, name: str, version: int) -> str | None:
        """An IP address of that version, 4 or 6; None for a name that nobody knows."""


class NoNames:
    """Stands where nothing is looked up."""

    async def address_of(self, name: str, version: int) -> str | None:
        return None


async def described(text: str, kind: Kind, limits: Limits, names: Names) -> SessionDescription:
    """Read a description; look up the host name of a phone's c= line, at most one.

    The port of a section without an address becomes 0. Raises MediaError 400 for unreadable text, 488 for a voice
    without an address.
    """
    try:
        description = SessionDescription.parse(text, limits)
    except SdpError as error:
        limit = error.expected if isinstance(error, SdpLimitError) else ""
        raise MediaError(f"the session description cannot be read: {error}", error.status, limit=limit) from None
    if kind is Kind.SERVICE or all(map(_is_plain, _connections(description))):
        return description
    if kind is Kind.WEBRTC:
        return _by_candidates(description)
    return _reachable(await _looked_up(description, names))


def _by_candidates(description: SessionDescription) -> SessionDescription:
    """A page's description with 0.0.0.0 and port 9, "none yet" (RFC 8840 4.1.1), where a c= line leads nowhere."""
    media = [
        section
        if not section.port or _is_plain(description.connection_of(section))
        else section.with_media_line(replace(section.media_line, port=_NO_PORT)).replace_field("c", _NO_PLACE)
        for section in description.media
    ]
    return description.replace_field("c", *filter(_is_plain, [description.connection])).with_media(media)


def _connections(description: SessionDescription) -> list[Connection | None]:
    """The c= line of each section that is in use, the voice's first."""
    live = sorted([media for media in description.media if media.port], key=lambda media: media.kind != "audio")
    return [description.connection_of(media) for media in live]


def _is_plain(connection: Connection | None) -> bool:
    """Tell a c= line with an IP address as sockets write it from others."""
    return connection is not None and str(connection.ip) == connection.address


async def _looked_up(description: SessionDescription, names: Names) -> SessionDescription:
    """The description with IP addresses as sockets write them; c= lines that lead to none are left out."""
    wanted = [each for each in _connections(description) if each is not None and each.ip is None]
    found: dict[str, str | None] = {}
    if wanted and is_name(wanted[0].address):
        name = wanted[0].address
        found[name] = await names.address_of(name, 6 if wanted[0].address_type == "IP6" else 4)
    media = [_with_address(section, found) for section in description.media]
    return _with_address(description, found).with_media(media)


def _with_address(level: S, found: dict[str, str | None]) -> S:
    connection = level.connection
    if connection is None:
        return level
    address = str(connection.ip) if connection.ip is not None else found.get(connection.address)
    # A section's own line stays where it leads nowhere, since the session's may not replace it.
    return level if address is None else level.replace_field("c", replace(connection, address=address))


def _reachable(description: SessionDescription) -> SessionDescription:
    media = [
        section if _has_address(description, section) else section.with_media_line(replace(section.media_line, port=0))
        for section in description.media
    ]
    if any(each.kind == "audio" and each.port for each in description.media) and not any(
        each.kind == "audio" and each.port for each in media
    ):
        raise MediaError(_missing(description), 488)
    return description.with_media(media)


def _has_address(description: SessionDescription, section: MediaDescription) -> bool:
    connection = description.connection_of(section)
    return connection is not None and connection.ip is not None


def _missing(description: SessionDescription) -> str:
    """Why the voice has no address; never what stood there."""
    section = next(each for each in description.media if each.kind == "audio" and each.port)
    if description.connection_of(section) is not None:
        return "the c= line of the audio has a host name that leads to no address"
    said = section.field_values("c") or description.field_values("c")
    return "the c= line of the audio cannot be read" if said else "the audio has no c= line"
