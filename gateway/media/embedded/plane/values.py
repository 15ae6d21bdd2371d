"""What goes between the engine and a plane: values only. Times are seconds of CLOCK_MONOTONIC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from ipaddress import ip_address
from typing import NewType

from gateway.media.embedded.audio.opus import OpusSettings
from gateway.media.embedded.plane.key_frame import Format
from sdp.frozen import filled_at_once

Host = NewType("Host", str)
"""IP address in its canonical text, as sockets write it; made by `host_of`, never of other text."""
Address = tuple[Host, int]
"""IP address and port."""
NOWHERE: Address = (Host("0.0.0.0"), 0)
"""Stands where no address is known yet."""


def host_of(text: str) -> Host:
    """Read an IP address, its zone left out; raise ValueError for a name and for other text."""
    return Host(str(ip_address(text.partition("%")[0])))


NEVER = float("-inf")
"""The time of what has not happened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """One local socket address."""

    path: int
    """Opaque name of it: comes with punts, goes back in `send`, `admit_pair` and `select`."""
    address: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class PortState:
    """One port as the plane holds it."""

    port: int
    shared: bool
    """Whether it is the browsers' port; else a pair."""
    bounds: tuple[Bound, ...]
    """Every local address; of a pair the RTP socket first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What a plane holds that has outlived its gateway."""

    ports: tuple[PortState, ...] = ()
    flows: Mapping[int, int] = field(default_factory=dict)
    """Port by flow."""


@filled_at_once
@dataclass(frozen=True, slots=True, kw_only=True)
class FlowConfig:
    """How one peer's packets are taken."""

    secure: bool = False
    """No media before the key of that direction."""
    mux: bool = False
    """RTCP comes on the RTP socket; on a shared port it always does."""
    max_packets_per_second: int = 500
    """RTP packets taken; the rest is dropped and counted."""
    idle_after: float = 0.0
    """Seconds without an authentic packet or check, from when the flow is configured on, before `idle` is told, once;
    0: never. Each `configure_flow` counts anew.
    """


