"""From what one side of a call said to what the other side is told: pure functions of descriptions and a plan.

The plan holds everything that is ours (addresses, ports, keys, codec policy); nothing of one peer but
its media, directions and codecs reaches the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from sdp.attributes import Crypto, MaxPtime, Ptime, SetupRole
from sdp.codecs import Codec, read_codecs
from sdp.description import MediaDescription, SessionDescription
from sdp.errors import SdpNegotiationError
from sdp.fields import Origin
from sdp.negotiation import said_direction
from sdp.pairing import Family, families, is_live, opposite, partners, slots
from sdp.plan import DATAGRAM, PROFILES, Plan, TransportPlan
from sdp.sections import SectionPlan, connection_of, refused_section, write_section
from sdp.selection import Numbering, answered_codecs, offered_codecs
from sdp.transport import bundle_groups, has_ice, setup_of

_FAMILIES: Final[dict[str, tuple[Family, ...]]] = {
    "webrtc": ("dtls",),
    "dtls": ("dtls",),
    "rtp": ("plain",),
    "avpf": ("plain",),
    "sdes": ("sdes",),
    "best-effort": ("sdes", "plain"),
}
_PLAIN: Final = {"RTP/SAVP": "RTP/AVP", "RTP/SAVPF": "RTP/AVPF"}
_KEPT_BANDWIDTHS: Final = ("AS", "TIAS")


def translate(
    description: SessionDescription, plan: Plan, *, offer: SessionDescription | None = None
) -> SessionDescription:
    """What our side of the call is told when the other side has said `description`.

    Without `offer` the result is an offer to our peer; with it (what our peer offered) the result answers
    it, built from the other side's answer. Raises SdpNegotiationError (488) where nothing can be offered
    or accepted, SdpSyntaxError (400) for malformed lines.
    """
    if offer is not None:
        return _Answerer(offer, plan, description).build()
    return _Offerer(description, plan).build()


def answer(offer: SessionDescription, plan: Plan) -> SessionDescription:
    """An answer made from the offer alone: before the other side has answered, or where we are the far end.

    Raises like `translate`.
    """
    return _Answerer(offer, plan, None).build()


class _Offerer:
    """Makes one offer; every section that was ever there keeps its place (complaint C6)."""

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
            built = _described(sections, self._plan, self._source, self._group(sections), "0 0")
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
        return tuple([mid for section in sections if section.port and (mid := section.value("mid")) is not None])

    def _sections(self, most: int) -> list[MediaDescription]:
        """The sections there were, then new ones; at most `most` codecs in each beside digits and noise."""
        self._most = most
        self._carried = 0
        kept = [codec for media in self._previous for codec in read_codecs(media)]
        self._numbering = Numbering(kept)
        self._mids = {mid for media in self._previous if (mid := media.value("mid")) is not None}
        source = self._source.media
        built: list[MediaDescription] = []
        seen: set[int] = set()
        found = partners(self._previous, source)
        for slot in slots(self._previous):
            partner = found[slot[0]]
            if partner is not None:
                seen.add(id(partner))
            built += self._again(slot, partner)
        live_after = {media.kind: index for index, media in enumerate(source) if is_live(media)}
        for new in _unseen(source, seen):
            made = self._made(source[new], None) if is_live(source[new]) else []
            if not made and live_after.get(source[new].kind, -1) > new and source[new].kind in self._plan.media:
                made = [refused_section(source[new].without("mid"))]
            built += made
        return built

    def _again(self, slot: tuple[int, ...], source: MediaDescription | None) -> list[MediaDescription]:
        """The sections of one slot of the earlier description, in the same places."""
        earlier = [self._previous[index] for index in slot]
        made = self._made(source, earlier[0]) if source is not None else self._skip(earlier[0].kind)
        by_protocol = {section.protocol: section for section in made if source is not None and is_live(source)}
        if len(slot) == 1:
            return list(by_protocol.values()) or [refused_section(earlier[0])]
        return [by_protocol.get(section.protocol) or refused_section(section) for section in earlier]

    def _skip(self, kind: str) -> list[MediaDescription]:
        self._transport(kind)
        return []

    def _transport(self, kind: str) -> TransportPlan | None:
        """The transport of the next section of a carried kind; each section keeps its own, rejected or not."""
        plan = self._plan
        if kind not in plan.media and not (kind == "application" and plan.data_channel is not None):
            return None
        place = 0 if self._bundled else self._carried
        self._place = self._carried
        self._carried += 1
        return plan.transports[place] if place < len(plan.transports) else None

    def _made(self, source: MediaDescription, earlier: MediaDescription | None) -> list[MediaDescription]:
        """The section (best-effort: the two) that offers what `source` does; none where nothing can be offered."""
        plan = self._plan
        kind = source.kind
        transport = self._transport(kind)
        if transport is None:
            return []
        if "RTP/" not in source.protocol:
            return self._made_channel(source, transport, earlier)
        numbering = self._numbering if self._bundled else Numbering(read_codecs(earlier) if earlier is not None else ())
        codecs = _at_most(offered_codecs(read_codecs(source), kind, plan, numbering), self._most)
        if not codecs:
            return []
        profile = transport.profile or PROFILES[plan.kind]
        if earlier is not None and earlier.port and plan.kind != "best-effort":
            profile = earlier.protocol
        section = SectionPlan(
            kind=kind,
            profile=profile,
            family=_FAMILIES[plan.kind][0],
            transport=transport,
            direction=said_direction(self._source, source).limited_to(plan.direction),
            codecs=_offered_feedback(codecs, kind, plan),
            mid=self._mid(earlier),
            rtcp_mux=transport.rtcp_mux if transport.rtcp_mux is not None else plan.is_webrtc,
            setup=SetupRole.ACTPASS,
            ice=transport.ice is not None,
            ssrc=plan.ssrcs[self._place] if self._place < len(plan.ssrcs) else None,
            lines=(*_passed_lines(source, plan), *_extensions(source, plan)),
            connection=plan.is_webrtc,
        )
        made = [write_section(section, plan)]
        if plan.kind == "best-effort":
            plain = replace(section, profile=_PLAIN.get(profile, "RTP/AVP"), family="plain")
            made.append(write_section(plain, plan))
        return made

    def _made_channel(
        self, source: MediaDescription, transport: TransportPlan, earlier: MediaDescription | None
    ) -> list[MediaDescription]:
        plan = self._plan
        if plan.data_channel is None or "sctp" not in families(self._source, source) or not transport.fingerprints:
            return []
        return [
            write_section(
                _channel_plan(plan, transport, "UDP/DTLS/SCTP", SetupRole.ACTPASS, self._mid(earlier), True), plan
            )
        ]

    def _mid(self, earlier: MediaDescription | None) -> str | None:
        if earlier is not None and (mid := earlier.value("mid")) is not None:
            return mid
        if not self._plan.is_webrtc:
            return None
        mid = next(text for number in range(len(self._mids) + 1) if (text := str(number)) not in self._mids)
        self._mids.add(mid)
        return mid


def _unseen(source: Sequence[MediaDescription], seen: set[int]) -> list[int]:
    """One index for each slot of `source` that no earlier section stands for: of alternatives the live one."""
    return [
        next((index for index in slot if source[index].port), slot[0])
        for slot in slots(source)
        if not any(id(source[index]) in seen for index in slot)
    ]


class _Answerer:
    """Makes one answer: a section for each of the offer's, saying no more than was offered."""

    def __init__(self, offer: SessionDescription, plan: Plan, other: SessionDescription | None) -> None:
        self._offer = offer
        self._plan = plan
        self._other = other
        self._bundle = bundle_groups(offer) if plan.bundle and plan.is_webrtc else ()
        self._tagged: str | None = None
        self._bundled: list[str] = []

    def build(self) -> SessionDescription:
        offer, plan = self._offer, self._plan
        media = offer.media
        found = partners(media, self._other.media) if self._other is not None else {}
        built: dict[int, MediaDescription] = {}
        carried = 0
        for slot in slots(media):
            kind = media[slot[0]].kind
            if kind in plan.media or (kind == "application" and plan.data_channel is not None):
                self._accept(slot, found.get(slot[0]), carried, built)
                carried += 1
        if not built and any(is_live(section) for section in media):
            raise SdpNegotiationError("the offer and this side have no media in common")
        sections = [built.get(index) or refused_section(section) for index, section in enumerate(media)]
        return _described(sections, plan, self._other, tuple(self._bundled), _timing(offer))

    def _accept(
        self, slot: tuple[int, ...], partner: MediaDescription | None, place: int, built: dict[int, MediaDescription]
    ) -> None:
        """Accept one of the slot's sections if any can be."""
        if self._other is not None and (partner is None or not partner.port):
            return
        wanted: tuple[Family, ...] = ("sctp",) if self._offer.media[slot[0]].kind == "application" else ()
        for family in wanted or _FAMILIES[self._plan.kind]:
            for index in slot:
                media = self._offer.media[index]
                if is_live(media) and family in families(self._offer, media):
                    made = self._made(index, family, partner, place)
                    if made is not None:
                        built[index] = made
                        return

    def _made(
        self, index: int, family: Family, partner: MediaDescription | None, place: int
    ) -> MediaDescription | None:
        offer, plan = self._offer, self._plan
        media = offer.media[index]
        bundled = self._joins(media)
        transport = self._transport(place, bundled)
        if transport is None or (family in ("dtls", "sctp") and not transport.fingerprints):
            return None
        if family == "sdes":
            crypto = _agreed_key(media.all(Crypto), transport.crypto)
            if crypto is None:
                return None
            transport = replace(transport, crypto=(crypto,))
        setup = self._setup(index, transport) if family in ("dtls", "sctp") else None
        ice = transport.ice is not None and has_ice(offer, media)
        if family == "sctp":
            section = _channel_plan(plan, transport, media.protocol, setup, media.value("mid"), ice)
        else:
            other = read_codecs(partner) if partner is not None else None
            offered = read_codecs(media)
            codecs = answered_codecs(offered, other, media.kind, plan)
            if not codecs:
                return None
            section = self._section(media, family, transport, codecs, partner, other, setup, ice, place, bundled)
        self._join(media, bundled)
        return write_section(section, plan)

    def _section(
        self,
        media: MediaDescription,
        family: Family,
        transport: TransportPlan,
        codecs: tuple[Codec, ...],
        partner: MediaDescription | None,
        other: tuple[Codec, ...] | None,
        setup: SetupRole | None,
        ice: bool,
        place: int,
        bundled: bool,
    ) -> SectionPlan:
        plan = self._plan
        direction = opposite(said_direction(self._offer, media), plan.direction)
        if partner is not None and self._other is not None:
            direction = direction.limited_to(said_direction(self._other, partner))
        mux = transport.rtcp_mux if transport.rtcp_mux is not None else plan.is_webrtc
        passed = _passed_lines(partner, plan) if partner is not None else _passed_lines(None, plan)
        return SectionPlan(
            kind=media.kind,
            profile=media.protocol,
            family=family,
            transport=transport,
            direction=direction,
            codecs=_answered_feedback(codecs, media.kind, plan, other),
            mid=media.value("mid"),
            rtcp_mux=bundled or (mux and media.has("rtcp-mux")),
            setup=setup,
            ice=ice,
            ssrc=plan.ssrcs[place] if place < len(plan.ssrcs) else None,
            lines=(*passed, *_extensions(media, plan)),
            connection=plan.is_webrtc,
        )

    def _joins(self, media: MediaDescription) -> bool:
        """Whether the section shares the transport of the first one accepted of its BUNDLE group."""
        mid = media.value("mid")
        group = next((mids for mids in self._bundle if mid in mids), None)
        return group is not None and (self._tagged is None or self._tagged in group)

    def _join(self, media: MediaDescription, bundled: bool) -> None:
        mid = media.value("mid")
        if bundled and mid is not None:
            self._tagged = self._tagged or mid
            self._bundled.append(mid)

    def _transport(self, place: int, bundled: bool) -> TransportPlan | None:
        place = 0 if bundled else place
        return self._plan.transports[place] if place < len(self._plan.transports) else None

    def _setup(self, index: int, transport: TransportPlan) -> SetupRole:
        """Our role: the complement of what the offer says, else what it was (complaint C7), else the plan's."""
        offered = setup_of(self._offer, self._offer.media[index])
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


