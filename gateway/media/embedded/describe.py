"""Our side of each party's session descriptions: plans for the `sdp` library, and the descriptions of services."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from random import Random
from typing import NamedTuple, TypeVar

from gateway.media.embedded.audio.codecs import CODECS
from gateway.media.embedded.plane.srtp import SrtpKey, SrtpProfile
from gateway.media.embedded.settings import EmbeddedConfig
from gateway.media.embedded.timeline import Timeline
from gateway.media.embedded.webrtc.certificate import usable_fingerprints
from gateway.media.embedded.webrtc.checks import networks_of_lite, require_candidate
from gateway.media.engine import Dtmf, Kind, MediaError, Party
from sdp import (
    Codec,
    CodecPolicy,
    MediaAgreement,
    MediaDescription,
    Plan,
    SessionDescription,
    TransportPlan,
    answer,
    read_codecs,
    translate,
    transport_section,
)
from sdp.attributes import Crypto, Direction, Fingerprint, IcePwd, IceUfrag
from sdp.errors import SdpError
from sdp.extensions import ORIENTATION, TRANSPORT_CC
from sdp.hosts import ip_of
from sdp.keys import usable_keys
from sdp.negotiation import Side
from sdp.pairing import is_live, is_rtp
from sdp.plan import PlanKind

T = TypeVar("T")

FORMATS = {
    "opus": Codec("opus", 48000, 2, 111, "minptime=10;useinbandfec=1"),
    "g722": Codec("G722", 8000, 1, 9),
    "pcmu": Codec("PCMU", 8000, 1, 0),
    "pcma": Codec("PCMA", 8000, 1, 8),
}
"""Codecs that the engine encodes and decodes itself, with their preferred payload types."""

SERVICE_DESCRIPTION = "".join(
    f"{line}\r\n"
    for line in (
        "v=0",
        "o=- 1 1 IN IP4 192.0.2.1",
        "s=-",
        "c=IN IP4 192.0.2.1",
        "t=0 0",
        "m=audio 9 RTP/AVP 111 9 0 8 110 101",
        "a=rtpmap:111 opus/48000/2",
        "a=rtpmap:9 G722/8000",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:110 telephone-event/48000",
        "a=rtpmap:101 telephone-event/8000",
        "a=sendrecv",
    )
)
"""RTP/AVP description of every codec that services support: a SERVICE party's offer and answer.

The address is for documentation (RFC 5737) and receives nothing, since the engine itself is the peer. `offer`
returns the text for a SERVICE target; the service's leg returns the text as its answer, or sends it as an offer.
"""


CHANNEL_SECTION = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=sctp-port:5000\r\n"
"""Media section that offers data channels again to a browser."""
KEY_LINE = "a=crypto:"


@dataclass(slots=True)
class Identity:
    """Values that stay constant in all descriptions for one party."""

    session_id: int
    ssrc: int
    stream: str
    sequence_number: int
    """Sequence number of the first packet."""
    timeline: Timeline
    keys: tuple[SrtpKey, ...] = field(repr=False)
    """Our SDES keys, one for each suite."""

    @classmethod
    def generate(cls, config: EmbeddedConfig, kind: Kind, random: Random, timeline: Timeline) -> Identity:
        """Draw an identity; `random` must be cryptographically secure, since keys come from it."""

        def random_bytes(count: int) -> bytes:
            return random.getrandbits(8 * count).to_bytes(count, "big")

        keys: tuple[SrtpKey, ...] = ()
        if kind in (Kind.SDES, Kind.BEST_EFFORT):
            profiles = [SrtpProfile.from_suite(suite) for suite in config.srtp_suites]
            keys = tuple([SrtpKey.generate(profile, random_bytes) for profile in profiles if profile is not None])
        return cls(
            session_id=random.getrandbits(62),
            ssrc=random.getrandbits(32),
            stream=f"{random.getrandbits(64):016x}",
            # Below 32768: if the packets before a wrap were lost, a receiver would guess the roll-over counter wrong.
            sequence_number=random.getrandbits(15),
            timeline=timeline,
            keys=keys,
        )

    @property
    def cname(self) -> str:
        """CNAME in our RTCP and a=ssrc; random, so no host is identified (RFC 7022)."""
        return self.stream

    def first(self, now: float, clock_rate: int) -> tuple[int, int, int]:
        """Return SSRC, sequence number and timestamp of a stream that begins at `now` (Unix seconds; clock in Hz)."""
        return self.ssrc, self.sequence_number, self.timeline.at(now, clock_rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Former:
    """Negotiated state of a party whose transport is gone."""

    timeline: Timeline
    sent: SessionDescription | None
    """Last description sent to the party."""
    theirs: SessionDescription | None
    """Last agreed description from the party."""
    spoken: tuple[str, ...]
    """Names of the codecs that the party accepted."""
    video: str = ""
    """Media section that offers the party's video."""
    has_data: bool = False
    """True if the party had data channels."""
    has_text: bool = False
    """True if the party, a phone, had a text stream."""
    has_heard: bool = False
    """True if the party had ever agreed to receive audio."""


