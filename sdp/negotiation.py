"""Outcome of offer and answer, seen from one side (RFC 3264, RFC 8829, RFC 9143)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from sdp.attributes import Crypto, Direction, MaxPtime, Ptime, SetupRole
from sdp.codecs import Codec, event_map, find_match, matched_codecs, read_codecs
from sdp.description import MediaDescription, SessionDescription
from sdp.errors import SdpNegotiationError
from sdp.extensions import agreed_extensions
from sdp.fields import Bandwidth, MediaLine
from sdp.frozen import filled_at_once
from sdp.keys import KEY_OCTETS, usable_keys
from sdp.pairing import families, group_alternatives
from sdp.transport import RemoteTransport, bundle_groups, is_held, read_transport, setup_of

Side = Literal["offerer", "answerer"]
Contested = dict[int, tuple[Codec, Codec]]
"""Our codec and the remote side's, by payload type."""


@filled_at_once
@dataclass(frozen=True, slots=True)
class MediaAgreement:
    """Outcome for one media section. Directions and payload types are from the local view."""

    index: int
    """Position of the m= line, from 0."""
    kind: str
    """audio, video, application ..."""
    mid: str | None
    accepted: bool
    """False if either side rejected the section, or without common codecs; all further fields are then empty."""
    profile: str
    """Protocol of the m= lines."""
    direction: Direction = Direction.INACTIVE
    """Local sending and receiving, including hold in both notations."""
    send: tuple[Codec, ...] = ()
    """Codecs to send, best first, with the remote side's payload types."""
    receive: tuple[Codec, ...] = ()
    """Codecs to receive, best first, with our payload types."""
    receive_also: tuple[Codec, ...] = ()
    """Codecs to receive under the remote side's differing payload types: some peers send with these, against RFC
    3264 section 5.1."""
    is_settled: bool = False
    """True once the remote side's numbering is known."""
    send_events: dict[int, int] = field(default_factory=dict)
    """telephone-event payload types to send, by clock rate in Hz."""
    receive_events: dict[int, int] = field(default_factory=dict)
    """telephone-event payload types to receive, by clock rate in Hz."""
    ptime: float | None = None
    """Milliseconds of media per packet wanted by the remote side."""
    maxptime: float | None = None
    """Most milliseconds per packet accepted by the remote side."""
    bandwidths: tuple[Bandwidth, ...] = ()
    """Most bandwidth wanted by the remote side."""
    remote: RemoteTransport | None = None
    """Remote transport; None if not accepted."""
    dtls_role: Literal["active", "passive"] | None = None
    """Local DTLS role; the active side sends the ClientHello. None without DTLS."""
    crypto_local: Crypto | None = None
    """SDES key of our outgoing packets."""
    bundle: int | None = None
    """Index of the section with the shared transport; None for a transport of its own."""
    extensions: dict[str, int] = field(default_factory=dict)
    """Identifiers of the header extensions allowed in both directions, by URI (RFC 8285)."""

    @property
    def arriving(self) -> tuple[Codec, ...]:
        """Return all codecs accepted from the remote side; under a contested number the remote side's digits."""
        contested = self.contested
        if not contested:
            return (*self.receive, *self.receive_also)
        digits: dict[int | None, Codec] = {
            number: theirs for number, (_, theirs) in contested.items() if theirs.is_event
        }
        return (*[digits.get(codec.payload_type, codec) for codec in self.receive], *self.receive_also)

    @property
    def contested(self) -> Contested:
        """Return payload types that name different codecs in the two numberings, audio on either side."""
        if self.is_settled:
            return {}
        theirs = {codec.payload_type: codec for codec in self.send}
        pairs = [(our, theirs.get(our.payload_type, our)) for our in self.receive]
        return {
            our.payload_type: (our, their)
            for our, their in pairs
            if our.payload_type is not None and our.key != their.key and (our.is_media or their.is_media)
        }

    def settled(self, *, theirs: bool) -> MediaAgreement:
        """Return the agreement for a remote side that sends with our payload types, or with its own.

        Ours stay valid beside its own, except for numbers that its own description uses.
        """
        if not theirs:
            return replace(self, is_settled=True)
        taken = {codec.payload_type for codec in self.send}
        also = tuple([codec for codec in self.receive if codec.payload_type not in taken])
        return replace(self, receive=self.send, receive_also=also, receive_events=event_map(self.send), is_settled=True)

    @property
    def held(self) -> bool:
        """Return True if the remote side does not want our media (hold)."""
        return self.accepted and not self.direction.sends