def _channel_plan(
    plan: Plan, transport: TransportPlan, profile: str, setup: SetupRole | None, mid: str | None, ice: bool
) -> SectionPlan:
    channel = plan.data_channel
    assert channel is not None
    return SectionPlan(
        kind="application",
        profile=profile,
        family="sctp",
        transport=transport,
        direction=plan.direction,
        codecs=(),
        mid=mid,
        rtcp_mux=False,
        setup=setup,
        ice=ice,
        ssrc=None,
        lines=(f"a=sctp-port:{channel.sctp_port}", f"a=max-message-size:{channel.max_message_size}"),
        formats=("webrtc-datachannel",),
        connection=plan.is_webrtc,
    )


def _at_most(codecs: tuple[Codec, ...], most: int) -> tuple[Codec, ...]:
    """The first `most` codecs, with the noise and digits at their rates; the numbers stay."""
    media = [codec for codec in codecs if codec.is_media]
    if len(media) <= most:
        return codecs
    kept = media[:most]
    rates = {codec.clock_rate for codec in kept}
    return (*kept, *[codec for codec in codecs if codec.is_event and codec.clock_rate in rates])


def _offered_feedback(codecs: tuple[Codec, ...], kind: str, plan: Plan) -> tuple[Codec, ...]:
    """The codecs with the RTCP feedback of the other side, and what we understand ourselves (RFC 4585)."""
    ours = plan.codecs.feedback if kind == "video" else ()
    result = []
    for codec in codecs:
        if codec.is_media:
            passing = [said for said in codec.feedback if _passes(said, plan) and said not in ours]
            codec = _saying(codec, (*passing, *ours))
        result.append(codec)
    return tuple(result)


