"""The packet plane as the engine sees it; `python.py` and `native.py` serve it, docs/plane.md describes it.

A *port* is a set of sockets: the browsers' shared one, or a pair for RTP and RTCP of one phone. A *flow* is
one peer: where its packets come from and go to, its SRTP contexts, one incoming and one outgoing stream with
all its numbering. Ids of ports and flows are the caller's, unique as long as the plane lives. What is not
async is done in order and reports no failure but `PlaneHandler.lost`; an unknown id is counted and ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from gateway.media.embedded.plane.srtp import SrtpKey
from gateway.media.embedded.plane.values import (
    Address,
    Bound,
    Counting,
    Fed,
    FlowConfig,
    FlowSnapshot,
    Inventory,
    MediaPacket,
    Repeats,
    Route,
    Silence,
)


class PlaneError(Exception):
    """A request the plane could not do; `code`: busy, full, refused, unknown, version or lost."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class PlaneHandler(Protocol):
    """What a plane tells: everything that is not its steady state. An exception here is logged, never raised."""

    def stun(self, path: int, source: Address, data: bytes, now: float) -> None:
        """STUN that the plane does not answer: not an authentic plain check of an admitted pair."""

    def dtls(self, flow: int, path: int, source: Address, data: bytes, now: float) -> None:
        """One DTLS datagram from an admitted pair, or on a pair port from anybody: `source` is to be judged."""

    def rtcp(self, flow: int, path: int, source: Address, packet: bytes, now: float) -> None:
        """One compound packet in the clear. On a pair port `source` is for the handler to judge."""

    def media(self, flow: int, packet: MediaPacket, now: float) -> None:
        """One packet of a route that punts or copies."""

    def stranger(self, flow: int, path: int, source: Address, data: bytes, heard: float, now: float) -> None:
        """RTP on a pair port from neither the source nor the named address; answer with `admit_source` or not.

        `heard`: when the present source was last heard.
        """

    def source_learned(self, flow: int, source: Address, description: int | None, now: float) -> None:
        """Packets of a pair port are taken from `source` from now on, by the description of that number.

        None: the plane does not tell numbers of descriptions.
        """

    def run_began(self, flow: int, ssrc: int, generation: int, now: float) -> None:
        """The incoming stream begins, or begins afresh; `generation` 1 is the first media."""

    def missing(self, flow: int, sequence_numbers: Sequence[int], now: float) -> None:
        """`resend` was asked for packets that never came here; the numbers are those they would have come with."""

    def fed(self, target: int, source: int, now: float) -> None:
        """The key frame has come with which `source` begins to feed the stream of `target`."""

    def idle(self, flow: int, silent: float) -> None:
        """Nothing authentic came for `silent` seconds; told once until something does or the flow is configured."""

    def lost(self) -> None:
        """The plane died and took every port, flow and key with it. It is being started again."""

    def restarted(self) -> None:
        """A new plane, with nothing in it, is there."""