@dataclass(frozen=True, slots=True)
class Agreement:
    """Outcome of an offer and its answer."""

    local: Side
    media: tuple[MediaAgreement, ...]

    @property
    def accepted(self) -> bool:
        """Return True if any section was accepted."""
        return any(media.accepted for media in self.media)

    def first(self, kind: str) -> MediaAgreement | None:
        """Return the first accepted section of a kind."""
        return next((media for media in self.media if media.accepted and media.kind == kind), None)


def negotiate(offer: SessionDescription, answer: SessionDescription, *, local: Side) -> Agreement:
    """Return the outcome of `offer` and `answer`, seen by the writer of one of them.

    Sections correspond by position (see `fitted`); mids and groups not offered are ignored. Raise SdpNegotiationError
    for an ambiguous answer: without section, with another kind or another protection than offered.
    """
    answer = fitted(offer, answer)
    bundled = _bundled(offer, answer)
    return Agreement(
        local, tuple([_agree(_Pair(offer, answer, index, local), bundled) for index in range(len(offer.media))])
    )


def fitted(offer: SessionDescription, answer: SessionDescription) -> SessionDescription:
    """Return the answer with a section for each offered section (RFC 3264 section 6).

    Missing trailing sections count as rejected, surplus sections are dropped. Raise SdpNegotiationError for an answer
    without sections.
    """
    answered, offered = len(answer.media), len(offer.media)
    if answered == offered:
        return answer
    if answered > offered:
        return answer.with_media(answer.media[:offered])
    if not answered:
        raise SdpNegotiationError(f"the answer has no media section, the offer {offered}")
    refused = [replace(media.media_line, port=0) for media in offer.media[answered:]]
    return answer.with_media([*answer.media, *(MediaDescription((f"m={line}",)) for line in refused)])


@dataclass(frozen=True, slots=True)
class _Bundle:
    """Tagged sections of a BUNDLE group, whose transport all its sections use (RFC 9143 section 7)."""

    offerer: int
    """Index in the offer."""
    answerer: int
    """Index in the answer: the first of the group."""


def _bundled(offer: SessionDescription, answer: SessionDescription) -> dict[str, _Bundle]:
    """Return the bundle of each mid bundled by both sides; unknown mids and groups not offered are ignored."""
    answered = bundle_groups(answer)
    if not answered:
        return {}
    offered = bundle_groups(offer)
    index = {media.mid: number for number, media in enumerate(offer.media)}
    bundled: dict[str, _Bundle] = {}
    for mids in filter(None, answered):
        group = next((each for each in offered if mids[0] in each), ())
        if not set(mids).issubset(group):
            continue
        live = [place for mid in mids if (place := index.get(mid)) is not None and answer.media[place].port]
        if live:
            bundle = _Bundle(_offerer_tagged(offer, [index[mid] for mid in group if mid in index], live), live[0])
            for mid in mids:
                bundled[mid] = bundle
    return bundled


def _offerer_tagged(offer: SessionDescription, group: Sequence[int], live: Sequence[int]) -> int:
    """Return the offered section with the offerer's transport of the bundle (RFC 9143 section 7.3.1).

    The first of the offered group that stays in the bundle and has a port. If all remaining ones are bundle-only, the
    first with a port even though rejected, as browsers expect.
    """
    with_port = [place for place in group if offer.media[place].port]
    for place in with_port:
        if place in live:
            return place
    return with_port[0] if with_port else live[0]