def parse(config: EmbeddedConfig, text: str) -> SessionDescription:
    """Parse a description of our own, or a previously agreed description; raises MediaError 400."""
    return checked(lambda: SessionDescription.parse(text, config.sdp_limits))


def agreed_of(config: EmbeddedConfig, values: Sequence[str]) -> tuple[SessionDescription, SessionDescription, Side]:
    """Parse offer and answer from `values` and return both with our side; raises MediaError 400."""
    offer, answer, side = values
    return parse(config, offer), parse(config, answer), "offerer" if side == "offerer" else "answerer"


def is_narrowed(offer: SessionDescription, answer: SessionDescription, ours: Side) -> bool:
    """Return True if our side of an agreement allows less audio than the peer asked for."""
    for asked, said in zip(offer.media, answer.media, strict=False):
        if asked.kind == "audio" and said.port:
            wanted = offer.direction_of(asked)
            if ours == "offerer":
                return wanted is not Direction.SENDRECV
            return answer.direction_of(said) is not wanted.reversed()
    return False


def without_keys(description: SessionDescription) -> str:
    """Return the text of a description without its SRTP keys, fit for storage."""
    text = str(description)
    if KEY_LINE not in text:
        return text
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith(KEY_LINE))


def checked(step: Callable[[], T]) -> T:
    """Run a step of the `sdp` library and turn its errors into MediaError 400 or 488."""
    try:
        return step()
    except SdpError as error:
        raise MediaError(str(error), error.status) from None


def codec_policy(config: EmbeddedConfig, party: Party, prefer: tuple[str, ...]) -> CodecPolicy:
    """Return the codecs and feedback that a description may contain; `prefer` precedes the configured order."""
    configured = party.codecs or (config.webrtc_codecs if party.kind is Kind.WEBRTC else config.rtp_codecs)
    order = tuple(dict.fromkeys((*[name for name in prefer if name in configured], *configured)))
    convertible = tuple([FORMATS[name] for name in order if name in CODECS]) if config.transcode else ()
    again = bool(config.video.kept_packets)
    limits = ("goog-remb",) if party.kind is Kind.WEBRTC else ("goog-remb", "ccm tmmbr")
    feedback = (*limits, "ccm fir", *(("nack",) if again else ()), "nack pli")
    events = config.telephone_event and party.dtmf in (Dtmf.AUTO, Dtmf.RFC4733)
    return _policy(
        order=order,
        offer_also=convertible,
        made_of=tuple(FORMATS.values()) if config.transcode else (),
        only=configured if party.codecs or party.kind is Kind.WEBRTC else (*configured, *config.passed_codecs),
        video=(*config.video.codecs, *(("rtx",) if again else ())),
        feedback=feedback,
        passes_feedback=False,
        drop=() if events else ("telephone-event",),
        repeats=again,
        events=events,
    )