def _answered_feedback(
    codecs: tuple[Codec, ...], kind: str, plan: Plan, other: tuple[Codec, ...] | None
) -> tuple[Codec, ...]:
    """The codecs with what the offer said of RTCP feedback, where the other side or we can do it."""
    can = {said for codec in other or () for said in codec.feedback if _passes(said, plan)}
    if kind == "video":
        can.update(plan.codecs.feedback)
    return tuple([_saying(codec, tuple([said for said in codec.feedback if said in can])) for codec in codecs])


def _saying(codec: Codec, feedback: tuple[str, ...]) -> Codec:
    return codec if feedback == codec.feedback else replace(codec, feedback=feedback)


def _passes(feedback: str, plan: Plan) -> bool:
    """Transport-wide feedback means nothing without the header extension that it counts."""
    return feedback != "transport-cc" or any("transport-wide-cc" in uri for uri in plan.extensions)


def _passed_lines(source: MediaDescription | None, plan: Plan) -> tuple[str, ...]:
    """Bandwidth and packet time, which hold from end to end."""
    lines = []
    ptime = None
    if source is not None:
        lines = [f"b={bandwidth}" for bandwidth in source.bandwidths if bandwidth.type in _KEPT_BANDWIDTHS]
        ptime = source.first(Ptime)
        longest = source.first(MaxPtime)
        if longest is not None:
            lines.append(f"a=maxptime:{longest}")
    if plan.ptime is not None:
        lines.append(f"a=ptime:{plan.ptime}")
    elif ptime is not None:
        lines.append(f"a=ptime:{ptime}")
    return tuple(lines)


