"""The media engine as the calls see it: whole SDP in, whole SDP out, per party.

The vocabulary is rtpengine's (offer, answer, delete, query, keyed by call id and tags), so
an engine that rewrites whole bodies itself fits behind it as well as the embedded one.
A *party* is one side of a call's media; its tag is the id of the leg that stands for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from gateway.media.engine.handover import Elsewhere as Elsewhere
from gateway.media.engine.handover import MediaHandover as MediaHandover
from gateway.media.engine.programs import AudioPort as AudioPort
from gateway.media.engine.programs import Conference as Conference
from gateway.media.engine.programs import Recording as Recording
from gateway.media.engine.programs import RecordingFile as RecordingFile
from gateway.media.engine.programs import Seat as Seat
from sdp.frozen import filled_at_once


class Kind(StrEnum):
    """What a party's SDP speaks."""

    WEBRTC = "webrtc"
    """UDP/TLS/RTP/SAVPF with ICE, DTLS-SRTP, BUNDLE and rtcp-mux (RFC 8829)."""
    RTP = "rtp"
    """Plain RTP/AVP (RFC 3551)."""
    SDES = "sdes"
    """RTP/SAVP keyed by a=crypto (RFC 4568)."""
    DTLS = "dtls"
    """UDP/TLS/RTP/SAVP keyed by DTLS without ICE (RFC 5763, RFC 5764)."""
    BEST_EFFORT = "best-effort"
    """RTP/AVP that offers a=crypto and is protected where that is answered with a key (RFC 8643)."""
    SERVICE = "service"
    """No peer at all: the engine itself makes the media (echo, tone)."""


class Dtmf(StrEnum):
    """How a party takes DTMF digits."""

    AUTO = "auto"
    """As RFC 4733 events where those are agreed, else by its signalling, else as tones."""
    RFC4733 = "rfc4733"
    INFO = "info"
    """By its signalling only: no telephone-event is offered or answered."""
    INBAND = "inband"
    """As tones in the audio: no telephone-event is offered or answered."""


@filled_at_once
@dataclass(frozen=True, slots=True)
class Party:
    """What the engine is to know of one side of a call."""

    tag: str
    """Id of the leg, unique within the call."""
    kind: Kind
    service: str | None = None
    """When `kind` is SERVICE: the built-in service, "echo" or "tone", or "program" for one that `MediaEngine.audio`
    speaks for."""
    prefer: tuple[str, ...] = ()
    """Codec names (lower case, "pcmu") this party is known to prefer, best first."""
    private_source: str | None = None
    """IP address its signalling came from; media may be latched to it when its SDP is private."""
    family: int = 0
    """IP version by which its signalling goes, 4 or 6, where its media goes as well until it says otherwise; 0: nobody
    knows."""
    dtmf: Dtmf = Dtmf.AUTO
    codecs: tuple[str, ...] = ()
    """Codec names (lower case) that alone may be used with it, best first; (): those the engine is set to."""
    lasting: bool = False
    """Of a service: people stay in it, as in a conference, so that it may last as long as a call between people."""
    owner: str | None = None
    """Whose it is: a user's id, "trunk:NAME"; None: nobody's that is known."""
    video: tuple[str, ...] = ()
    """Of a program: names (lower case) of the codecs of the pictures that its callers show each other, best first."""
    text: bool = False
    """Of a program: whether it takes real-time text."""
    reoffered: bool = True
    """Whether it can be made another offer in the call: a page that places one by HTTP alone cannot."""

    def values(self) -> dict[str, Any]:
        """The fields, without types of ours."""
        return {
            "tag": self.tag,
            "kind": self.kind.value,
            "service": self.service,
            "prefer": self.prefer,
            "private_source": self.private_source,
            "family": self.family,
            "dtmf": self.dtmf.value,
            "codecs": self.codecs,
            "lasting": self.lasting,
            "owner": self.owner,
            "video": self.video,
            "text": self.text,
            "reoffered": self.reoffered,
        }

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Party:
        """The party with these fields, as JSON has brought them back."""
        kinds = {"kind": Kind(values["kind"]), "dtmf": Dtmf(values["dtmf"])}
        names = {name: tuple(values.get(name, ())) for name in ("prefer", "codecs", "video")}
        return cls(**{**values, **kinds, **names})