_policy = lru_cache(maxsize=256)(CodecPolicy)
"""Cached constructor: equal policies are identical objects, so that decisions can be cached by policy."""


_PLANS: dict[Kind, PlanKind] = {
    Kind.WEBRTC: "webrtc",
    Kind.SDES: "sdes",
    Kind.DTLS: "dtls",
    Kind.BEST_EFFORT: "opportunistic",
}
"""Kind of the description by kind of party; plain RTP by default."""


class StreamPlan(NamedTuple):
    """Plan of one media section on our side of a description."""

    kind: str
    """Media kind of the section."""
    transport: TransportPlan
    ssrc: int
    """SSRC that we send with."""
    repair: int = 0
    """SSRC of retransmissions; 0 without retransmission."""


def media_plan(
    streams: Sequence[StreamPlan],
    kind: Kind,
    identity: Identity,
    policy: CodecPolicy,
    previous: SessionDescription | None,
    *,
    counts: bool,
    turns: bool,
) -> Plan:
    """Return our side of a description for a party of `kind`; the first of `streams` is audio.

    `counts` allows transport-wide congestion control feedback, `turns` the video orientation extension.
    """
    webrtc, audio = kind is Kind.WEBRTC, streams[0].transport
    kinds = tuple(dict.fromkeys([each.kind for each in streams]))
    return Plan(
        kind=_PLANS.get(kind, "rtp"),
        transports=tuple([replace(each.transport, kind=each.kind) for each in streams]),
        address=audio.address,
        session_id=identity.session_id,
        media=kinds,
        extensions=(ORIENTATION,) if turns and "video" in kinds else (),
        own_extensions=(TRANSPORT_CC,) if webrtc and counts and "video" in kinds else (),
        of_each_kind=1,
        codecs=policy,
        previous=previous,
        cname=identity.cname if webrtc else "",
        stream=identity.stream if webrtc else "",
        ssrcs=tuple([each.ssrc for each in streams]) if webrtc else (),
        repair_ssrcs=tuple([each.repair for each in streams]) if webrtc else (),
    )


def answerer(
    offer: SessionDescription,
    description: SessionDescription | None,
    others: Sequence[Party] = (),
) -> Callable[[Plan], SessionDescription]:
    """Return a function that answers `offer` with the peer's `description`, or without one with our own media.

    Our own media includes video in the codecs of the first program among `others` with video, and text if a service
    reads it.
    """
    if description is None:
        video = next((each.video for each in others if each.video), ())
        text = any(map(takes_text, others))
        return lambda plan: answer(offer, _reading(_showing(plan, video), text=text))
    return lambda plan: translate(description, plan, offer=offer)


def takes_text(party: Party) -> bool:
    """Return True for a service that reads text: an echo, or a program with text."""
    return party.kind is Kind.SERVICE and (party.service == "echo" or party.text)


def _reading(plan: Plan, *, text: bool) -> Plan:
    return replace(plan, reflects=(*plan.reflects, "text")) if text else plan


def _showing(plan: Plan, video: tuple[str, ...]) -> Plan:
    if not video:
        return plan
    said = (*[name for name in video if name in (plan.codecs.video or ())], "rtx")
    codecs = replace(plan.codecs, order=(*plan.codecs.order, *video), video=said)
    return replace(plan, codecs=codecs, reflects=("video",))


def service_of(party: Party) -> str | None:
    """Return the name of the service; None for a party that is no service."""
    return (party.service or "") if party.kind is Kind.SERVICE else None


def family_of(offer: SessionDescription) -> int:
    """Return 4 or 6, the IP version of the first audio section's address; 0 for a wildcard or a host name."""
    connection = next((offer.connection_of(media) for media in _audio_of(offer)), None)
    address = connection.ip if connection is not None else None
    return 0 if address is None or address.is_unspecified else address.version


def has_audio(offer: SessionDescription) -> bool:
    """Return True if an audio section offers a codec other than telephone events."""
    return any(codec.is_media for media in _audio_of(offer) for codec in read_codecs(media))


