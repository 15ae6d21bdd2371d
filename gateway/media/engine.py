"""The media engine as the calls see it: whole SDP in, whole SDP out, per party.

The vocabulary is rtpengine's (offer, answer, delete, query, keyed by call id and tags), so
an engine that rewrites whole bodies itself fits behind it as well as the embedded one.
A *party* is one side of a call's media; its tag is the id of the leg that stands for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Kind(StrEnum):
    """What a party's SDP speaks."""

    WEBRTC = "webrtc"
    """UDP/TLS/RTP/SAVPF with ICE, DTLS-SRTP, BUNDLE and rtcp-mux (RFC 8829)."""
    RTP = "rtp"
    """Plain RTP/AVP (RFC 3551)."""
    SDES = "sdes"
    """RTP/SAVP keyed by a=crypto (RFC 4568)."""
    SERVICE = "service"
    """No peer at all: the engine itself makes the media (echo, tone)."""


@dataclass(frozen=True, slots=True)
class Party:
    """What the engine is to know of one side of a call."""

    tag: str
    """Id of the leg, unique within the call."""
    kind: Kind
    service: str | None = None
    """Name of the built-in service when `kind` is SERVICE: "echo" or "tone"."""
    prefer: tuple[str, ...] = ()
    """Codec names (lower case, "pcmu") this party is known to prefer, best first."""
    private_source: str | None = None
    """IP address its signalling came from; media may be latched to it when its SDP is private."""


class MediaError(Exception):
    """The engine cannot do what was asked; `status` is the SIP status that says so."""

    def __init__(self, reason: str, status: int = 500) -> None:
        super().__init__(reason)
        self.reason = reason
        """One sentence for people and logs, free of secrets."""
        self.status = status
        """400 malformed SDP, 488 nothing in common, 481 unknown call, 503 no port left, 500 other."""


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


@dataclass(frozen=True, slots=True)
class PartyStatistics:
    """One party of a call."""

    received: StreamStatistics = field(default_factory=StreamStatistics)
    sent: StreamStatistics = field(default_factory=StreamStatistics)
    rtt_ms: float | None = None
    connected_after_ms: float | None = None
    """From the first SDP that named the party to ICE and DTLS being up, or to its first RTP packet."""


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


@dataclass(frozen=True, slots=True)
class MediaFailed(MediaEvent):
    """The party's transport cannot come up or has gone; `reason` is one sentence."""

    reason: str


@dataclass(frozen=True, slots=True)
class DtmfReceived(MediaEvent):
    """A telephone-event ended (RFC 4733)."""

    digit: str
    duration_ms: int


EventHandler = Callable[[MediaEvent], None]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a concrete engine can do; the call table asks before it relies on it."""

    early_answer: bool
    """`accept` works: an offer can be answered before the other party has."""
    services: frozenset[str]
    transcodes: frozenset[str]
    """Codec names (lower case) it can turn into each other."""


class MediaEngine(Protocol):
    """One media session a call: a caller and one callee, or several until one has answered.

    All methods raise MediaError only.
    """

    @property
    def capabilities(self) -> Capabilities: ...

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

    async def accept(self, call_id: str, source: Party) -> str:
        """Answer the pending offer of `source` now, before its peer has answered."""

    async def answer(self, call_id: str, source: Party, target: Party, sdp: str) -> str:
        """Take `source`'s answer and return the answer for `target`.

        After `accept` the description returned is the one already given, when the media can
        run on it as it stands; a different one means that the target must be re-offered.
        """

    async def trickle(self, call_id: str, tag: str, candidate: str, mid: str | None) -> None:
        """Add one remote ICE candidate ("candidate:..." as in RFC 8839); "" ends the list."""

    async def send_dtmf(self, call_id: str, tag: str, digit: str, duration_ms: int = 160) -> None:
        """Send one digit to the party as RFC 4733 telephone-event."""

    async def delete(self, call_id: str) -> CallStatistics:
        """End the session; deleting an unknown call returns empty statistics."""

    async def query(self, call_id: str) -> CallStatistics: ...
