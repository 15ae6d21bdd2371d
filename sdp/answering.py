"""Construction of an answer to one side's offer, from the other side's answer or from the offer alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sdp.attributes import Crypto, Direction, SetupRole
from sdp.codecs import read_codecs
from sdp.description import MediaDescription, SessionDescription
from sdp.errors import SdpNegotiationError
from sdp.extensions import answered_extensions
from sdp.keys import usable_keys
from sdp.negotiation import said_direction
from sdp.pairing import PLAN_FAMILIES, Family, families, is_live, partners, slots
from sdp.passing import answered_feedback, kept_bandwidths, packet_times
from sdp.places import Places
from sdp.plan import Plan, TransportPlan
from sdp.sections import SectionPlan, channel_plan, refused_section, write_section, write_session
from sdp.selection import answered_codecs, ordered
from sdp.transport import bundle_groups, has_ice, setup_of, transport_section


class Answerer:
    """Builder of one answer: a section for each offered section, within the limits of the offer."""

    def __init__(self, offer: SessionDescription, plan: Plan, other: SessionDescription | None) -> None:
        self._offer = offer
        self._plan = plan
        self._other = other
        self._bundle = bundle_groups(offer) if plan.bundle and plan.is_webrtc else ()
        self._tagged: str | None = None
        self._role: SetupRole | None = None
        self._bundled: list[str] = []
        self._places = Places(plan)

    def build(self) -> SessionDescription:
        offer, plan = self._offer, self._plan
        media = offer.media
        found = partners(media, self._other.media) if self._other is not None else {}
        built: dict[int, MediaDescription] = {}
        for slot in slots(media):
            if self._places.carries(media[slot[0]].kind):
                self._accept(slot, found.get(slot[0]), built)
        if not built and any(is_live(section) for section in media):
            raise SdpNegotiationError("the offer and this side have no media in common")
        sections = [built.get(index) or refused_section(section) for index, section in enumerate(media)]
        return write_session(sections, plan, self._other, tuple(self._bundled), _timing(offer))

    def _accept(
        self, slot: tuple[int, ...], partner: MediaDescription | None, built: dict[int, MediaDescription]
    ) -> None:
        """Accept at most one section of the slot."""
        number, previous = self._places.count(self._offer.media[slot[0]].kind), self._plan.previous
        self._earlier = [previous.media[i] for i in slot if i < len(previous.media)] if previous is not None else []
        if self._other is not None and (partner is None or not partner.port):
            return
        wanted: tuple[Family, ...] = ("sctp",) if self._offer.media[slot[0]].kind == "application" else ()
        for family in wanted or PLAN_FAMILIES[self._plan.kind]:
            for index in slot:
                media = self._offer.media[index]
                if is_live(media) and family in families(self._offer, media):
                    made = self._made(index, family, partner, number)
                    if made is not None:
                        built[index] = made
                        return

    def _made(
        self, index: int, family: Family, partner: MediaDescription | None, number: int
    ) -> MediaDescription | None:
        """Return the accepting section; None if the offer's section is unacceptable in the family."""
        offer, plan = self._offer, self._plan
        media = offer.media[index]
        reflected = self._other is None and media.kind in plan.reflects
        if (
            self._other is None
            and plan.codecs.offer_also
            and media.kind not in ("audio", "application", *plan.reflects)
        ):
            return None  # without a far end only audio can be converted
        bundled = self._joins(media)
        place = self._places.of(number, media.kind, bundled=bundled, earlier=self._earlier)
        transport = _keyed(place.transport, media, family)
        if transport is None or not (media.port or bundled):
            return None
        setup = self._role if bundled and self._role is not None else self._setup(index, transport)
        ice = transport.ice is not None and has_ice(offer, transport_section(offer, media))
        if family == "sctp":
            section = channel_plan(plan, transport, media.protocol, setup, media.mid, ice, media)
        else:
            other = read_codecs(partner) if partner is not None else None
            if reflected:
                other = ordered(read_codecs(media), plan.codecs)
            codecs = answered_codecs(read_codecs(media), other, media.kind, plan.codecs, plan.is_webrtc)
            if not codecs:
                return None
            codecs = answered_feedback(codecs, media, plan, other)
            said = answered_extensions(media, media if reflected else partner, plan, codecs)
            mux = transport.rtcp_mux if transport.rtcp_mux is not None else plan.is_webrtc
            section = SectionPlan(
                kind=media.kind,
                profile=media.protocol,
                family=family,
                transport=transport,
                mid=media.mid,
                setup=setup,
                ice=ice,
                direction=self._direction(media, partner),
                codecs=codecs,
                rtcp_mux=bundled or (mux and media.has("rtcp-mux")),
                ssrc=plan.ssrcs[place.number] if place.number < len(plan.ssrcs) else None,
                repair=plan.repair_ssrcs[place.number] if place.number < len(plan.repair_ssrcs) else 0,
                bandwidths=kept_bandwidths(partner) if partner is not None else (),
                lines=(*packet_times(partner, plan), *said),
            )
        self._join(section, bundled)
        self._places.took(place, media.kind)
        return write_section(section, plan)

    def _direction(self, media: MediaDescription, partner: MediaDescription | None) -> Direction:
        """Return the direction allowed by the offer, the plan and the other side's answer (RFC 3264 section 6.1)."""
        direction = said_direction(self._offer, media).reversed().limited_to(self._plan.direction)
        if partner is not None and self._other is not None:
            direction = direction.limited_to(said_direction(self._other, partner))
        return direction

    def _joins(self, media: MediaDescription) -> bool:
        """Return True if the section shares the transport of the first accepted section of its BUNDLE group."""
        mid = media.mid
        group = next((mids for mids in self._bundle if mid in mids), None)
        return group is not None and (self._tagged is None or self._tagged in group)

    def _join(self, section: SectionPlan, bundled: bool) -> None:
        """Add an accepted section to the bundle; the first section sets the DTLS role of all (RFC 9143 section 7.3)."""
        if bundled and section.mid is not None:
            self._tagged = self._tagged or section.mid
            self._role = self._role or section.setup
            self._bundled.append(section.mid)

    def _setup(self, index: int, transport: TransportPlan) -> SetupRole:
        """Return our DTLS role: the complement of the offered role, else the previous role, else the plan's."""
        offered = setup_of(self._offer, transport_section(self._offer, self._offer.media[index]))
        if offered is SetupRole.ACTIVE:
            return SetupRole.PASSIVE
        if offered is SetupRole.PASSIVE:
            return SetupRole.ACTIVE
        previous = self._plan.previous
        if previous is not None and index < len(previous.media):
            role = setup_of(previous, previous.media[index])
            if role in (SetupRole.ACTIVE, SetupRole.PASSIVE):
                return role
        return SetupRole.ACTIVE if transport.setup is SetupRole.ACTIVE else SetupRole.PASSIVE


def _keyed(transport: TransportPlan | None, media: MediaDescription, family: Family) -> TransportPlan | None:
    """Return the transport with the answering key; None without a key for the family."""
    if transport is None or family == "plain":
        return transport
    if family in ("dtls", "sctp"):
        return transport if transport.fingerprints else None
    crypto = _agreed_key(media.all(Crypto), transport)
    return replace(transport, crypto=(crypto,)) if crypto is not None else None


def _agreed_key(offered: Iterable[Crypto], transport: TransportPlan) -> Crypto | None:
    """Return our key for the first usable offered key, with the tag of the offer (RFC 4568 section 5.1.2).

    Keys without master key identifier come first, as peers implement these more reliably.
    """
    by_suite = {crypto.suite: crypto for crypto in reversed(transport.crypto)}
    usable = usable_keys(offered, by_suite)
    simple = [crypto for crypto in usable if crypto.keys[0].mki is None]
    for crypto in simple or (usable if transport.mki else ()):
        return replace(by_suite[crypto.suite], tag=crypto.tag)
    return None


def _timing(offer: SessionDescription) -> str:
    """Return the offer's t= value, repeated in the answer (RFC 3264 section 6)."""
    values = offer.field_values("t")
    return values[0] if values else "0 0"