class _Pair:
    """Section in both descriptions."""

    __slots__ = ("answer", "answered", "index", "local", "mid", "mine", "offer", "offered", "ours", "remote", "theirs")

    def __init__(self, offer: SessionDescription, answer: SessionDescription, index: int, local: Side) -> None:
        self.offer, self.answer, self.index, self.local = offer, answer, index, local
        self.offered, self.answered = offer.media[index], answer.media[index]
        self.mid = self.offered.mid
        self.ours, self.theirs = (offer, answer) if local == "offerer" else (answer, offer)
        self.mine, self.remote = self.ours.media[index], self.theirs.media[index]


def _agree(pair: _Pair, bundled: dict[str, _Bundle]) -> MediaAgreement:
    offered, answered = pair.offered.media_line, pair.answered.media_line
    if offered.kind != answered.kind:
        raise SdpNegotiationError(f"the answer's section {pair.index} is {answered.kind}, the offer's {offered.kind}")
    mid = pair.mid
    bundle = bundled.get(mid) if mid is not None else None
    live = answered.port != 0 and (offered.port != 0 or (bundle is not None and pair.offered.has("bundle-only")))
    if live and answered.protocol.startswith("UDP/TLS/") and "dtls" not in families(pair.offer, pair.offered):
        raise SdpNegotiationError(f"the answer's section {pair.index} speaks DTLS, which was not offered")
    send: tuple[Codec, ...] = ()
    receive: tuple[Codec, ...] = ()
    if live and "RTP/" in offered.protocol:
        send, receive = _agreed_codecs(read_codecs(pair.mine), read_codecs(pair.remote))
        live = any(codec.is_media for codec in send) or bool(send and offered.kind == "audio")
    if not live:
        return MediaAgreement(pair.index, offered.kind, mid, False, answered.protocol)
    return _accepted(pair, answered, send, receive, bundle)


def _agreed_codecs(mine: tuple[Codec, ...], theirs: tuple[Codec, ...]) -> tuple[tuple[Codec, ...], tuple[Codec, ...]]:
    """Return the common codecs: in the remote side's numbering and order, and in ours."""
    matched = matched_codecs(theirs, mine)
    ours = {our.payload_type for _, our in matched}
    return tuple([their for their, _ in matched]), tuple([codec for codec in mine if codec.payload_type in ours])


def _under_their_numbers(send: tuple[Codec, ...], receive: tuple[Codec, ...]) -> tuple[Codec, ...]:
    """Return codecs numbered differently by the remote side, if their numbers have no other meaning.

    A number of ours has no meaning if the remote side rejected its codec.
    """
    agreed = {codec.payload_type for codec in receive}
    others = [codec for codec in send if codec.payload_type not in agreed]
    return tuple([codec for codec in others if (codec.is_media or codec.is_event) and find_match(codec, receive)])


def _accepted(
    pair: _Pair, line: MediaLine, send: tuple[Codec, ...], receive: tuple[Codec, ...], bundle: _Bundle | None
) -> MediaAgreement:
    in_offer, in_answer = (bundle.offerer, bundle.answerer) if bundle is not None else (pair.index, pair.index)
    theirs = pair.theirs.media[in_answer if pair.local == "offerer" else in_offer]
    mux = bundle is not None or (pair.offered.has("rtcp-mux") and pair.answered.has("rtcp-mux"))
    local_crypto, remote_crypto = _agreed_crypto(pair)
    remote = read_transport(pair.theirs, theirs, rtcp_mux=mux, crypto=remote_crypto)
    ptime, maxptime = pair.remote.first(Ptime), pair.remote.first(MaxPtime)
    return MediaAgreement(
        index=pair.index,
        kind=line.kind,
        mid=pair.mid,
        accepted=True,
        profile=line.protocol,
        direction=agreed_direction(pair.ours, pair.mine, pair.theirs, pair.remote),
        send=send,
        receive=receive,
        receive_also=_under_their_numbers(send, receive),
        send_events=event_map(send),
        receive_events=event_map(receive),
        ptime=ptime.value if ptime is not None else None,
        maxptime=maxptime.value if maxptime is not None else None,
        bandwidths=pair.remote.bandwidths or pair.theirs.bandwidths,
        remote=remote,
        dtls_role=_dtls_role(pair, in_offer, in_answer) if remote.fingerprints else None,
        crypto_local=local_crypto,
        bundle=in_answer if in_answer != pair.index else None,
        extensions=agreed_extensions(pair.mine, pair.remote),
    )


