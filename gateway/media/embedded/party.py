"""Media of one party of a call: transport, agreed descriptions, outgoing stream."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from gateway.media.embedded.data.exchange import DataChannels
from gateway.media.embedded.data.text import TextStream
from gateway.media.embedded.describe import Former, Identity, StreamPlan, checked, codec_policy, media_plan
from gateway.media.embedded.plane.reports import Reporter
from gateway.media.embedded.plane.values import NEVER, Address, FlowSnapshot, MediaPacket
from gateway.media.embedded.reporting import reports_wanted, tell_arrivals
from gateway.media.embedded.resources import Resources
from gateway.media.embedded.rtp.leg import RtpLeg
from gateway.media.embedded.sources.packets import Injected
from gateway.media.embedded.sources.players import PROGRAM, Playing, silence_in
from gateway.media.embedded.sources.program import ProgramAudio
from gateway.media.embedded.stations import Stations
from gateway.media.embedded.timeline import Timeline
from gateway.media.embedded.transport import Transport, agreed_beside
from gateway.media.embedded.transports import rtp_leg
from gateway.media.embedded.video import VideoStream
from gateway.media.embedded.webrtc.ice import Left
from gateway.media.embedded.webrtc.leg import WebRtcLeg
from gateway.media.embedded.webrtc.states import LegState
from gateway.media.engine import (
    Connected,
    DtmfReceived,
    FirstMedia,
    KeyFrameWanted,
    Kind,
    MediaError,
    MediaFailed,
    MediaTimeout,
    OfferWanted,
    Party,
)
from sdp import Agreement, Codec, MediaAgreement, Plan, SessionDescription, TransportPlan, negotiate
from sdp.attributes import SetupRole
from sdp.negotiation import Contested, Side, fitted

logger = logging.getLogger("gateway.media")
Answer = Callable[[Plan], SessionDescription]
NOWHERE = TransportPlan(address="192.0.2.1", port=9)
"""Documentation address (RFC 5737) in descriptions of services, which receive no packets."""


class PartyMedia:
    """Media state of one party in a session; a `FlowListener`."""

    def __init__(self, resources: Resources, call_id: str, party: Party, left: Mapping[str, Any] | None = None) -> None:
        """Create a party, with `left` from the stored values of another process. Raises MediaError 503 without room."""
        self.party = party
        self.call_id = call_id
        self.agreement: MediaAgreement | None = None
        self.agreed: tuple[SessionDescription, SessionDescription, Side] | None = None
        """Offer and answer of the agreement, and our side."""
        self.sent: SessionDescription | None = None
        """Last description sent to the peer."""
        self.offered: SessionDescription | None = None
        """Offer from the peer that awaits our answer."""
        self.our_offer: SessionDescription | None = None
        """Our offer that awaits the peer's answer."""
        self.theirs: SessionDescription | None = None
        """Last agreed description from the peer, even over a lost transport."""
        self.former: Former | None = None
        """Negotiated state of a lost transport, until the new transport has an agreement."""
        self._numbering: tuple[Contested, bool] = {}, False  # settled payload types; True for the peer's own numbers
        self._has_moved = False  # True once media was at a former address, which may still send
        self.answered_early = self.has_heard = False  # has_heard: the peer has agreed to receive audio at least once
        self.joined: PartyMedia | None = None
        """Party that exchanges media with the party."""
        self.connected_after: float | None = None
        self.snapshot: FlowSnapshot | None = None
        """Last snapshot of the plane's figures."""
        self._shared = resources
        self._since = resources.clock()
        timeline = Timeline.draw(resources.random, resources.wall_clock())
        self.identity = Identity.generate(resources.config, party.kind, resources.random, timeline)
        if left is not None:
            session_id, ssrc, stream = left["identity"]
            timeline = Timeline(*left["timeline"]) if "timeline" in left else timeline
            self.identity = replace(self.identity, session_id=session_id, ssrc=ssrc, stream=stream, timeline=timeline)
        self.webrtc: WebRtcLeg | None = None
        self.rtp: RtpLeg | None = None
        self.video: VideoStream | None = None
        """Video stream, while descriptions contain video."""
        self._resting_video: VideoStream | None = None
        """Closed video stream of a browser, kept for the next use of video."""
        self.data: DataChannels | None = None
        """Data channels of a browser."""
        self.text: TextStream | None = None
        """Text stream of a phone, while descriptions contain text."""
        self._make_transport(left["transport"] if left is not None else None)
        self.audio = ProgramAudio() if party.service == PROGRAM else None
        """Audio interface of a program."""
        # Weak references avoid a cycle, so that a party is freed with its call rather than by the garbage collector.
        me: weakref.ref[PartyMedia] = weakref.ref(self)
        self.playing = Playing(resources.pacer, weakref.proxy(self))
        self.stations = Stations(
            resources.pacer,
            resources.workers,
            lambda: _joined_of(me()),
            partial(_digit_of, me),
            partial(_digit_of, me, is_tone=True),
        )
        config = resources.config
        self.reporter = Reporter(self.identity.ssrc, self.identity.cname, resources.random, config.report_interval)
        self._rtcp_heard = float("-inf")
        self._closed = self._is_told = False  # _is_told: the peer receives transport-wide congestion control feedback

    def _make_transport(self, left: Mapping[str, Any] | None) -> None:
        resources = self._shared
        if self.party.kind is Kind.WEBRTC:
            there = Left.of(left) if left is not None else None
            self.webrtc = resources.port.open_leg(self._leg_state, there)
            self.data = DataChannels(resources.config.data, self.webrtc.send_data, resources.config.text.max_waiting)
            self.webrtc.on_data = self.data.receive
        elif self.party.kind is not Kind.SERVICE:
            numbers = tuple(left["numbers"]) if left is not None else None
            limits, failed = resources.config, self._transport_failed
            self.rtp = rtp_leg(resources, self.party.kind, self.identity, limits, numbers, failed, self.party.family)

    @property
    def transport(self) -> Transport | None:
        """Transport to the peer; None for a service."""
        return self.webrtc or self.rtp

    @property
    def flow(self) -> int | None:
        """Flow in the plane; None for a service."""
        return self.transport.flow if self.transport is not None else None

    async def open(self) -> None:
        """Open the transport; raises MediaError."""
        transport = self.transport
        if transport is None:
            return
        self._shared.flows.add(transport.flow, self)
        await transport.open()

    async def open_video(self) -> bool:
        """Open a video stream; return False for a service, without room, or if already open. Raises MediaError."""
        config, webrtc = self._shared.config, self.webrtc
        if self.video is not None or self.transport is None:
            return False
        if self._resting_video is not None:
            self.video, self._resting_video = self._resting_video, None
            self.video.since = self._shared.clock()
            return True
        identity = Identity.generate(config, self.party.kind, self._shared.random, self.identity.timeline)
        transport = webrtc or rtp_leg(self._shared, self.party.kind, identity, config.video, family=self.party.family)
        ask, want = partial(self._wanted, KeyFrameWanted), partial(self._wanted, OfferWanted)
        video = VideoStream(self._shared, identity, self.identity.cname, transport, ask, want)
        video.level.may_rise = self.former is not None
        if not await self._opens(video, "video"):
            return False
        if webrtc is not None:
            webrtc.allow(config.webrtc.max_packets_per_second + config.video.max_packets_per_second)
        self.video = video
        return True

    async def open_text(self) -> bool:
        """Open a phone's text stream; return False without room, without RTP, or if already open. Raises MediaError."""
        config, kind = self._shared.config, self.party.kind
        if self.text is not None or self.rtp is None:
            return False
        identity = Identity.generate(config, kind, self._shared.random, self.identity.timeline)
        leg = rtp_leg(self._shared, kind, identity, config.text, family=self.party.family)
        text = TextStream(self._shared, identity, self.identity.cname, leg)
        if not await self._opens(text, "text"):
            return False
        self.text = text
        return True

    async def _opens(self, stream: VideoStream | TextStream, name: str) -> bool:
        try:
            await stream.open()
        except BaseException as error:
            stream.close()
            if isinstance(error, MediaError) and error.status == 503:
                logger.warning("no %s in a call: %s", name, error.reason)
                return False
            raise
        if self._closed:
            stream.close()
        return not self._closed

    def close_text(self) -> None:
        """Close the text stream; descriptions omit text until the next `open_text`."""
        text, self.text = self.text, None
        if text is not None:
            text.close()

    def forget_refused(self, before: float) -> None:
        """Close video and text of an agreed call that were opened earlier than `before` (s) and never agreed."""
        for stream, close in ((self.video, self.close_video), (self.text, self.close_text)):
            if stream is not None and stream.agreement is None and self.agreement is not None and stream.since < before:
                close()

    def close_video(self) -> None:
        """Stop video until the next `open_video`.

        A browser's stream is kept, so that no other flow of its transport ever sends with the same SSRC.
        """
        video, self.video = self.video, None
        if video is None:
            return
        if self.webrtc is not None and not self._closed:
            video.rest()
            self._resting_video = video
        else:
            video.close()

    def _wanted(self, event: type[KeyFrameWanted | OfferWanted]) -> None:
        self._shared.emit(event(self.call_id, self.party.tag))

    def close(self) -> None:
        """Release everything; idempotent."""
        if self._closed:
            return
        self._closed = True
        self.close_video()
        self.close_text()
        if self.data is not None:
            self.data.stop()
        if self._resting_video is not None:
            self._resting_video.close()
            self._resting_video = None
        self.joined = None
        self.playing.close()
        self.stations.close()  # the plane's routes disappear with the flow
        transport = self.transport
        if transport is None:
            return
        if transport.ready and reports_wanted(self.agreement):
            self._shared.plane.send_rtcp(transport.flow, self.reporter.goodbye())
        self._shared.flows.remove(transport.flow)
        transport.close()

    def part(self) -> None:
        """Disconnect all media from the joined party."""
        self.joined = None
        self.playing.part()
        self.stations.close()
        if self.video is not None:
            self.video.part()
        if self.data is not None:
            self.data.part()
        if self.text is not None:
            self.text.part()
        flow = self.flow
        if flow is not None:
            self._shared.plane.route(flow, None, {})
            self._shared.plane.set_open(flow, False)
            self._shared.plane.set_silence(flow, None)

    def leave(self) -> None:
        """Disconnect and drop the agreement, because a different callee has answered."""
        self.part()
        self.agreement = self.agreed = None

    def describe_again(self, party: Party) -> None:
        """Update the party from signalling, except the IP version; raises MediaError 500 if kind or service differ."""
        if party.kind is not self.party.kind or party.service != self.party.service:
            raise MediaError("a party cannot change what it speaks", 500)
        self.party = party if party.family == self.party.family else replace(party, family=self.party.family)

    # Descriptions

    def send_codec(self) -> Codec | None:
        """Return the codec that the peer prefers; None without an agreement."""
        if self.agreement is None:
            return None
        return next((codec for codec in self.agreement.send if codec.is_media), None)

    def plan(self, prefer: tuple[str, ...] = ()) -> Plan:
        """Return our side of the next description for the peer; codecs in `prefer` come first."""
        policy = codec_policy(self._shared.config, self.party, (*prefer, *self.party.prefer))
        transport = self.transport.plan() if self.transport is not None else NOWHERE
        if self.agreement is not None and self.agreement.dtls_role is not None:
            transport = replace(transport, setup=SetupRole(self.agreement.dtls_role))
        streams = [StreamPlan("audio", transport, self.identity.ssrc)]
        if self.video is not None:
            streams += self.video.plans(transport)
        streams += [StreamPlan("text", self.text.plan(), 0)] if self.text is not None else []
        plane, party = self._shared.plane, self.party
        turns = plane.carries_orientation and party.reoffered  # a later viewer without support needs a re-offer
        plan = media_plan(
            streams, party.kind, self.identity, policy, self.sent, counts=plane.counts_arrivals, turns=turns
        )
        return plan if self.data is None else replace(plan, data_channel=self.data.plan)

    def take_answer(self, answer: SessionDescription) -> SessionDescription:
        """Apply the peer's answer to our offer; return the answer with one section for each offered section.

        Raises MediaError 481 without a pending offer, and the errors of the negotiation.
        """
        if self.party.kind is Kind.SERVICE:
            return answer
        offer = self.our_offer
        if offer is None:
            raise MediaError("no offer to this party is waiting for an answer", 481)
        answered = checked(lambda: fitted(offer, answer))
        self._agree(checked(lambda: negotiate(offer, answered, local="offerer")), "offerer", answered)
        self.agreed, self.theirs = (offer, answered, "offerer"), answered
        return answered

    def renumber(self) -> bool:
        """Settle the peer's payload types by its packets; return True if the routes change."""
        agreement = self.agreement
        contested = agreement.contested if agreement is not None else {}
        said = [self.stations.sends_by_its_own(number, theirs) for number, (_, theirs) in contested.items()]
        is_theirs = next((each for each in said if each is not None), None)
        if agreement is None or is_theirs is None:
            return False
        self._numbering = contested, is_theirs
        self.agreement = agreement.settled(theirs=is_theirs)
        return True

    def give_answer(self, make: Answer, prefer: tuple[str, ...] = ()) -> None:
        """Answer the peer's offer with the description that `make` derives from our plan; raises MediaError."""
        offer = self.offered
        if offer is None:
            raise MediaError("no offer of this party is waiting for an answer", 481)
        before = self._local_secrets()
        answer = checked(lambda: make(self.plan(prefer)))
        self._agree(checked(lambda: negotiate(offer, answer, local="answerer")), "answerer", offer)
        if self._local_secrets() != before:
            # The peer's offer restarted ICE or DTLS, which changed our credentials, or a stream was refused.
            answer = checked(lambda: make(self.plan(prefer)))
        self.sent = answer
        self.agreed, self.theirs = (offer, answer, "answerer"), offer

    def _local_secrets(self) -> object:
        secrets = self.transport.local_secrets if self.transport is not None else None
        return secrets, self.video is None, self.text is None

    def _agree(self, whole: Agreement, side: Side, theirs: SessionDescription) -> None:
        """Apply an agreement to all streams and transports; `theirs` is the peer's description. Raises MediaError."""
        agreement, video, text = whole.first("audio"), whole.first("video"), whole.first("text")
        if agreement is None or not any(codec.is_media for codec in agreement.send):
            raise MediaError("no audio codec in common", 488)
        transport = self.transport
        if transport is not None:
            transport.agree(agreement, side, self.party.private_source)
            self._shared.plane.resync(transport.flow)
        if self.data is not None:
            data = whole.first("application")
            self.data.agree(data, theirs.media[data.index] if data is not None else None, side)
        self._has_moved = self._has_moved or self.former is not None
        contested, is_theirs = self._numbering
        if contested and contested == agreement.contested:
            agreement = agreement.settled(theirs=is_theirs)
        self.agreement, self.former = agreement, None
        self.has_heard = self.has_heard or agreement.direction.sends
        if video is None:
            self.close_video()
        elif (seen := self.video) is not None:
            agreed_beside(lambda: seen.agree_all(video, whole, side, self.party.private_source), self.close_video)
        if text is None:
            self.close_text()
        elif (read := self.text) is not None:
            agreed_beside(lambda: read.agree(text, side, self.party.private_source), self.close_text)
        if transport is not None:
            first = self.identity.first(self._shared.wall_clock(), self.rate_out)
            self._shared.plane.start_stream(transport.flow, *first, self.rate_out)
        if self.webrtc is not None:
            plane, flow, told = self._shared.plane, self.webrtc.flow, self._is_told
            self._is_told = tell_arrivals(plane, flow, self.reporter, whole, told=told)
        self.watch()

    def watch(self, seconds: float | None = None) -> None:
        """Report a phone's silence after `seconds`, or by default after the timeout for the agreed direction."""
        agreement, config = self.agreement, self._shared.config
        if self.rtp is None or agreement is None:
            return
        if seconds is not None:
            self.rtp.watch(seconds)
        elif not agreement.direction.receives:
            self.rtp.watch(config.held_timeout)
        elif self._is_doubted and config.doubted_timeout:
            self.rtp.watch(min(config.doubted_timeout, config.media_timeout or config.doubted_timeout))
        else:
            self.rtp.watch(config.media_timeout)

    @property
    def _is_doubted(self) -> bool:
        return self.party.owner in self._shared.doubted

    # The outgoing stream (players.Outlet)

    @property
    def hears(self) -> bool:
        """True if the peer wants audio and the transport is ready."""
        agreement, transport = self.agreement, self.transport
        return agreement is not None and agreement.direction.sends and transport is not None and transport.ready

    @property
    def rate_out(self) -> int:
        codec = self.send_codec()
        return codec.clock_rate if codec is not None else 8000

    def inject(self, packet: Injected) -> None:
        """Send a packet on the party's outgoing stream."""
        if self.flow is not None:
            what = packet.payload_type, packet.marker, packet.payload, packet.advance
            self._shared.plane.inject(self.flow, *what, event=packet.event)

    def mute(self, value: bool) -> None:
        """Drop relayed packets while our own packets use the stream, or stop dropping."""
        if self.flow is not None:
            self._shared.plane.set_muted(self.flow, value)

    def silence(self) -> None:
        """Send silence to a phone without other media; a browser's ICE checks keep its path open already."""
        config, agreement = self._shared.config, self.agreement
        if self.rtp is not None:
            wanted = agreement is not None and agreement.direction.sends
            codec = self.send_codec() if wanted else None
            both = (self, self.joined or self)
            steady = self._has_moved and any(party.connected_after is None for party in both)
            silence = silence_in(codec, config.silence_after, config.silence_interval, steady=steady)
            self._shared.plane.set_silence(self.rtp.flow, silence)

    # Events of the plane

    def dtls(self, path: int, source: Address, data: bytes, now: float) -> None:
        if self.webrtc is not None:
            self.webrtc.receive_dtls(data, now)
        elif self.rtp is not None:
            self.rtp.receive_dtls(path, source, data, now)

    def rtcp(self, source: Address, packet: bytes, now: float) -> None:
        if self.rtp is not None and not self.rtp.takes_rtcp_from(source):
            return
        self._rtcp_heard = now
        for ssrc in self.reporter.receive(packet, now, self.rate_out):
            if self.flow is not None:
                self._shared.plane.resync(self.flow, ssrc)
        if self.video is not None and self.webrtc is not None:
            self.video.take_rtcp(packet, now)

    def media(self, packet: MediaPacket, now: float) -> None:
        self.stations.handle(packet, now)

    def missing(self, sequence_numbers: Sequence[int], now: float) -> None:
        """Ignore lost packets, since audio is never retransmitted."""

    def stranger(self, path: int, source: Address, data: bytes, heard: float, now: float) -> None:
        if self.rtp is not None:
            self.rtp.stranger(path, source, data, heard, now)

    def source_learned(self, source: Address, description: int | None, now: float) -> None:
        if self.rtp is not None:
            self.rtp.source_learned(source, description, now)

    def run_began(self, ssrc: int, generation: int, now: float) -> None:
        if generation == 1:
            self._connected()
            self._shared.emit(FirstMedia(self.call_id, self.party.tag))

    def idle(self, silent: float) -> None:
        if self.webrtc is not None:
            self.webrtc.idle(silent)
        elif self.rtp is not None and self.agreement is not None:
            beside = [each.snapshot.heard for each in (self.video, self.text) if each is not None and each.snapshot]
            if self._shared.clock() - max(self._rtcp_heard, *beside, NEVER) < silent:
                # RTCP, video or text prove that the phone is alive.
                self.watch()
            elif self.joined is not None:
                self._shared.emit(MediaTimeout(self.call_id, self.party.tag, round(silent, 1), self._is_doubted))

    def digit(self, digit: str, duration_ms: int, *, is_tone: bool = False) -> None:
        """Report a digit from the peer; `is_tone` for a tone, which the forwarded audio omits."""
        told = self.joined.agreement if self.joined is not None else None
        passed_on = not is_tone and told is not None and bool(told.send_events)
        self._shared.emit(DtmfReceived(self.call_id, self.party.tag, digit, duration_ms, passed_on))

    def _transport_failed(self, reason: str) -> None:
        self._shared.emit(MediaFailed(self.call_id, self.party.tag, reason))

    def _leg_state(self, state: LegState, reason: str) -> None:
        if state is LegState.CONNECTED:
            self._connected()
            if self.data is not None and self.webrtc is not None:
                self.data.connected(self.webrtc.associations)
            if self.video is not None:
                self.video.picture_wanted()
        elif state is LegState.FAILED:
            self._transport_failed(reason)

    def _connected(self) -> None:
        if self.connected_after is None:
            self.connected_after = self._shared.clock() - self._since
            for party in (self, self.joined or self):
                if party._has_moved:
                    party.silence()
            self._shared.emit(Connected(self.call_id, self.party.tag))

    # Figures and time

    def note(self, snapshot: FlowSnapshot) -> None:
        """Store a snapshot of the plane's figures."""
        self.snapshot = snapshot
        if self.webrtc is not None:
            self.webrtc.note_checks(snapshot.pairs)

    def report(self, snapshot: FlowSnapshot) -> None:
        """Send a due RTCP report."""
        transport = self.transport
        if transport is not None and transport.ready and reports_wanted(self.agreement):
            self._shared.plane.send_rtcp(transport.flow, self.reporter.report(snapshot))

    @property
    def transport_discarded(self) -> int:
        """Number of received packets that the transport dropped itself."""
        return sum(self.transport.discarded.values()) if self.transport is not None else 0


def _joined_of(party: PartyMedia | None) -> PartyMedia | None:
    return None if party is None else party.joined


def _digit_of(me: weakref.ref[PartyMedia], digit: str, duration_ms: int, *, is_tone: bool = False) -> None:
    party = me()
    if party is not None:
        party.digit(digit, duration_ms, is_tone=is_tone)
