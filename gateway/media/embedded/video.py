"""Video stream of one party, forwarded to the joined party or to a conference in a common codec."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest

from gateway.media.embedded.describe import Identity, StreamPlan
from gateway.media.embedded.level import SendLevel
from gateway.media.embedded.plane.feedback import (
    fir_sources,
    lost_numbers,
    read_bit_rate_limit,
    read_temporary_limit,
    temporary_limit,
)
from gateway.media.embedded.plane.packet import RtpError
from gateway.media.embedded.plane.rate import ReceiveLimit, SendRate
from gateway.media.embedded.plane.reports import Reporter
from gateway.media.embedded.plane.rtcp import RTPFB, TMMBN, Feedback, RtcpPacket, parse_compound
from gateway.media.embedded.plane.values import NEVER, Address, FlowSnapshot, MediaPacket, Repeats
from gateway.media.embedded.reporting import reports_wanted, said_limits
from gateway.media.embedded.resources import Resources
from gateway.media.embedded.routing import fed_types, repeat_types, unrouted, video_routes
from gateway.media.embedded.rtp.leg import RtpLeg
from gateway.media.embedded.sender_feedback import SenderFeedback
from gateway.media.embedded.transport import Transport
from gateway.media.embedded.turning import Turning
from gateway.media.embedded.viewer import Viewer
from gateway.media.embedded.wish import OfferWish
from gateway.media.engine import Kind
from sdp import Agreement, MediaAgreement, TransportPlan
from sdp.extensions import ORIENTATION
from sdp.levels import Limits
from sdp.negotiation import Side

CLOCK_RATE = 90_000
"""RTP clock rate of every forwarded video codec, in Hz."""
MOST_SEEN = 8
"""Maximum videos that a browser receives at a time: flows that may share a transport in the plane."""
LEAST_FOR_MANY = 200_000
"""Minimum bits a second for a sender in a conference, so that no single viewer can stop the video for the rest."""
_MOST_TOLD = 10
"""Maximum updates a second of senders' rate limits caused by a peer; further changes wait for the next report."""