def _extensions(media: MediaDescription, plan: Plan) -> tuple[str, ...]:
    """The header extensions of a section that may pass, under their own ids."""
    if not plan.extensions or not plan.is_webrtc:
        return ()
    found = []
    for value in media.values("extmap"):
        words = value.split()
        if len(words) > 1 and words[1] in plan.extensions:
            found.append(f"a=extmap:{words[0]} {words[1]}")
    return tuple(found)


def _agreed_key(offered: Iterable[Crypto], ours: Sequence[Crypto]) -> Crypto | None:
    """Our key for the first offered suite that we have, under the offer's tag (RFC 4568 section 5.1.2)."""
    by_suite = {crypto.suite: crypto for crypto in reversed(ours)}
    for crypto in offered:
        if crypto.suite in by_suite and not crypto.session_parameters:
            return replace(by_suite[crypto.suite], tag=crypto.tag)
    return None


def _timing(offer: SessionDescription) -> str:
    """An answer repeats the offer's t= (RFC 3264 section 6)."""
    values = offer.field_values("t")
    return values[0] if values else "0 0"


def _described(
    sections: list[MediaDescription], plan: Plan, other: SessionDescription | None, bundle: tuple[str, ...], timing: str
) -> SessionDescription:
    """The whole description; its version rises only where the text differs from what was sent before."""
    previous = plan.previous
    origin = previous.origin if previous is not None else None
    if origin is None:
        address_type = "IP6" if ":" in plan.address else "IP4"
        origin = Origin("-", str(plan.session_id), plan.session_version, plan.address, address_type)
    lines = ["v=0", f"o={origin}", "s=-"]
    if not plan.is_webrtc:
        sections = _with_connections(lines, sections, plan)
    if other is not None:
        lines += [f"b={bandwidth}" for bandwidth in other.bandwidths if bandwidth.type in (*_KEPT_BANDWIDTHS, "CT")]
    lines.append(f"t={timing}")
    if bundle:
        lines.append("a=group:BUNDLE " + " ".join(bundle))
    if any(transport.ice is not None and transport.ice.lite for transport in plan.transports) and any(
        section.has("ice-ufrag") for section in sections
    ):
        lines.append("a=ice-lite")
    described = SessionDescription(tuple(lines), tuple(sections))
    if previous is None or described == previous:
        return described
    lines[1] = f"o={replace(origin, session_version=origin.session_version + 1)}"
    return described.with_lines(lines)


def _with_connections(lines: list[str], sections: list[MediaDescription], plan: Plan) -> list[MediaDescription]:
    """Phones get one c= line for the session, and others only in sections that differ."""
    by_port = {transport.port: transport.address for transport in plan.transports}
    addresses = [by_port.get(section.port) for section in sections]
    common = next((address for address in addresses if address is not None), None) or plan.address
    lines.append(f"c={connection_of(common)}")
    return [
        section.replace_field("c", *([connection_of(address)] if address not in (None, common) else []))
        for section, address in zip(sections, addresses, strict=True)
    ]