def has_video(config: EmbeddedConfig, offer: SessionDescription) -> bool:
    """Return True if a section offers video in a codec that the engine forwards."""
    live = [media for media in offer.media if media.kind == "video" and (media.port or media.has("bundle-only"))]
    return any(codec.key[0] in config.video.codecs for media in live for codec in read_codecs(media))


def video_description(codecs: Iterable[Codec], direction: str = "sendrecv", orientation: int | None = None) -> str:
    """Return an RTP/AVP video section with `codecs`; "" without a codec.

    `orientation` is the identifier of the video orientation header extension; None leaves the extension out.
    """
    said = [codec for codec in codecs if codec.is_media]
    if not said:
        return ""
    lines = ["m=video 9 RTP/AVP " + " ".join(str(codec.payload_type) for codec in said)]
    if orientation is not None:
        lines.append(f"a=extmap:{orientation} {ORIENTATION}")
    for codec in said:
        lines.append(f"a=rtpmap:{codec.payload_type} {codec.rtpmap}")
        if codec.fmtp:
            lines.append(f"a=fmtp:{codec.payload_type} {codec.fmtp}")
    return "".join(f"{line}\r\n" for line in (*lines, f"a={direction}"))


def _audio_of(offer: SessionDescription) -> list[MediaDescription]:
    return [media for media in offer.media if media.kind == "audio" and is_live(media) and is_rtp(media)]


def codec_names(agreement: MediaAgreement | None) -> tuple[str, ...]:
    """Return names of the codecs that a party accepts, best first, lower case; () without an agreement."""
    return tuple([codec.key[0] for codec in agreement.send if codec.is_media]) if agreement is not None else ()


def fingerprints_of(description: SessionDescription) -> frozenset[tuple[str, str]]:
    """Return the usable certificate fingerprints of the first section's transport."""
    first = transport_section(description, description.media[0])
    said = tuple([(each.algorithm, each.digest) for each in description.all_of(first, Fingerprint)])
    return frozenset(usable_fingerprints(said))


def require_usable(config: EmbeddedConfig, source: Party, offer: SessionDescription) -> None:
    """Raise MediaError for an offer that no answer could turn into a call, before any callee rings."""
    kind, audio = source.kind, _audio_of(offer)
    if not has_audio(offer):
        raise MediaError("the offer has no audio", 488)
    if kind not in (Kind.WEBRTC, Kind.SERVICE):
        family, ours = family_of(offer), [ip_of(host) for host, _ in config.rtp_hosts]
        if family and not any(one is not None and one.version == family for one in ours):
            raise MediaError(f"this side has no IPv{family}", 488)
    if kind is Kind.WEBRTC:
        _require_ice(config, source, offer, audio)
    elif kind is Kind.DTLS:
        for media in audio:
            _require_fingerprint(offer, media)
    elif kind is Kind.SDES:
        keys = [crypto for media in audio for crypto in media.all(Crypto)]
        if not usable_keys(keys, config.srtp_suites):
            raise MediaError("the offer has no a=crypto that can be used", 488)


def _require_ice(
    config: EmbeddedConfig, source: Party, offer: SessionDescription, audio: Sequence[MediaDescription]
) -> None:
    for media in [transport_section(offer, each) for each in audio]:
        for view in (IceUfrag, IcePwd):
            if offer.first_of(media, view) is None:
                raise MediaError(f"the offer has no usable a={view.NAME}", 488)
        _require_fingerprint(offer, media)
        if offer.has("ice-lite"):
            allowed = networks_of_lite(config.webrtc.ice_peers_allowed, source.private_source)
            require_candidate(["candidate:" + each for each in media.values("candidate")], allowed)


def _require_fingerprint(offer: SessionDescription, media: MediaDescription) -> None:
    offered = tuple([(each.algorithm, each.digest) for each in offer.all_of(media, Fingerprint)])
    if not usable_fingerprints(offered):
        raise MediaError("the offer has no usable a=fingerprint", 488)
