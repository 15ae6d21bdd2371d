"""Construction of the offer to one side of a call from the other side's description."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from sdp.attributes import SetupRole
from sdp.codecs import Codec, read_codecs
from sdp.description import MediaDescription, SessionDescription
from sdp.errors import SdpNegotiationError
from sdp.extensions import Identifiers
from sdp.negotiation import said_direction
from sdp.pairing import PLAN_FAMILIES, families, is_live, partners, slots
from sdp.passing import kept_bandwidths, mapped_port, offered_feedback, packet_times
from sdp.places import Place, Places
from sdp.plan import DATAGRAM, PROFILES, Plan, TransportPlan
from sdp.sections import SectionPlan, channel_plan, refused_section, write_section, write_session
from sdp.selection import Numbering, first_offered_codecs, offered_codecs

_PLAIN: Final = {"RTP/SAVP": "RTP/AVP", "RTP/SAVPF": "RTP/AVPF"}


class Offerer:
    """Builder of one offer; every previous section keeps its position."""

    def __init__(self, source: SessionDescription, plan: Plan) -> None:
        self._source = source
        self._plan = plan
        self._bundled = plan.is_webrtc and plan.bundle
        self._previous: Sequence[MediaDescription] = plan.previous.media if plan.previous is not None else ()

    def build(self) -> SessionDescription:
        most = 128
        limit = self._limit()
        while True:
            sections = self._sections(most)
            if not any(section.port for section in sections) and any(is_live(media) for media in self._source.media):
                raise SdpNegotiationError("nothing of the offer can be offered to the other side")
            built = write_session(sections, self._plan, self._source, self._group(sections), "0 0")
            if limit is None or most == 1 or len(str(built)) <= limit:
                return built
            most = min(most, max(len(section.formats) for section in sections))
            most = most - 1 if most <= 8 else most // 2

    def _limit(self) -> int | None:
        plan = self._plan
        return plan.size_limit if plan.size_limit is not None or plan.is_webrtc else DATAGRAM

    def _group(self, sections: Iterable[MediaDescription]) -> tuple[str, ...]:
        if not self._bundled:
            return ()
        return tuple([mid for section in sections if section.port and (mid := section.mid) is not None])

    def _sections(self, most: int) -> list[MediaDescription]:
        """Return previous, then new sections; at most `most` codecs in each besides DTMF and comfort noise."""
        self._most = most
        self._places = Places(self._plan)
        kept = [codec for media in self._previous for codec in read_codecs(media)]
        self._numbering = Numbering(kept)
        self._identifiers = Identifiers(self._previous)
        self._mids = {mid for media in self._previous if (mid := media.mid) is not None}
        source = self._source.media
        if self._bundled:
            self._numbering.wish(codec for media in source for codec in read_codecs(media))
        built: list[MediaDescription] = []
        seen: set[int] = set()
        found = partners(self._previous, source) if self._previous else {}
        for slot in slots(self._previous):
            partner = found[slot[0]]
            if partner is not None:
                seen.add(id(partner))
            built += self._again(slot, partner)
        last_live = {media.kind: index for index, media in enumerate(source) if is_live(media)}
        for new in _unseen(source, seen):
            media = source[new]
            counted = self._places.counted
            made = self._made(media, ()) if is_live(media) else self._skip(media.kind)
            if not made and self._places.counted > counted:
                if last_live.get(media.kind, -1) > new:
                    profile = PROFILES[self._plan.kind]
                    made = [refused_section(media.without("mid"), mid=self._mid(None), profile=profile)]
                else:
                    self._places.uncount(media.kind)
            built += made
        return built

    def _again(self, slot: tuple[int, ...], source: MediaDescription | None) -> list[MediaDescription]:
        """Return the sections of one previous slot, in their positions."""
        earlier = [self._previous[index] for index in slot]
        made = self._made(source, earlier) if source is not None else self._skip(earlier[0].kind)
        by_protocol = {section.protocol: section for section in made if source is not None and is_live(source)}
        if len(slot) == 1:
            return list(by_protocol.values())[:1] or [refused_section(earlier[0])]
        return [by_protocol.get(section.protocol) or refused_section(section) for section in earlier]

    def _skip(self, kind: str) -> list[MediaDescription]:
        if self._places.carries(kind):
            self._places.count(kind)
        return []

    def _made(self, source: MediaDescription, before: Sequence[MediaDescription]) -> list[MediaDescription]:
        """Return the section (best-effort: both) that offers `source`; none if nothing can be offered.

        `before`: previous sections in the position, alternatives together.
        """
        if not self._places.carries(source.kind):
            return []
        place = self._places.of(self._places.count(source.kind), source.kind, bundled=self._bundled, earlier=before)
        if place.transport is None:
            return []
        earlier = before[0] if before else None
        if source.kind == "application":
            made = self._made_channel(source, place.transport, earlier)
        else:
            made = self._made_stream(source, place, place.transport, earlier)
        if made:
            self._places.took(place, source.kind)
        return made

    def _made_stream(
        self, source: MediaDescription, place: Place, transport: TransportPlan, earlier: MediaDescription | None
    ) -> list[MediaDescription]:
        plan = self._plan
        before = read_codecs(earlier) if earlier is not None else ()
        wanted = (_rtp_codecs(source), source.kind, plan.codecs, plan.is_webrtc)
        if before or self._bundled:
            numbering = self._numbering if self._bundled else Numbering(before)
            numbering.begin(before)
            chosen = offered_codecs(*wanted, numbering)
        else:
            chosen = first_offered_codecs(*wanted)
        codecs = _at_most(chosen, self._most)
        if not codecs:
            return []
        profile = self._profile(transport, earlier)
        section = SectionPlan(
            kind=source.kind,
            profile=profile,
            family=PLAN_FAMILIES[plan.kind][0],
            transport=transport,
            direction=said_direction(self._source, source).limited_to(plan.direction),
            codecs=offered_feedback(codecs, source.kind, plan) if "AVPF" in profile else codecs,
            mid=self._mid(earlier),
            rtcp_mux=transport.rtcp_mux if transport.rtcp_mux is not None else plan.is_webrtc,
            setup=SetupRole.ACTPASS,
            ice=transport.ice is not None,
            ssrc=plan.ssrcs[place.number] if place.number < len(plan.ssrcs) else None,
            repair=plan.repair_ssrcs[place.number] if place.number < len(plan.repair_ssrcs) else 0,
            bandwidths=kept_bandwidths(source),
            lines=(*packet_times(source, plan), *self._identifiers.offered(source, plan)),
        )
        made = [write_section(section, plan)]
        if plan.kind == "best-effort":
            plain = replace(section, profile=_PLAIN.get(section.profile, "RTP/AVP"), family="plain")
            made.append(write_section(plain, plan))
        return made

    def _profile(self, transport: TransportPlan, earlier: MediaDescription | None) -> str:
        """Return the previously agreed profile if its protection still fits the plan; else the plan's."""
        kind, previous = self._plan.kind, self._plan.previous
        if previous is not None and earlier is not None and earlier.port and kind != "best-effort":
            agreed = PLAN_FAMILIES[kind][0] in families(previous, earlier)
            return earlier.protocol if agreed else PROFILES[kind]
        return transport.profile or PROFILES[kind]

    def _made_channel(
        self, source: MediaDescription, transport: TransportPlan, earlier: MediaDescription | None
    ) -> list[MediaDescription]:
        if "sctp" not in families(self._source, source) or not transport.fingerprints:
            return []
        mid, ice = self._mid(earlier), transport.ice is not None
        is_old = earlier is not None and mapped_port(earlier) is not None
        profile = earlier.protocol if earlier is not None and is_old else "UDP/DTLS/SCTP"
        section = channel_plan(self._plan, transport, profile, SetupRole.ACTPASS, mid, ice, earlier)
        return [write_section(section, self._plan)]

    def _mid(self, earlier: MediaDescription | None) -> str | None:
        if earlier is not None and (mid := earlier.mid) is not None:
            return mid
        if not self._plan.is_webrtc:
            return None
        mid = next(text for number in range(len(self._mids) + 1) if (text := str(number)) not in self._mids)
        self._mids.add(mid)
        return mid


def _unseen(source: Sequence[MediaDescription], seen: set[int]) -> list[int]:
    """Return an index for each slot of `source` without previous section: of alternatives the live one."""
    return [
        next((index for index in slot if source[index].port), slot[0])
        for slot in slots(source)
        if not any(id(source[index]) in seen for index in slot)
    ]


def _rtp_codecs(source: MediaDescription) -> tuple[Codec, ...]:
    return read_codecs(source) if "RTP/" in source.protocol else ()


def _at_most(codecs: tuple[Codec, ...], most: int) -> tuple[Codec, ...]:
    """Return the first `most` codecs, with DTMF events at their rates; payload types are unchanged."""
    if len(codecs) <= most:
        return codecs
    media = [codec for codec in codecs if codec.is_media]
    if len(media) <= most:
        return codecs
    kept = media[:most]
    rates = {codec.clock_rate for codec in kept}
    return (*kept, *[codec for codec in codecs if codec.is_event and codec.clock_rate in rates])
