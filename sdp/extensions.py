"""RTP header extensions and their identifiers in offers and answers (RFC 8285)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from sdp.attributes import ExtMap
from sdp.codecs import Codec
from sdp.description import MediaDescription
from sdp.errors import SdpSyntaxError
from sdp.plan import Plan

TRANSPORT_CC: Final = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
"""Extension with the transport-wide number of a packet."""
COUNTED: Final = "transport-cc"
"""RTCP feedback on packets with transport-wide numbers."""
ORIENTATION: Final = "urn:3gpp:video-orientation"
"""Extension with the orientation of a picture, for the receiver to rotate (3GPP TS 26.114 section 7.4.5)."""
_USUAL: Final = {TRANSPORT_CC: 3, ORIENTATION: 13}
"""Identifiers used by browsers in their first offer."""
_LARGEST, _RESERVED = 255, 15


def read_extensions(media: MediaDescription) -> dict[str, int]:
    """Return identifiers of a section's bidirectional header extensions by URI; the first of two counts.

    Skipped: malformed extensions, identifiers not agreed yet, and identifiers already used in the section.
    """
    found: dict[str, int] = {}
    for value in media.values("extmap"):
        try:
            said = ExtMap.parse(value)
        except SdpSyntaxError:
            continue
        usable = 0 < said.id <= _LARGEST and said.id != _RESERVED and said.direction in (None, "sendrecv")
        if usable and said.attributes is None and said.id not in found.values():
            found.setdefault(said.uri, said.id)
    return found


def agreed_extensions(ours: MediaDescription, theirs: MediaDescription) -> dict[str, int]:
    """Return the identifiers on which both sides agree."""
    if not ours.has("extmap"):
        return {}
    other = read_extensions(theirs)
    return {uri: number for uri, number in read_extensions(ours).items() if other.get(uri) == number}


def counts(kind: str, plan: Plan) -> bool:
    """Return True if we report packet arrivals (transport-cc) to the peer for a kind of section."""
    return TRANSPORT_CC in plan.own_extensions and plan.is_webrtc and kind in ("audio", "video")


def counted_in(media: MediaDescription, plan: Plan) -> bool:
    """Return True if an offered section allows our reports of packet arrivals."""
    return counts(media.kind, plan) and TRANSPORT_CC in read_extensions(media)


def answered_extensions(
    media: MediaDescription, partner: MediaDescription | None, plan: Plan, codecs: Collection[Codec]
) -> tuple[str, ...]:
    """Return the a=extmap lines of an answer: extensions read by us, and those accepted by the other side."""
    if not (plan.own_extensions or plan.extensions) or not media.has("extmap"):
        return ()
    other = read_extensions(partner) if partner is not None and plan.extensions else {}
    taken = {uri for uri in plan.extensions if uri in other}
    if counts(media.kind, plan) and any(COUNTED in codec.feedback for codec in codecs):
        taken.add(TRANSPORT_CC)
    return tuple([f"a=extmap:{number} {uri}" for uri, number in read_extensions(media).items() if uri in taken])


class Identifiers:
    """Identifiers of one offer: previous identifiers stay, and are unique within a bundle (RFC 9143 section 9.1)."""

    def __init__(self, previous: Iterable[MediaDescription]) -> None:
        self._known: dict[str, int] = {}
        for media in previous:
            self._known = read_extensions(media) | self._known

    def offered(self, source: MediaDescription, plan: Plan) -> tuple[str, ...]:
        """Return the a=extmap lines of an offer: extensions read by us, and those offered by the other side."""
        if not (plan.own_extensions or plan.extensions):
            return ()
        said = {uri: number for uri, number in read_extensions(source).items() if uri in plan.extensions}
        if counts(source.kind, plan):
            said.setdefault(TRANSPORT_CC, _USUAL[TRANSPORT_CC])
        return tuple([f"a=extmap:{self._of(uri, number)} {uri}" for uri, number in said.items()])

    def _of(self, uri: str, wished: int) -> int:
        used = self._known.values()
        if uri not in self._known:
            wishes = (wished, _USUAL.get(uri, wished), *range(1, _RESERVED), *range(_RESERVED + 1, _LARGEST + 1))
            self._known[uri] = next((number for number in wishes if number not in used), _LARGEST)
        return self._known[uri]