def said_direction(description: SessionDescription, media: MediaDescription) -> Direction:
    """Return the direction declared by the writer; an address of 0.0.0.0 without ICE means hold (RFC 3264 section
    8.4)."""
    said = description.direction_of(media)
    return said.limited_to(Direction.SENDONLY) if is_held(description, media) else said


def agreed_direction(
    ours: SessionDescription, mine: MediaDescription, theirs: SessionDescription, remote: MediaDescription
) -> Direction:
    """Return the direction of actual media from our view, allowed by both sides (RFC 3264 section 6.1)."""
    return said_direction(ours, mine).limited_to(said_direction(theirs, remote).reversed())


def _dtls_role(pair: _Pair, in_offer: int, in_answer: int) -> Literal["active", "passive"]:
    """Return our DTLS role (RFC 5763 section 5): the answer decides; a missing or invalid role follows from the
    offer."""
    answered = setup_of(pair.answer, pair.answer.media[in_answer])
    if answered in (SetupRole.ACTIVE, SetupRole.PASSIVE):
        answerer_active = answered is SetupRole.ACTIVE
    else:
        answerer_active = setup_of(pair.offer, pair.offer.media[in_offer]) is not SetupRole.ACTIVE
    return "active" if answerer_active == (pair.local == "answerer") else "passive"


def _agreed_crypto(pair: _Pair) -> tuple[Crypto | None, Crypto | None]:
    """Return the local and the remote SDES key: the answer's, and the offered one with its tag (RFC 4568 section
    5.1.3).

    The first usable line counts. Some phones put a key into every answer: a key without offered counterpart is ignored.
    """
    if not pair.offered.has("crypto"):
        return None, None
    usable, asked_for = (usable_keys(each.cryptos, KEY_OCTETS) for each in (pair.answered, pair.offered))
    offered = {(crypto.tag, crypto.suite): crypto for crypto in reversed(asked_for)}
    answered = next((crypto for crypto in usable if (crypto.tag, crypto.suite) in offered), None)
    if answered is None:
        if usable:
            raise SdpNegotiationError(f"the answer's section {pair.index} has a key for a suite that was not offered")
        return None, None
    asked = offered[answered.tag, answered.suite]
    return (asked, answered) if pair.local == "offerer" else (answered, asked)


def pair_media(first: Agreement, second: Agreement) -> tuple[tuple[MediaAgreement, MediaAgreement], ...]:
    """Return corresponding accepted sections of two sides of a call: the n-th of a kind with the n-th.

    Rejected sections count, and alternatives (best-effort SRTP) count once, as in `translate`.
    """
    rest = _by_kind(second)
    pairs = []
    for kind, ours in _by_kind(first).items():
        for one, other in zip(ours, rest.get(kind, ()), strict=False):
            if one.accepted and other.accepted:
                pairs.append((one, other))
    return tuple(pairs)


def _by_kind(agreement: Agreement) -> dict[str, list[MediaAgreement]]:
    found: dict[str, list[MediaAgreement]] = {}
    media = agreement.media
    for slot in group_alternatives([(section.kind, section.profile, section.mid) for section in media]):
        chosen = next((index for index in slot if media[index].accepted), slot[0])
        found.setdefault(media[slot[0]].kind, []).append(media[chosen])
    return found