class VideoStream(Viewer):
    """Video of one party in a session; a `FlowListener`.

    A browser's video shares the audio's transport; a phone's video has separate ports.
    """

    def __init__(
        self,
        resources: Resources,
        identity: Identity,
        cname: str,
        transport: Transport,
        ask_by_signalling: Callable[[], None],
        have_offered: Callable[[], None],
        main: VideoStream | None = None,
    ) -> None:
        """Create a stream on separate ports, or on a browser's audio `transport`.

        `ask_by_signalling` requests a key frame by signalling, `have_offered` a new offer to the peer. A stream with
        `main` is a view: a further video toward the peer, without video from the peer.
        """
        config = resources.config.video
        self.leg = transport if isinstance(transport, RtpLeg) else None
        super().__init__(resources.plane, self.leg.flow if self.leg is not None else resources.ids())
        self.identity = identity
        self.since = resources.clock()
        """Monotonic seconds at which the stream was last opened."""
        self.snapshot: FlowSnapshot | None = None
        """Last snapshot of the plane's figures."""
        self.changed: Callable[[], None] = lambda: None
        """Callback for the peer's first packet and for the end of the stream's connections."""
        self._among = False
        """True in a conference."""
        self.reporter = Reporter(identity.ssrc, cname, resources.random, config.report_interval)
        self.views: list[VideoStream] = []
        """Additional streams toward a browser, each with a separate media section."""
        self.rate = 0.0
        """Recent bit rate of the peer in bits a second."""
        self._main = main
        self._wanted = 1
        """Number of videos that the peer should be able to receive."""
        self._more, self.turning, self.level = OfferWish(have_offered), Turning(have_offered), SendLevel(have_offered)
        self._shared, self._cname, self._transport = resources, cname, transport
        self._ask_by_signalling, self._have_offered = ask_by_signalling, have_offered
        self._sender = SenderFeedback(resources, self.flow, identity.ssrc, self.reporter, ask_by_signalling)
        self.repair_ssrc = resources.random.getrandbits(32) or 1
        """SSRC of retransmissions toward the peer."""
        self._rate = SendRate(config.max_bitrate)
        self._limit = ReceiveLimit(config.max_bitrate)
        self._temporary: tuple[int, int] | None = None
        """SSRC of the owner and bits a second of the peer's limit (TMMBR)."""
        self._notified_at = NEVER
        self._told_since, self._told_times = NEVER, 0
        """Start of a second, and number of rate updates that the peer caused since."""

    async def open(self) -> None:
        """Open separate ports or share the audio's transport; raises MediaError 503."""
        self._shared.flows.add(self.flow, self)
        self._shared.flows.when_fed(self.flow, self.fed)
        if self.leg is not None:
            await self.leg.open()
        else:
            self._shared.plane.open_bundled(self.flow, self._transport.flow)

    async def open_views(self) -> None:
        """Open the missing views."""
        while len(self.views) < self._wanted - 1:
            config, random = self._shared.config, self._shared.random
            identity = Identity.generate(config, Kind.WEBRTC, random, self.identity.timeline)
            ask, have_offered = self._ask_by_signalling, self._have_offered
            view = VideoStream(self._shared, identity, self._cname, self._transport, ask, have_offered, self)
            await view.open()
            self.views.append(view)

    def plans(self, carrier: TransportPlan) -> list[StreamPlan]:
        """Return the plans of the stream and the views; `carrier` is the transport that a browser's streams share."""
        transport = self.leg.plan() if self.leg is not None else carrier
        streams = self, *self.views
        return [StreamPlan("video", transport, each.identity.ssrc, each.repair_ssrc) for each in streams]

    def agree_all(self, own: MediaAgreement, whole: Agreement, side: Side, private_source: str | None) -> None:
        """Apply an agreement to the stream, and the later video sections to the views; raises MediaError 488."""
        self.agree(own, side, private_source)
        sections = [each for each in whole.media if each.kind == "video"]
        more = sections[1:] if sections[0] is own else []
        for view, section in zip_longest(self.views, more[: len(self.views)]):
            if section is not None and section.accepted:
                view.agree(section, side, private_source)
            elif view.agreement is not None:
                view.rest()

    def agree(self, agreement: MediaAgreement, side: Side, private_source: str | None) -> None:
        """Apply an agreement; raises MediaError 488."""
        plane = self._shared.plane
        if self.leg is not None:
            self.leg.agree(agreement, side, private_source)
        plane.resync(self.flow)
        first = self.identity.first(self._shared.wall_clock(), CLOCK_RATE)
        plane.start_stream(self.flow, *first, CLOCK_RATE, ends_frames=True)
        self.agreement = agreement
        self._sender.agree(agreement)
        self._keep(agreement)
        self.turning.agree(agreement)
        self.level.agree(agreement, side)
        plane.carry_orientation(self.flow, agreement.extensions.get(ORIENTATION, 0))

    def _keep(self, agreement: MediaAgreement) -> None:
        """Keep sent packets for retransmission if the peer has agreed to rtx (RFC 4588)."""
        repeats = Repeats(
            ssrc=self.repair_ssrc,
            sequence_number=self.identity.sequence_number,
            payload_types=repeat_types(agreement),
            packets=self._shared.config.video.kept_packets,
        )
        self._shared.plane.keep(self.flow, repeats if repeats.payload_types else None)

    def rest(self) -> None:
        """Suspend the stream until the next agreement, which continues with the present SSRCs."""
        for view in self.views:
            view.rest()
        self.part()
        self.agreement = None
        self._sender.agree(None)
        self._shared.plane.keep(self.flow, None)

    def close(self) -> None:
        """Release the stream with views and flow."""
        for view in self.views:
            view.close()
        self.part()
        self.agreement = None
        self._sender.agree(None)
        self._shared.flows.remove(self.flow)
        if self.leg is not None:
            self.leg.close()
        else:
            self._shared.plane.close_flow(self.flow)

    # Connection to a joined party

    def part(self) -> None:
        """Disconnect the stream from all viewers and senders."""
        for view in self.views:
            view.part()
        plane = self._shared.plane
        for watcher in tuple(self.watchers):
            watcher.lose(self)
        self.watch(None)
        self._among = False
        plane.route(self.flow, None, {})
        plane.set_open(self.flow, False)
        self.changed()

    def show_to(self, listener: VideoStream) -> None:
        """Forward the peer's video to the peer of `listener`, as both agreements allow, and request a key frame."""
        for each in (self, listener):
            each.leave_many()
        heard, told, plane = self.agreement, listener.agreement, self._shared.plane
        is_open = heard is not None and told is not None and told.direction.sends and heard.direction.receives
        routes = video_routes(heard, told) if heard is not None and told is not None else {}
        plane.route(self.flow, listener.flow, routes)
        plane.set_open(listener.flow, is_open)
        listener.is_shown(self)
        if is_open:
            self.ask_key_frame()
            self.limit_rate()
            self.level.beside(listener, listener.level.takes, self._shared.clock())
        self.have_upright()

    @property
    def orientation(self) -> int | None:
        """Extension identifier to offer to the peer; None unless all viewers can rotate video."""
        if self._among:
            return self.turning.among
        said = self.agreement.extensions.get(ORIENTATION) if self.agreement is not None else None
        return said if all(each.is_turned_by_others for each in self.watchers) else None

    def have_upright(self) -> None:
        if self._main is None:
            self.turning.look(self.orientation, self._shared.clock(), has=self.is_turned_by_others)

    @property
    def takes(self) -> Limits:
        """Codec limits of the video that the peer accepts."""
        return self.level.takes

    @property
    def can_turn(self) -> bool:
        """True if the peer can rotate received video."""
        return self.turning.can is not None

    def suit(self, all_can: bool, takes: Limits) -> None:
        """Adapt offers to a conference, where `all_can` rotate video and accept `takes`.

        Unless all can rotate, each sender rotates its own video.
        """
        self.turning.room(all_can, self._shared.clock())
        self.have_upright()
        self.level.room(takes, self._shared.clock())

    # Membership in a conference

    def be_among_many(self) -> None:
        """Enter a conference, or apply a new agreement there: only streams that `see` the video receive it."""
        if not self._among:
            self.part()
        heard, plane = self.agreement, self._shared.plane
        if heard is not None:
            self._among = True
            plane.route(self.flow, None, unrouted(heard) if self._main is None else {})
            plane.set_open(self.flow, heard.direction.sends)
        for view in self.views:
            view.be_among_many()

    def leave_many(self) -> None:
        """Leave the conference; idempotent."""
        if self._among:
            self.part()

    @property
    def looks(self) -> bool:
        """True if the peer accepts video in a conference."""
        return self._among and self.agreement is not None and self.agreement.direction.sends

    @property
    def shows(self) -> bool:
        """True if the peer sends video in a conference."""
        heard = self.agreement
        return self._among and heard is not None and heard.direction.receives and self.source is not None

    def can_be_seen_by(self, other: VideoStream) -> bool:
        """Return True if the peer's preferred codec can be forwarded to `other`."""
        mine, theirs = self.agreement, other.agreement
        if mine is None or theirs is None or not self.shows or not other.looks:
            return False
        first = next((codec.payload_type for codec in mine.receive if codec.is_media), None)
        return first is not None and first in fed_types(mine, theirs)

    @property
    def streams(self) -> Sequence[VideoStream]:
        """Streams that can each carry one video to the peer."""
        return [each for each in (self, *self.views) if each.looks]

    @property
    def mid(self) -> str | None:
        """MID of the media section (RFC 9143)."""
        return self.agreement.mid if self.agreement is not None else None

    def see(self, shown: Sequence[VideoStream]) -> None:
        """Show the first videos of `shown`, as many as the peer has streams, each from the next key frame on.

        A video stays on its present stream. Ignored outside a conference.
        """
        if not self._among:
            return
        able = self.streams
        wanted = shown[: len(able)]
        free = [each for each in able if each.heard is None or each.heard not in wanted]
        for each in (self, *self.views):
            if each not in able:
                each.watch(None)
            elif each not in free:
                each.watch(each.heard)
        seen = [each.heard for each in able if each not in free]
        new = [each for each in wanted if each not in seen]
        for stream, one in zip_longest(free, new):
            stream.watch(one)

    @property
    def most_seen(self) -> int:
        """Maximum videos that the peer can be offered: a phone has one video section."""
        return 1 if self.leg is not None else MOST_SEEN

    def want(self, count: int) -> None:
        """Request an offer with `count` video sections, again after a refusal."""
        taken = sum(each.agreement is not None for each in (self, *self.views))
        if taken >= self._wanted:
            self._more.had()  # a later refusal, as after a page reload, starts new attempts
        if count <= taken or self.leg is not None:
            return
        if count > self._wanted:
            self._wanted = count
            self._more.anew()
        self._more.want(self._shared.clock())

    # Key frames

    def ask_key_frame(self) -> None:
        """Request a key frame from the peer, as in `SenderFeedback`."""
        self._sender.ask_key_frame()

    def ask_later(self) -> None:
        """Send a key frame request that was deferred by the minimum interval."""
        self._sender.ask_later()

    @property
    def source(self) -> int | None:
        """SSRC of the peer's stream; None before its first packet."""
        return self._sender.source

    # Bit rate

    @property
    def _fed_streams(self) -> list[VideoStream]:
        """Streams that carry a video to the peer."""
        return [each for each in (self, *self.views) if each.heard is not None]

    def _gets(self) -> tuple[float, float, float]:
        """Return total bits a second to the peer, and the highest loss (0 to 1) and round trip (s) of its streams."""
        streams = self._fed_streams
        sent = sum(each.heard.rate for each in streams if each.heard is not None)
        lost = max([each.reporter.fraction_lost for each in streams], default=0.0)
        return sent, lost, max([each.reporter.rtt or 0.0 for each in streams], default=0.0)

    @property
    def overrun(self) -> bool:
        """True if several videos exceed the peer's bandwidth even at their minimum rates."""
        count, (sent, lost, _) = len(self._fed_streams), self._gets()
        return count > 1 and self._limit.is_overrun(sent, LEAST_FOR_MANY * count, lost, self._shared.clock())

    @property
    def most(self) -> int:
        """Maximum bits a second to the peer in the stream, from the peer's limits and reported losses."""
        limits = said_limits(self.agreement)
        main = self._main or self
        allowed = main._limit.allowed(self._shared.clock())
        if allowed is not None:  # a limit for all streams together
            limits.append(allowed // max(1, len(main._fed_streams)))
        if self._temporary is not None:
            limits.append(self._temporary[1])
        return min(self._shared.config.video.max_bitrate, self._rate.bits, *limits)

    def limit_rate(self) -> None:
        """Limit the peer's bit rate to the lowest limit among viewers, in a conference at least to LEAST_FOR_MANY."""
        if self.watchers or self._among:
            most = self._shared.config.video.max_bitrate
            least = min(most, LEAST_FOR_MANY) if self._among else 0
            self._sender.limit(max(least, min([most, *[watcher.most for watcher in self.watchers]])))

    # Events of the plane

    def dtls(self, path: int, source: Address, data: bytes, now: float) -> None:
        """Pass a phone's DTLS packet on; a browser's audio transport handles DTLS."""
        if self.leg is not None:
            self.leg.receive_dtls(path, source, data, now)

    def media(self, packet: MediaPacket, now: float) -> None:
        """Ignore media, since no video packet is punted."""

    def idle(self, silent: float) -> None:
        """Ignore silence, since only audio has a timeout."""

    def missing(self, sequence_numbers: Sequence[int], now: float) -> None:
        """Request packets that the peer lacks, and that never arrived here, from their sender."""
        if self.visible is not None:
            self.visible._sender.ask_again(sequence_numbers, now)

    def stranger(self, path: int, source: Address, data: bytes, heard: float, now: float) -> None:
        if self.leg is not None:
            self.leg.stranger(path, source, data, heard, now)

    def source_learned(self, source: Address, description: int | None, now: float) -> None:
        if self.leg is not None:
            self.leg.source_learned(source, description, now)

    def run_began(self, ssrc: int, generation: int, now: float) -> None:
        is_first, before, self._sender.source = self.source is None, self.source, ssrc
        if ssrc != before:
            self._lose_source(before)
        if self._may_tell(now):
            self.limit_rate()
        if is_first:  # later runs change no connection, and a hostile peer can begin a run with every second packet
            self.changed()

    def rtcp(self, source: Address, packet: bytes, now: float) -> None:
        if self.leg is None or self.leg.takes_rtcp_from(source):
            self.take_rtcp(packet, now)

    def take_rtcp(self, packet: bytes, now: float) -> None:
        """Read a compound RTCP packet of the peer, which may concern only audio."""
        try:
            packets = parse_compound(packet)
        except RtpError:
            self.reporter.malformed += 1
            return
        streams = (self, *[each for each in self.views if each.agreement is not None])
        if any([stream._read(packets, now) for stream in streams]) and self._may_tell(now):
            for each in [stream.heard for stream in streams if stream.heard is not None]:
                each.limit_rate()

    def _read(self, packets: Sequence[RtcpPacket], now: float) -> bool:
        """Read reports and feedback; return True if the rate that the peer accepts may have changed."""
        before = self.reporter.taken
        for ssrc in self.reporter.read(packets, now, CLOCK_RATE):
            self._shared.plane.resync(self.flow, ssrc)
            self._lose_source(ssrc)
        reported = self.reporter.taken != before
        if reported:
            self._rate.reported(self.reporter.fraction_lost)
        return any([self._take_feedback(each) for each in packets if isinstance(each, Feedback)]) or reported

    def _take_feedback(self, message: Feedback) -> bool:
        """Execute a feedback message; return True if the message limits the bit rate."""
        limit = read_bit_rate_limit(message)
        asked = read_temporary_limit(message, self.identity.ssrc)
        if limit is not None and self._main is None:
            self._limit.said(limit, self._shared.clock(), *self._gets())
        elif asked is not None:
            self._take_limit(message.sender_ssrc, *asked)
        elif message.asks_for_retransmission and message.media_ssrc == self.identity.ssrc:
            self._shared.plane.resend(self.flow, lost_numbers(message))
        elif message.asks_for_key_frame and self.identity.ssrc in (message.media_ssrc, *fir_sources(message)):
            self.picture_wanted()
        return limit is not None or asked is not None

    def _take_limit(self, owner: int, bits: int, overhead: int) -> None:
        """Store a temporary limit (TMMBR) and confirm the owner with TMMBN (RFC 5104 section 3.5.4)."""
        now = self._shared.clock()
        self._temporary = owner, bits
        if now - self._notified_at >= 1 / _MOST_TOLD:
            self._notified_at = now
            bound = temporary_limit(owner, bits, overhead)
            self._sender.send(Feedback(RTPFB, TMMBN, self.identity.ssrc, 0, bound))

    def _lose_source(self, ssrc: int | None) -> None:
        """Drop the temporary limit of a source that has left (RFC 5104 section 3.5.4)."""
        if self._temporary is not None and self._temporary[0] == ssrc:
            self._temporary = None

    def _may_tell(self, now: float) -> bool:
        """Return True if the peer may cause a rate update now, since each update examines all conference members."""
        if now - self._told_since >= 1.0:
            self._told_since, self._told_times = now, 0
        self._told_times += 1
        return self._told_times <= _MOST_TOLD

    def picture_wanted(self) -> None:
        """Request a key frame of the video that the peer receives."""
        if self.heard is not None:
            self.heard.ask_key_frame()

    # Figures and time

    def is_due(self, now: float) -> bool:
        """Return True if a report is due."""
        return self.agreement is not None and self.reporter.is_due(now)

    def note(self, snapshot: FlowSnapshot) -> None:
        """Store a snapshot of the plane's figures, and compute the peer's bit rate."""
        before, self.snapshot = self.snapshot, snapshot
        if before is not None and snapshot.taken > before.taken:
            self.rate = max(0.0, 8 * (snapshot.octets - before.octets) / (snapshot.taken - before.taken))

    def report(self, snapshot: FlowSnapshot) -> None:
        """Send a due RTCP report, and repeat wanted offers."""
        self.have_upright()
        if self._among or self.heard is not None:
            self.level.look(self._shared.clock())
        if self._transport.ready and reports_wanted(self.agreement):
            self._shared.plane.send_rtcp(self.flow, self.reporter.report(snapshot))
            self.limit_rate()
