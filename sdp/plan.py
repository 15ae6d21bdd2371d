"""Plan of our side of a description: addresses, ports, keys, codecs, as values from the engine."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Final, Literal

from sdp.attributes import Crypto, Direction, Fingerprint, SetupRole
from sdp.codecs import Codec
from sdp.description import SessionDescription
from sdp.frozen import filled_at_once

PlanKind = Literal["webrtc", "rtp", "avpf", "sdes", "dtls", "best-effort", "opportunistic"]

PROFILES: Final[dict[str, str]] = {
    "webrtc": "UDP/TLS/RTP/SAVPF",
    "rtp": "RTP/AVP",
    "avpf": "RTP/AVPF",
    "sdes": "RTP/SAVP",
    "dtls": "UDP/TLS/RTP/SAVP",
    "best-effort": "RTP/SAVP",
    "opportunistic": "RTP/AVP",
}
"""Profile offered by each kind of plan, unless set by the transport.

"best-effort" offers a secure section beside a plain one, "opportunistic" a plain section with keys (RFC 8643).
"""

DATAGRAM: Final = 1200
"""Octets of a description that leave room for an INVITE's headers in one UDP datagram."""


@dataclass(frozen=True, slots=True)
class IceParameters:
    """Parameters of our ICE agent (RFC 8839)."""

    ufrag: str
    password: str = field(repr=False)
    candidates: tuple[str, ...] = ()
    """Candidates as in RFC 8839, with or without the leading "candidate:"."""
    lite: bool = False
    options: tuple[str, ...] = ()
    """Tokens of a=ice-options: "trickle", "renomination", "ice2"."""
    complete: bool = True
    """True if no candidate follows: a=end-of-candidates is written."""


@filled_at_once
@dataclass(frozen=True, slots=True)
class TransportPlan:
    """Receiving address and protection of one of our media sections, or of all if bundled."""

    address: str
    """Literal IP address reachable by the peer."""
    port: int
    rtcp_port: int | None = None
    """RTCP port; None for `port` + 1 (RFC 3550)."""
    rtcp_mux: bool | None = None
    """RTP and RTCP on one port (RFC 5761); None: yes for webrtc, no for other kinds."""
    profile: str | None = None
    """Protocol of m= lines in our offers, None for the value in `PROFILES`. Answers repeat the offer's."""
    ice: IceParameters | None = None
    fingerprints: tuple[Fingerprint, ...] = ()
    setup: SetupRole = SetupRole.PASSIVE
    """Our DTLS role if the peer leaves the choice to us; offers always say actpass (RFC 8829 section 5.2.1)."""
    tls_id: str | None = None
    crypto: tuple[Crypto, ...] = ()
    """Our SDES keys, one per suite, best first (RFC 4568)."""
    kind: str | None = None
    """Kind of section to which the transport is reserved; None for any."""
    mki: bool = False
    """True if packets with a master key identifier can be read; otherwise keys with identifier are ignored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecPolicy:
    """Codecs that may be described to one side."""

    order: tuple[str, ...] = ()
    """Codec names in lower case, best first; unlisted codecs follow in the other side's order."""
    offer_also: tuple[Codec, ...] = ()
    """Codecs into which we transcode for one side: offered beside the other side's own, accepted if no codec is
    common."""
    made_of: tuple[Codec, ...] | None = None
    """Codecs that we decode for transcoding; None means `offer_also`."""
    only: tuple[str, ...] = ()
    """Names, lower case, of the only audio codecs allowed, if any; DTMF and comfort noise follow their codec."""
    video: tuple[str, ...] | None = None
    """Names, lower case, of the video codecs and their repair formats allowed; None for all."""
    drop: tuple[str, ...] = ()
    """Names in lower case never described to the side, in addition to repair formats toward phones."""
    repeats: bool = False
    """True if we retransmit lost video packets to a browser, regardless of the other side: rtx for each codec."""
    events: bool = True
    """True to negotiate telephone-event without the other side, as we convert DTMF events to signalling."""
    feedback: tuple[str, ...] = ("ccm fir", "nack pli")
    """RTCP feedback on video handled by us, regardless of the other side."""
    passes_feedback: bool = True
    """True to pass the other side's feedback too; False if its RTCP does not reach the peer."""
    _hash: int = field(init=False, repr=False, compare=False)
    """Precomputed hash, as policies are keys of cached decisions."""

    def __post_init__(self) -> None:
        said = tuple([getattr(self, each.name) for each in fields(self) if each.compare])
        object.__setattr__(self, "_hash", hash(said))

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True, slots=True)
class DataChannelPlan:
    """Our SCTP association, for plans that terminate data channels (RFC 8841)."""

    sctp_port: int = 5000
    max_message_size: int = 262144
    """Size in octets."""
    most_named: int = 0
    """Channels that an offer may name (a=dcmap, RFC 8864) and that are accepted by name."""


@filled_at_once
@dataclass(frozen=True, slots=True)
class Plan:
    """Complete local input of one description, independent of the other side's."""

    kind: PlanKind
    transports: tuple[TransportPlan, ...]
    """Transports of the first, second ... section of the `media` kinds; one suffices if bundled."""
    address: str = "0.0.0.0"
    """Address in o=."""
    session_id: int = 0
    """Number in o=, below 2**63; the number in `previous` takes precedence."""
    session_version: int = 1
    """Version of the first description; later versions count up from `previous` if the text changes."""
    media: tuple[str, ...] = ("audio", "video")
    """Kinds of sections carried; others are rejected, or omitted from offers."""
    reflects: tuple[str, ...] = ()
    """Kinds besides audio for which we are the far end until another side has answered: accepted as offered, in the
    order of `codecs`."""
    of_each_kind: int | None = None
    """Sections per kind with a destination; more are rejected. None: as many as transports. Several transports of a
    bundle for one kind get a section each."""
    codecs: CodecPolicy = CodecPolicy()
    previous: SessionDescription | None = None
    """Description last sent to the side in the call: its mids, payload types, roles and order are kept."""
    direction: Direction = Direction.SENDRECV
    """Upper limit of every section's direction."""
    bundle: bool = True
    """For webrtc: True to take part in BUNDLE."""
    cname: str = ""
    stream: str = ""
    """Id of the media stream in a=msid, for webrtc; "" for none ("-")."""
    ssrcs: tuple[int, ...] = ()
    """SSRCs of our packets, in the order of `transports`, announced to webrtc peers."""
    repair_ssrcs: tuple[int, ...] = ()
    """SSRCs of the retransmissions of each SSRC (RFC 4588), 0 for none; announced if the section has rtx."""
    extensions: tuple[str, ...] = ()
    """URIs of RTP header extensions passed between the sides (RFC 8285)."""
    own_extensions: tuple[str, ...] = ()
    """URIs of RTP header extensions read by us, regardless of the other side."""
    data_channel: DataChannelPlan | None = None
    """Data channels to accept or offer; None rejects data channels."""
    ptime: int | None = None
    """Milliseconds per packet requested by us, instead of the other side's."""
    size_limit: int | None = None
    """Octets beyond which an offer drops codecs, None: 1200 toward phones, unlimited toward browsers."""

    @property
    def is_webrtc(self) -> bool:
        """Return True if the peer is a browser."""
        return self.kind == "webrtc"
