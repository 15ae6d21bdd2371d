"""RTP header extensions: which are said, and under which identifiers (RFC 8285)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from sdp.attributes import ExtMap
from sdp.codecs import Codec
from sdp.description import MediaDescription
from sdp.errors import SdpSyntaxError
from sdp.plan import Plan

TRANSPORT_CC: Final = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
"""The number of a packet among all of its transport."""
COUNTED: Final = "transport-cc"
"""The RTCP feedback about packets that carry one."""
ORIENTATION: Final = "urn:3gpp:video-orientation"
"""How a picture lies, for who sees it to turn (3GPP TS 26.114 section 7.4.5)."""
_USUAL: Final = {TRANSPORT_CC: 3, ORIENTATION: 13}
"""Identifiers that browsers give them where they begin."""
_LARGEST, _RESERVED = 255, 15


def read_extensions(media: MediaDescription) -> dict[str, int]:
    """The identifiers of a section's header extensions that both sides may send, by URI; of two the first.

    Malformed ones are none, and those whose identifier is still to be agreed, or another's in the section.
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
    """The identifiers of those that both sides say, and as the same."""
    if not ours.has("extmap"):
        return {}
    other = read_extensions(theirs)
    return {uri: number for uri, number in read_extensions(ours).items() if other.get(uri) == number}


def counts(kind: str, plan: Plan) -> bool:
    """Whether we tell a peer when its packets of that kind of section come."""
    return TRANSPORT_CC in plan.own_extensions and plan.is_webrtc and kind in ("audio", "video")


def counted_in(media: MediaDescription, plan: Plan) -> bool:
    """Whether an offer's section lets us do that."""
    return counts(media.kind, plan) and TRANSPORT_CC in read_extensions(media)


def answered_extensions(
    media: MediaDescription, partner: MediaDescription | None, plan: Plan, codecs: Collection[Codec]
) -> tuple[str, ...]:
    """The a= lines about what an offer says and we take: what we read ourselves, and what the other side takes."""
    if not (plan.own_extensions or plan.extensions) or not media.has("extmap"):
        return ()
    other = read_extensions(partner) if partner is not None and plan.extensions else {}
    taken = {uri for uri in plan.extensions if uri in other}
    if counts(media.kind, plan) and any(COUNTED in codec.feedback for codec in codecs):
        taken.add(TRANSPORT_CC)
    return tuple([f"a=extmap:{number} {uri}" for uri, number in read_extensions(media).items() if uri in taken])


class Identifiers:
    """Those of one offer: what was said before keeps its own, no two of a bundle share one (RFC 9143 section 9.1)."""

    def __init__(self, previous: Iterable[MediaDescription]) -> None:
        self._known: dict[str, int] = {}
        for media in previous:
            self._known = read_extensions(media) | self._known

    def offered(self, source: MediaDescription, plan: Plan) -> tuple[str, ...]:
        """The a= lines about what a peer is offered: what we read ourselves, and what the other side offers."""
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