class Action(IntEnum):
    """What becomes of a payload type."""

    DROP = 0
    """Leaves no gap in the outgoing numbers."""
    FORWARD = 1
    PUNT = 2
    """Goes to `PlaneHandler.media` and nowhere else."""
    COPY = 3
    """Is forwarded, and goes to `PlaneHandler.media` as well. Without a clock rate it is telephone-events, of which
    digits alone pass, the rest is dropped (RFC 4733 section 3.2)."""
    TRANSCODE = 4
    """Goes out as another codec, where `Plane.transcodes`: see `Route.conversion`."""
    UNWRAP = 5
    """Is a retransmission (RFC 4588): what it repeats is forwarded in its place, once and where it is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """One codec turned into another by the plane."""

    source: str
    target: str
    """Codecs: "pcmu", "pcma", "g722" or "opus"."""
    frame_ms: int
    """Milliseconds of audio in each packet that goes out: 10, 20, 40 or 60."""
    noise: int | None = None
    """Outgoing payload type of comfort noise (RFC 3389), where the listener takes it."""
    opus: OpusSettings
    """Where Opus goes out."""


@filled_at_once
@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What becomes of one incoming payload type."""

    action: Action
    payload_type: int = 0
    """Outgoing payload type of what is forwarded."""
    clock_rate: int = 0
    """RTP clock it comes with, Hz; 0 for digits and comfort noise, which do not set the pace."""
    rate_out: int = 0
    """RTP clock of what it becomes, Hz; 0: `clock_rate`."""
    conversion: Conversion | None = None
    """What TRANSCODE does; None: comfort noise, which goes to the transcoder of the audio it belongs to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fed:
    """What becomes of one incoming payload type in a stream that is fed with it (`Plane.feed`)."""

    payload_type: int
    form: Format = Format.ANY
    """By what its key frames are known."""


@filled_at_once
@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """What is sent where nothing else is (RFC 6263)."""

    payload_type: int
    payload: bytes
    ticks: int
    """Length of the payload in the outgoing RTP clock."""
    after: float
    """Seconds with nothing sent."""
    interval: float
    """Seconds between two packets of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeats:
    """What of an outgoing stream is kept, and how it is sent again (RFC 4588)."""

    ssrc: int
    sequence_number: int
    """Source and first number of the retransmissions, random."""
    payload_types: Mapping[int, int]
    """Payload type of the retransmission of each payload type."""
    packets: int
    """How many of the last packets are kept, 1024 at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counting:
    """How a peer numbers its packets transport-wide, and how what tells it of their arrival begins."""

    extension: int
    """Identifier of the header extension (RFC 8285), 1 to 255."""
    head: bytes
    """The RTCP packets before each message, 128 octets at most: a report of the flow's source, and our CNAME."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaPacket:
    """One packet of a route that is punted or copied, after RFC 3550 appendix A.1 has admitted it."""

    payload_type: int
    marker: bool
    sequence_number: int
    timestamp: int
    payload: bytes
    in_order: bool
    """Whether it is the newest of its run."""
    generation: int
    """Number of the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayoutFigures:
    """What the playout buffers of a flow's transcoders have done, of those that are gone, too; durations in seconds."""

    late: int
    """Packets that came when their turn was over."""
    lost: int
    """Packets that were missing when their turn came."""
    recovered: int
    """Of those, the ones whose audio was in the next packet."""
    concealed: float
    shortened: float
    lengthened: float
    wanted: float
    """How long packets are to wait now."""
    waited: float | None
    """How long the last one did; None where nothing is transcoded now."""

    def after(self, before: PlayoutFigures | None) -> PlayoutFigures:
        """With what was counted before; how long packets wait is told by whoever last had one."""
        if before is None:
            return self
        return replace(
            self,
            late=before.late + self.late,
            lost=before.lost + self.lost,
            recovered=before.recovered + self.recovered,
            concealed=before.concealed + self.concealed,
            shortened=before.shortened + self.shortened,
            lengthened=before.lengthened + self.lengthened,
            waited=before.waited if self.waited is None else self.waited,
        )


@filled_at_once
@dataclass(frozen=True, slots=True, kw_only=True)
class FlowSnapshot:
    """One flow as it stands."""

    taken: float
    heard: float = NEVER
    """When the last authentic packet or check came."""
    packets_received: int = 0
    octets_received: int = 0
    """RTP that was authentic, before appendix A.1."""
    discarded: Mapping[str, int] = field(default_factory=dict)
    """Received packets dropped, by reason: malformed, wrong_source, rate, authentication, replay, not_ready,
    no_route, misordered, unexpected_rtcp."""

    ssrc: int | None = None
    generation: int = 0
    received: int = 0
    octets: int = 0
    expected: int = 0
    """Packets this run should have had."""
    run_received: int = 0
    lost: int = 0
    """Over all runs."""
    loss_runs: int = 0
    """How often one packet or more in a row were missing."""
    extended_highest: int = 0
    jitter: float = 0.0
    """Seconds."""
    arrived: float = NEVER
    clock_rate: int = 8000
    """RTP clock of the audio that came last, Hz."""
    payload_type: int = -1
    """Of the audio that came last."""
    playout: PlayoutFigures | None = None
    """None where the plane has transcoded nothing that came; what the engine does so is counted by `Stations`."""

    out_ssrc: int | None = None
    sent: int = 0
    sent_octets: int = 0
    """Octets of payload, as sender reports count them."""
    sequence_number: int = 0
    timestamp: int = 0
    """Of the packet that was sent last."""
    sent_at: float = NEVER
    rate_out: int = 8000
    """RTP clock of the outgoing stream, Hz."""
    unsent: Mapping[str, int] = field(default_factory=dict)
    """Packets that did not go out, by reason: not_ready, socket, send, too_long, late."""

    source: Address | None = None
    """Where packets are taken from; of a shared port the selected pair."""
    destination: Address | None = None
    pairs: Mapping[tuple[int, Address], float] = field(default_factory=dict)
    """Of a shared port: when the last check came, by path and source."""