class Plane(Protocol):
    """The packet path."""

    @property
    def name(self) -> str:
        """ "python" or "native"."""

    @property
    def transcodes(self) -> bool:
        """Whether it serves routes that say TRANSCODE; else they must punt."""

    @property
    def counts_arrivals(self) -> bool:
        """Whether it serves `count_arrivals`: one that has outlived its gateway may not."""

    @property
    def carries_orientation(self) -> bool:
        """Whether it serves `carry_orientation`, likewise."""

    async def start(self, handler: PlaneHandler) -> Inventory:
        """Have it run, or take over the one that runs; raises PlaneError."""

    async def close(self) -> None:
        """End it with everything it holds; idempotent."""

    # Ports

    async def open_shared(
        self,
        port: int,
        hosts: Sequence[str],
        number: int,
        *,
        receive_buffer: int,
        send_buffer: int,
        only_from: Sequence[str] = (),
        dscp: int = 0,
    ) -> tuple[Bound, ...]:
        """Bind the browsers' port on each host, `number` 0: any; raises PlaneError that names the host.

        `dscp` marks what is sent (RFC 2474), 0 to 63.

        Where `only_from` is not empty, datagrams from any other IP address are dropped and counted `foreign`.
        """

    async def open_pair(self, port: int, host: str, number: int, *, dscp: int = 0) -> tuple[Bound, Bound]:
        """Bind RTP on the even `number` and RTCP on the next, 0: any; raises PlaneError busy, full or refused."""

    def close_port(self, port: int) -> None:
        """Close its sockets and its flows."""

    # Flows

    def open_flow(self, flow: int, port: int, config: FlowConfig) -> None:
        """A peer on a port; a pair has one at most."""

    def open_bundled(self, flow: int, carrier: int) -> None:
        """A stream of its own with the addresses and keys of `carrier`, a flow of a shared port (RFC 9143).

        Its packets are those of the payload types that it routes and `carrier` does not; RTCP comes by `carrier`.
        It sends under sources of its own: one that another flow of the transport has used is refused. It closes
        with `carrier`.
        """

    def configure_flow(self, flow: int, config: FlowConfig) -> None: ...

    def close_flow(self, flow: int) -> None: ...

    def set_receive_key(self, flow: int, key: SrtpKey, mki: bytes = b"") -> None:
        """Open what comes with `key`; the key in use already changes nothing, another begins afresh.

        `mki`: the master key identifier that every packet carries (RFC 3711 section 3.1), 128 octets at most; one
        with another is counted as "authentication".
        """

    def set_send_key(self, flow: int, key: SrtpKey) -> None:
        """Protect what goes with `key`, likewise."""

    def set_rtcp_keys(self, flow: int, receive: SrtpKey, send: SrtpKey) -> None:
        """Have other keys for RTCP, which has a DTLS association of its own where it is not multiplexed (RFC 5764
        section 5.1.1.1); on a pair port only."""

    def drop_keys(self, flow: int) -> None:
        """Forget all of them."""

    # Addresses

    def set_credentials(self, flow: int, credentials: Sequence[tuple[str, str]]) -> None:
        """Our (ufrag, password) in force; plain checks of admitted pairs that name one are answered."""

    def admit_pair(self, flow: int, path: int, source: Address) -> None:
        """`source` has proved to be the flow's: its checks, DTLS and media are taken."""

    def remove_pair(self, flow: int, path: int, source: Address) -> None: ...

    def select(self, flow: int, path: int, source: Address) -> None:
        """Send to this admitted pair."""

    def expect(self, flow: int, named: Address | None, description: int = 0) -> None:
        """On a pair port: packets from `named` are taken as soon as they come; a changed one forgets the source.

        So does another number of its `description`, 32 bits, which `PlaneHandler.source_learned` tells again.
        """

    def admit_source(self, flow: int, source: Address, datagram: bytes) -> None:
        """Take packets from `source` from now on, if this one from there is authentic; it is processed then."""

    def set_destination(self, flow: int, rtp: Address | None, rtcp: Address | None) -> None:
        """Where to send while no source is known, and where RTCP goes unless it is multiplexed."""

    # Streams

    def start_stream(
        self,
        flow: int,
        ssrc: int,
        sequence_number: int,
        timestamp: int,
        clock_rate: int,
        *,
        ends_frames: bool = False,
    ) -> None:
        """Begin the outgoing stream with these numbers; the same SSRC again changes nothing.

        `ends_frames`: the marker is video's, the source's alone; else it is set where a talkspurt begins.
        """

    def route(self, source: int, target: int | None, routes: Mapping[int, Route]) -> None:
        """What becomes of each payload type of `source`, on the outgoing stream of `target` (itself: an echo)."""

    def feed(self, target: int, source: int | None, types: Mapping[int, Fed]) -> None:
        """Have packets of `source` of these payload types go out on the stream of `target`, None: no more.

        Beside where else they go, and to any number of streams (1,024); a stream is fed by one source, and not by
        `route` as well: the later one stands. It begins with the next key frame, which `PlaneHandler.fed` tells, and
        until then whom it was fed by feeds it on. Asked for who feeds it, the same is told at once.
        """

    def set_open(self, flow: int, value: bool) -> None:
        """Whether relayed packets go out on the flow's stream; at first they do not."""

    def set_muted(self, flow: int, value: bool) -> None:
        """Whether injected packets have the stream to themselves."""

    def resync(self, flow: int, ssrc: int | None = None) -> None:
        """The next packet may be of a new source; with `ssrc` only where that is the present one (BYE)."""

    def inject(
        self, flow: int, payload_type: int, marker: bool, payload: bytes, advance: int | None, *, event: bool = False
    ) -> None:
        """Send a packet after all others, `advance` ticks after the last or, of an `event`, after its start.

        None: by the clock; it begins an event. Within an event other packets are dropped, unless muted.
        """

    def relay(
        self,
        source: int,
        sequence_number: int,
        timestamp: int,
        payload_type: int,
        marker: bool,
        payload: bytes,
        offset: int | None = None,
    ) -> None:
        """Send what a punted packet of `source` became, on the stream its route leads to.

        The numbers are the incoming ones. `offset` None: in its place among the others; else after all
        others, `offset` outgoing ticks after where `timestamp` belongs.
        """

    def keep(self, flow: int, repeats: Repeats | None) -> None:
        """Keep what the flow sends from now on, to send it again; None: no more."""

    def resend(self, flow: int, sequence_numbers: Sequence[int]) -> None:
        """The peer lacks these packets of the flow's stream: those that were kept go out as retransmissions.

        Those that never came here are told of by `PlaneHandler.missing`; 255 at most are read.
        """

    def count_arrivals(self, flow: int, counting: Counting | None) -> None:
        """Tell the peer when its packets come, by their transport-wide numbers, those of the streams that share the
        transport of `flow` among them (draft-holmer-rmcat-transport-wide-cc-extensions-01); None: no more.

        Every 50 ms while any come, less often where that would take more than a twentieth of what comes, and after
        250 ms at the latest. Of the 512 newest numbers; a peer that sends more in that time is told of the last.
        """

    def carry_orientation(self, flow: int, identifier: int) -> None:
        """Say how pictures lie (3GPP TS 26.114 section 7.4.5) by the header extension of that identifier, 1 to 255.

        It is read in what the peer sends, and what others have so said of their pictures is written into what it is
        sent, retransmissions among it. 0: neither.
        """

    def set_silence(self, flow: int, silence: Silence | None) -> None: ...

    # Out

    def send(self, path: int, address: Address, data: bytes) -> None:
        """One datagram as it is."""

    def send_rtcp(self, flow: int, packet: bytes) -> None:
        """One compound packet in the clear, protected where there is a key."""

    # Figures

    async def snapshot(self, flows: Sequence[int]) -> dict[int, FlowSnapshot]:
        """Those of the flows that there are; raises PlaneError lost.

        Of none: once all is done that packets depend on of what was told before; at once where nothing was.
        """

    async def counters(self) -> dict[str, int]:
        """What the plane dropped before it met a flow, by reason; raises PlaneError lost."""
