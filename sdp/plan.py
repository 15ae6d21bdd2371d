"""What our own side of a description is to say: addresses, ports, keys, codecs. Values only, given by the engine."""

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
"""The profile that each kind of plan offers unless its transport names another.

"best-effort" offers a secure section and a plain one beside it, "opportunistic" one plain section with keys (RFC 8643).
"""

DATAGRAM: Final = 1200
"""Octets of a description that still leave room for the INVITE's headers in one UDP datagram."""


@dataclass(frozen=True, slots=True)
class IceParameters:
    """Our ICE agent (RFC 8839)."""

    ufrag: str
    password: str = field(repr=False)
    candidates: tuple[str, ...] = ()
    """As in RFC 8839, with or without the leading "candidate:"."""
    lite: bool = False
    options: tuple[str, ...] = ()
    """Tokens of a=ice-options: "trickle", "renomination", "ice2"."""
    complete: bool = True
    """No candidate follows: a=end-of-candidates is written."""


@filled_at_once
@dataclass(frozen=True, slots=True)
class TransportPlan:
    """Where one of our media sections (or all of them, bundled) receives, and how it is protected."""

    address: str
    """Literal IP address that the peer can reach."""
    port: int
    rtcp_port: int | None = None
    """None: one above `port`, as RFC 3550 has it."""
    rtcp_mux: bool | None = None
    """RTP and RTCP on one port (RFC 5761); None: yes for webrtc, no for the rest."""
    profile: str | None = None
    """The protocol of our m= lines in offers, None: what `PROFILES` says. Answers repeat the offer's."""
    ice: IceParameters | None = None
    fingerprints: tuple[Fingerprint, ...] = ()
    setup: SetupRole = SetupRole.PASSIVE
    """Our DTLS role where the peer leaves it to us; offers always say actpass (RFC 8829 section 5.2.1)."""
    tls_id: str | None = None
    crypto: tuple[Crypto, ...] = ()
    """Our SDES keys, one a suite, best first (RFC 4568)."""
    kind: str | None = None
    """The kind of section that alone is given it; None: any."""
    mki: bool = False
    """Whether packets that carry a master key identifier can be read; if not, keys that have one are passed over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecPolicy:
    """Which codecs this side may be told about."""

    order: tuple[str, ...] = ()
    """Codec names in lower case, best first; those it does not name follow in the other side's order."""
    offer_also: tuple[Codec, ...] = ()
    """What we can make for this side of other codecs: offered beside the other side's own, accepted where nothing is
    common."""
    made_of: tuple[Codec, ...] | None = None
    """What we can make those of: the codecs that we decode; None for the same ones."""
    only: tuple[str, ...] = ()
    """If any: the names, lower case, of the audio codecs that may be said; digits and noise follow their codec."""
    video: tuple[str, ...] | None = None
    """The names, lower case, of the video codecs and their repair formats that may be said; None: any."""
    drop: tuple[str, ...] = ()
    """Names in lower case that are never said to this side, beside repair formats toward phones."""
    repeats: bool = False
    """Whether we send a browser lost packets of video again, whatever the other side does: rtx of each codec."""
    events: bool = True
    """Take and give telephone-event even where the other side has none: we turn digits into signalling."""
    feedback: tuple[str, ...] = ("ccm fir", "nack pli")
    """RTCP feedback about video that we understand ourselves, whatever the other side does."""
    passes_feedback: bool = True
    """Whether other feedback of the other side is said too: no, where its RTCP does not reach this one."""
    _hash: int = field(init=False, repr=False, compare=False)
    """Made once: what is decided under a policy is remembered by it."""

    def __post_init__(self) -> None:
        said = tuple([getattr(self, each.name) for each in fields(self) if each.compare])
        object.__setattr__(self, "_hash", hash(said))

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True, slots=True)
class DataChannelPlan:
    """Our SCTP association, for plans that can end data channels (RFC 8841)."""

    sctp_port: int = 5000
    max_message_size: int = 262144
    """Octets."""
    most_named: int = 0
    """Channels that an offer may name (a=dcmap, RFC 8864) and that are accepted so."""


@filled_at_once
@dataclass(frozen=True, slots=True)
class Plan:
    """All that our side of one description says and the other side's does not."""

    kind: PlanKind
    transports: tuple[TransportPlan, ...]
    """For the first, second ... section of the `media` kinds; one is enough where they are bundled."""
    address: str = "0.0.0.0"
    """Address in o=."""
    session_id: int = 0
    """Number in o=, below 2**63; what `previous` says comes first."""
    session_version: int = 1
    """Version in the first description; later ones count on from `previous` when the text changes."""
    media: tuple[str, ...] = ("audio", "video")
    """Kinds of sections that are carried; others are refused, or left out of offers."""
    reflects: tuple[str, ...] = ()
    """Kinds beside audio of which we are the far end ourselves where no other side has answered: they are accepted as
    they are offered, in the order of `codecs`."""
    of_each_kind: int | None = None
    """Sections of one kind that have somewhere to go; more are refused. None: as many as there are transports.

    Where several transports of a bundle name one kind, each has a section of it."""
    codecs: CodecPolicy = CodecPolicy()
    previous: SessionDescription | None = None
    """What we last sent to this side in this call: its mids, payload types, roles and order are kept."""
    direction: Direction = Direction.SENDRECV
    """No section says more than this."""
    bundle: bool = True
    """For webrtc: take part in BUNDLE."""
    cname: str = ""
    stream: str = ""
    """Id of the media stream in a=msid, for webrtc; "" for none ("-")."""
    ssrcs: tuple[int, ...] = ()
    """SSRCs that we send with, in the order of `transports`, announced to webrtc peers."""
    repair_ssrcs: tuple[int, ...] = ()
    """SSRCs of the retransmissions of each of those (RFC 4588), 0: none; said where the section has rtx."""
    extensions: tuple[str, ...] = ()
    """URIs of RTP header extensions that may pass from one side to the other (RFC 8285)."""
    own_extensions: tuple[str, ...] = ()
    """URIs of those that we read ourselves, whatever the other side does."""
    data_channel: DataChannelPlan | None = None
    """Accept or offer data channels; None refuses them."""
    ptime: int | None = None
    """Milliseconds a packet that we ask for, in place of what the other side asks."""
    size_limit: int | None = None
    """Octets beyond which codecs are left out of an offer, None: 1200 toward phones, none toward browsers."""

    @property
    def is_webrtc(self) -> bool:
        """Whether the peer is a browser."""
        return self.kind == "webrtc"