class MediaError(Exception):
    """The engine cannot do what was asked; `status` is the SIP status that says so."""

    def __init__(self, reason: str, status: int = 500, *, limit: str = "", retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        """One sentence for people and logs, free of secrets."""
        self.status = status
        """400 malformed SDP, 488 nothing in common, 481 unknown call or party, 503 a limit or no engine,
        501 this engine cannot do that at all (`Capabilities` says so beforehand), 500 other."""
        self.limit = limit
        """Setting, of the gateway or the engine, whose bound is reached (status 503), or the bound that a description
        exceeds (status 400); "": none."""
        self.retry_after = retry_after
        """Seconds until the engine may do it (status 503); None: nobody knows."""


WHEN_FULL = 10
"""Seconds a caller is asked to wait where an engine is full: a call may have ended by then."""


class PortTakenError(MediaError):
    """Somebody else has the port that was to be listened on."""


@filled_at_once
@dataclass(frozen=True, slots=True)
class StreamStatistics:
    """One direction of one party's audio stream."""

    packets: int = 0
    bytes: int = 0
    lost: int = 0
    """Packets, cumulative (RFC 3550 section 6.4.1)."""
    jitter_ms: float = 0.0
    discarded: int = 0
    """Packets dropped: wrong source, failed authentication, replay, malformed, unknown payload type."""
    codec: str | None = None
    burst_loss: float | None = None
    """Share (0 to 1) of the packets of bursts that were lost (RFC 3611 section 4.7.2); None: not measured."""
    r_factor: float | None = None
    """Quality of this direction, 0 to 100 (ITU-T G.107); None: not measured."""
    mos: float | None = None
    """The same as a mean opinion score, 1 to 4.5 (ITU-T G.107 annex B); None: not measured."""


@dataclass(frozen=True, slots=True)
class TextStatistics:
    """One party's real-time text."""

    received: int = 0
    """Characters that it has typed."""
    sent: int = 0
    """Characters that it was sent."""
    missing: int = 0
    """How often a mark stands where text of it was lost for good."""
    dropped: int = 0
    """Characters that found no room on their way to it."""
    malformed: int = 0
    """Packets of it that were no text."""


@filled_at_once
@dataclass(frozen=True, slots=True)
class PartyStatistics:
    """One party of a call."""

    received: StreamStatistics = field(default_factory=StreamStatistics)
    sent: StreamStatistics = field(default_factory=StreamStatistics)
    rtt_ms: float | None = None
    connected_after_ms: float | None = None
    """From the first SDP that named the party to ICE and DTLS being up, or to its first RTP packet."""
    text: TextStatistics | None = None
    """None: there is no text."""


@dataclass(frozen=True, slots=True)
class CallStatistics:
    """All parties of a call, by tag."""

    parties: dict[str, PartyStatistics] = field(default_factory=dict)
    transcoding: bool = False


@dataclass(frozen=True, slots=True)
class MediaEvent:
    """Something the engine saw; subclasses say what."""

    call_id: str
    tag: str


@dataclass(frozen=True, slots=True)
class Connected(MediaEvent):
    """The party's transport is up: ICE and DTLS, or the first RTP packet."""


@dataclass(frozen=True, slots=True)
class FirstMedia(MediaEvent):
    """The first media packet of this party was accepted."""


@dataclass(frozen=True, slots=True)
class MediaTimeout(MediaEvent):
    """Nothing was received from the party for `seconds`."""

    seconds: float
    is_doubted: bool = False
    """Its signalling does not answer either (`MediaEngine.doubt`)."""


@dataclass(frozen=True, slots=True)
class MediaFailed(MediaEvent):
    """The party's transport cannot come up or has gone; `reason` is one sentence."""

    reason: str


@dataclass(frozen=True, slots=True)
class MediaLost(MediaEvent):
    """What carried the party's media is gone with all its keys; another stands ready, and must be offered to the party.

    `create_offer` describes it. Until it is agreed on nothing flows.
    """


@dataclass(frozen=True, slots=True)
class DtmfReceived(MediaEvent):
    """A telephone-event ended (RFC 4733)."""

    digit: str
    duration_ms: int
    passed_on: bool = False
    """Whether who hears the party has got it in the media as well."""


@dataclass(frozen=True, slots=True)
class KeyFrameWanted(MediaEvent):
    """Who sees the party's picture wants a whole one, and only its signalling can ask it (RFC 5168)."""


@dataclass(frozen=True, slots=True)
class OfferWanted(MediaEvent):
    """The party is to be offered other streams than it has; `create_offer` describes them. All goes on meanwhile."""


EventHandler = Callable[[MediaEvent], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a concrete engine can do; the call table asks before it relies on it."""

    early_answer: bool
    """`accept` works: an offer can be answered before the other party has."""
    services: frozenset[str]
    transcodes: frozenset[str]
    """Codec names (lower case) it can turn into each other."""
    create_offer: bool = False
    """`create_offer` works in a call that is up: re-offers of our own, and offers to who comes in."""
    first_offer: bool = False
    """`create_offer` begins a call: an INVITE without an offer can be served."""
    programs: bool = False
    """`audio` works: a program can be a party."""
    conferences: bool = False
    """`conference` and `play` work: programs' callers can hear each other, and everybody a file."""
    recording: bool = False
    """`record` works."""
    key_frames: bool = False
    """`request_key_frame` works: what signalling asks for is asked of who is seen."""
    video: frozenset[str] = frozenset()
    """Names (lower case) of the video codecs that it passes on; the answer to such an offer waits for the callee's."""
    ringbacks: frozenset[str] = frozenset()
    """Whose sound `accept` can have a caller hear: "to USER" whom it calls, "from OWNER" who calls (Party.owner)."""
    protections: frozenset[Kind] = frozenset({Kind.SDES})
    """What SRTP toward phones may be: SDES, DTLS, BEST_EFFORT."""
    srtp_suites: frozenset[str] = frozenset()
    """Suites of SDES that it protects with (RFC 4568, RFC 6188, RFC 7714)."""
    keeps: bool = False
    """`values` and `resume` work: media goes on while this process is not there."""
    join: bool = False
    """`join`, `isolate`, `release` and `adopt` work: a party can change its peer and be without one.

    `adopt` may be refused all the same (501) of a party that the engine would have to offer anew first, and cannot.
    """


class MediaEngine(Protocol):
    """One media session a call: parties that each have an agreement with us, and routes between two of them.

    Two parties come to be joined in one of two ways: `offer` and `answer` pass one exchange through
    (the answer joins them), or each has its own exchange, made by `create_offer`, and `join` follows.
    A call id that no session has is made by `offer` and `create_offer`, unknown to all the others.
    All methods raise MediaError only; one that raises has changed nothing.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def handover(self) -> MediaHandover | None:
        """What other gateways may go on with; None: the media is this gateway's alone."""

    @property
    def ports(self) -> tuple[int, int] | None:
        """Pairs of RTP ports that cannot be had now, and how many there are; None: others know."""

    @property
    def trouble(self) -> str | None:
        """Reason, half a sentence, why no call can have media now; None: calls can."""

    async def busy(self) -> float | None:
        """How full the thread that takes new flows was since this was asked last, 0 to 1; None: others know.

        Of the time that it was not kept waiting for a processor, the share in which it worked.
        """

    def subscribe(self, handler: EventHandler) -> None:
        """Have every event delivered to `handler`, in the event loop, never re-entrantly."""

    async def start(self) -> None: ...

    async def close(self) -> None:
        """Delete every call and release every socket."""

    async def offer(self, call_id: str, source: Party, target: Party, sdp: str) -> str:
        """Take `source`'s offer and return the offer for `target`.

        Called again with the same tags it is a re-offer (hold, ICE restart, codec change);
        ports, keys, mids and payload types stay what they were unless the offer restarts them.
        """

    async def accept(self, call_id: str, source: Party, ringback: str | None = None) -> str:
        """Answer the pending offer of `source` now, before its peer has answered.

        With one of `Capabilities.ringbacks` it hears that sound until it is joined to somebody.
        """

    async def create_offer(self, call_id: str, target: Party, peer: Party | None = None) -> str:
        """An offer for `target` made by the engine itself (RFC 3264 section 5).

        For INVITEs and re-INVITEs that brought none, a new peer after a transfer, a re-offer after an
        answer that changed. Codecs stand in the order of what `peer` speaks. For a target that has an
        agreement it is a re-offer: ports, keys, mids and payload types stay what they were, the
        version of o= goes up. It is answered by `answer` with target None; a later offer of any kind
        for this target, or `release`, gives it up.
        """

    async def answer(self, call_id: str, source: Party, target: Party | None, sdp: str) -> str:
        """Take `source`'s answer and return the answer for `target`.

        After `accept` the description returned is the one already given, when the media can
        run on it as it stands; a different one means that the target must be re-offered.
        With target None it is the answer to our `create_offer`: it is committed, "" is returned, and
        `source` stays joined to whom it was joined (nobody, if it is new).
        """

    async def join(self, call_id: str, a: str, b: str) -> None:
        """Let the media of the parties with these two tags flow between each other.

        Each must have an agreement. Packets of a common codec are forwarded, others transcoded; what
        either of them was joined to before hears silence. MediaError 481 for an unknown tag,
        488 where no codec is common and none can be turned into the other.
        """

    async def isolate(self, call_id: str, tag: str) -> None:
        """Let this party hear silence and be heard by nobody until it is joined again.

        Its peer is away or gone. No MediaTimeout is said of a party that nobody is joined to.
        """

    async def release(self, call_id: str, tag: str) -> None:
        """Forget one party and close its ports; the others stay, who was joined to it is isolated.

        An unknown tag is nothing to forget.
        """

    async def adopt(self, call_id: str, other_call_id: str, tag: str) -> None:
        """Move the party `tag` of another call into this one with its live transport, isolated.

        Ports, keys and payload types stay; events name this call from now on. MediaError 481 for an
        unknown call or tag, 500 where this call has the tag already. The other call stays, without it.
        """

    async def trickle(self, call_id: str, tag: str, candidate: str, mid: str | None) -> None:
        """Add one remote ICE candidate ("candidate:..." as in RFC 8839); "" ends the list."""

    async def send_dtmf(
        self, call_id: str, tag: str, digit: str, duration_ms: int = 160, *, tones: bool = False
    ) -> None:
        """Send one digit to the party in its media: as RFC 4733 telephone-event, or as the two tones it stands for.

        `tones`: as tones also to a party that takes it in any way (Dtmf.AUTO). MediaError 488 where the party does
        not take it so, 400 for what is no digit, 503 where too many wait.
        """

    def watch(self, call_id: str, tag: str, seconds: float | None) -> None:
        """Have MediaTimeout told after so many seconds without a packet of the party; None: after the usual time.

        Nothing for an unknown party, and for one that has agreed to nothing.
        """

    def doubt(self, owner: str, *, doubted: bool) -> None:
        """Say that the signalling of an owner's parties (`Party.owner`) does not answer, or answers again.

        Meanwhile MediaTimeout comes after a shorter silence of those that are to send something.
        """

    def narrows(self, call_id: str, tag: str) -> bool:
        """Return True where the party was given less audio than it asked for, for the sake of its peer.

        An offer of our own gives it both ways.
        """

    def request_key_frame(self, call_id: str, tag: str) -> None:
        """Have whom this party sees asked for a whole picture (RFC 5168); nothing where it sees none.

        MediaError 481 for an unknown call or party, 501 where the engine cannot.
        """

    async def delete(self, call_id: str) -> CallStatistics:
        """End the session; deleting an unknown call returns empty statistics."""

    def values(self, call_id: str) -> dict[str, Any] | None:
        """What another process needs to `resume` the call, as JSON can hold it, without any SRTP key.

        None for an unknown call, for one that is not agreed, and where that cannot be done (`Capabilities.keeps`).
        """

    async def resume(self, call_id: str, values: Mapping[str, Any], times: int = 1) -> None:
        """Go on with a call of the process before, whose packets flow still; before any other call is made.

        It is the `times`-th that does since the values were taken: what it says is later than what any of them may
        have said (RFC 3264 section 8). MediaError 481 where they do not, 501 where the engine cannot.

        With `handover` it may also be one of another gateway, and at any time.
        """

    async def restore(self, call_id: str, values: Mapping[str, Any], times: int = 1) -> None:
        """Make a call of the process before anew, whose packets flow no more; before any other call is made.

        Its parties have other ports, keys and ICE credentials than they were told, and must be offered them
        (`create_offer`); until then nothing flows. `times` as for `resume`. MediaError 503 where no port is left, 501
        where the engine cannot.
        """

    def end_left(self) -> None:
        """End the media of the process before that was not resumed."""

    def audio(self, call_id: str, tag: str) -> AudioPort:
        """The sound of a party of kind SERVICE and service "program".

        MediaError 481 for an unknown one, 501 where the engine has no programs.
        """

    def conference(self, videos: int = 1, speakers: int = 0) -> Conference:
        """A new one, with nobody in it, each of whose browsers sees as many others at once; MediaError 501 where the
        engine has none. Of those who speak at once so many are heard, the loudest; 0: all of them.

        A browser that is to see more than it has sections for is offered more (`OfferWanted`).
        """

    def record(self, call_id: str, wanted: RecordingFile, ended: Callable[[str | None], None]) -> Recording:
        """Write what the parties of a call say, until `stop` or the end of the call.

        `ended` hears once the file is finished, with one sentence why it ended early (the disk, the time), None: as
        was wanted. The call goes on in any case. MediaError 481 for an unknown call, 400 for a format there is not, 500
        where it is recorded already, 501 where the engine cannot, with what is wanted (`RecordingFile.beep`) or at all.
        """

    async def play(self, call_id: str, path: str, tags: Sequence[str] | None = None) -> None:
        """Play a file, two minutes of it, to these parties, None: to all, in the place of what they hear else.

        It goes on whoever they talk with meanwhile, and over another transport. MediaError 481 for an unknown call or
        party, 400 for what is no sound, 503 where too much waits, 501 where the engine cannot.
        """

    def stop_playing(self, call_id: str) -> None:
        """Play no more of what `play` was given; MediaError 481."""

    async def query(self, call_id: str) -> CallStatistics: ...
