"""One side of a call's media: its transport, what was agreed with it, the stream it gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from gateway.media.embedded.audio.transcode import TranscodeHandler
from gateway.media.embedded.describe import Identity, WebRtcSide, checked, codec_policy, rtp_plan, srtp_key, webrtc_plan
from gateway.media.embedded.plane.inbound import Inbound
from gateway.media.embedded.plane.relay import Handler, Relay
from gateway.media.embedded.plane.reports import Reporter
from gateway.media.embedded.plane.srtp import SrtpKeyError
from gateway.media.embedded.rtp.leg import RtpLeg
from gateway.media.embedded.rtp.ports import PortPool
from gateway.media.embedded.settings import EmbeddedConfig
from gateway.media.embedded.sources.digits import EventHandler
from gateway.media.embedded.sources.pacer import Pacer
from gateway.media.embedded.sources.players import Nowhere
from gateway.media.embedded.sources.playing import Playing
from gateway.media.embedded.transport import MediaTransport
from gateway.media.embedded.webrtc.leg import WebRtcLeg
from gateway.media.embedded.webrtc.port import WebRtcPort
from gateway.media.embedded.webrtc.states import LegState
from gateway.media.engine import (
    Connected,
    DtmfReceived,
    FirstMedia,
    Kind,
    MediaError,
    MediaEvent,
    MediaFailed,
    MediaTimeout,
    Party,
)
from sdp import Codec, MediaAgreement, Plan, SessionDescription, negotiate
from sdp.attributes import SetupRole


@dataclass(frozen=True, slots=True)
class Workshop:
    """What all parties share: the engine's sockets, clock, randomness and timers."""

    config: EmbeddedConfig
    port: WebRtcPort
    pool: PortPool
    pacer: Pacer
    clock: Callable[[], float]
    random: Random
    rtp_address: str
    """Address toward phones."""
    emit: Callable[[MediaEvent], None]


_OF_SENDING = frozenset({"not_ready", "socket", "send"})
"""Reasons for which transports drop packets on their way out."""


class PartyMedia:
    """What the session holds of one party."""

    def __init__(self, shop: Workshop, call_id: str, party: Party) -> None:
        """Opens the transport; raises MediaError 503 when there is no room."""
        self.party = party
        self.inbound = Inbound()
        self.agreement: MediaAgreement | None = None
        self.sent: SessionDescription | None = None
        """The last description the peer was given."""
        self.offered: SessionDescription | None = None
        """The offer of the peer that is to be answered."""
        self.our_offer: SessionDescription | None = None
        """Our offer that the peer is to answer."""
        self.answered_early = False
        self._handlers: dict[tuple[object, ...], Handler] = {}
        self._used: set[tuple[object, ...]] = set()
        self._transcoded = False
        self.connected_after: float | None = None
        self._shop = shop
        self._call_id = call_id
        self._since = shop.clock()
        self._identity = Identity.generate(shop.config, party.kind, shop.random)
        self._heard = self._agreed = shop.clock()
        self._timed_out = False
        self.webrtc: WebRtcLeg | None = None
        self.rtp: RtpLeg | None = None
        self.leg: MediaTransport = Nowhere()
        if party.kind is Kind.WEBRTC:
            self.leg = self.webrtc = shop.port.open_leg(self._leg_state)
        elif party.kind is not Kind.SERVICE:
            config = shop.config
            self.leg = self.rtp = RtpLeg(
                shop.pool,
                clock=shop.clock,
                rules=config.latching,
                secure=party.kind is Kind.SDES,
                max_packets_per_second=config.max_packets_per_second,
            )
        self.out = self.new_relay(Inbound(), self.leg)
        self.playing = Playing(shop.pacer, self.out)
        self.reporter = Reporter(self._identity.ssrc, self._identity.cname, shop.random, shop.config.report_interval)

    async def open(self) -> None:
        """Start to read the sockets of the transport."""
        if self.rtp is not None:
            await self.rtp.open()

    def close(self) -> None:
        """Release everything; idempotent."""
        self.playing.close()
        if self.leg.ready and self.agreement is not None and self.out.packets:
            self.leg.send_rtcp(self.reporter.goodbye(self.out, self.inbound, self._shop.clock()))
        self.leg.sink = None
        self.leg.close()

    def leave(self) -> None:
        """Another callee has answered instead: hear and say nothing until this one answers again."""
        self.playing.close()
        self.leg.sink = None
        self.out.active = False
        self.agreement = None

    # Streams

    def new_relay(self, inbound: Inbound, target: MediaTransport) -> Relay:
        """A stream to this party's peer (or, for services, to nowhere) out of what `inbound` admits."""
        random = self._shop.random
        return Relay(inbound, target, self._identity.ssrc, random.getrandbits(15), random.getrandbits(32))

    def feed(self, inbound: Inbound) -> Relay:
        """Have this party hear what `inbound` admits; the same stream goes on."""
        if self.out.inbound is not inbound:
            self.out.set_source(inbound)
        return self.out

    def listen(self, relay: Relay) -> None:
        """Have what this party sends go through `relay`."""
        relay.on_rtcp, relay.on_run = self._rtcp, self._run_began
        self.leg.sink = relay

    def handler(self, key: tuple[object, ...], make: Callable[[], Handler]) -> Handler:
        """What takes some of this party's packets: made once, kept over re-offers that do not change it."""
        self._used.add(key)
        if key not in self._handlers:
            self._handlers[key] = make()
        return self._handlers[key]

    @property
    def handlers(self) -> int:
        """How many there are."""
        return len(self._handlers)

    def begin_handlers(self) -> None:
        """The streams are about to be joined afresh."""
        self._transcoded = self.transcodes
        self._used = set()

    def keep_used_handlers(self) -> None:
        """The streams are joined: what was not asked for is no longer needed."""
        self._handlers = {key: handler for key, handler in self._handlers.items() if key in self._used}

    def describe_again(self, party: Party) -> None:
        """Take what signalling says of the same party now; raises MediaError 500 where it is another."""
        if party.kind is not self.party.kind or party.service != self.party.service:
            raise MediaError("a party cannot change what it speaks", 500)
        self.party = party

    def send_codec(self) -> Codec | None:
        """The codec that the peer wants best."""
        if self.agreement is None:
            return None
        return next((codec for codec in self.agreement.send if codec.is_media), None)

    def receive_codec(self) -> str | None:
        """Name of the codec that came last, before anything has the one that is expected."""
        if self.agreement is None:
            return None
        sink = self.leg.sink
        number = sink.media_payload_type if isinstance(sink, Relay) else -1
        media = [codec for codec in self.agreement.receive if codec.is_media]
        return next((codec.key[0] for codec in media if codec.payload_type == number), media[0].key[0])

    @property
    def transcodes(self) -> bool:
        """Whether anything this party sent was turned into another codec."""
        return self._transcoded or any(
            isinstance(handler, TranscodeHandler) and handler.frames for handler in self._handlers.values()
        )

    @property
    def transport_discarded(self) -> int:
        """Received packets that the transport dropped."""
        reasons: dict[str, int] = {}
        if self.webrtc is not None:
            reasons = self.webrtc.statistics.discarded
        elif self.rtp is not None:
            reasons = self.rtp.all_discarded
        return sum(count for reason, count in reasons.items() if reason not in _OF_SENDING)

    # Descriptions

    def plan(self, prefer: tuple[str, ...] = ()) -> Plan:
        """Our side of the next description for the peer."""
        shop, identity = self._shop, self._identity
        policy = codec_policy(shop.config, self.party.kind, (*prefer, *self.party.prefer))
        if self.webrtc is not None:
            side = WebRtcSide(
                self.webrtc.local_ufrag, self.webrtc.local_password, shop.port.candidates(), shop.port.fingerprints
            )
            agreed = self.agreement.dtls_role if self.agreement is not None else None
            return webrtc_plan(side, identity, policy, self.sent, SetupRole(agreed or SetupRole.PASSIVE))
        port = self.rtp.port if self.rtp is not None else 9
        return rtp_plan(self.party.kind, shop.rtp_address, port, identity, policy, self.sent)

    def take_answer(self, answer: SessionDescription) -> None:
        """The peer answered our offer; raises MediaError."""
        if self.party.kind is Kind.SERVICE:
            return
        offer = self.our_offer
        if offer is None:
            raise MediaError("no offer to this party is waiting for an answer", 481)
        self._agree(checked(lambda: negotiate(offer, answer, local="offerer")).first("audio"))

    def give_answer(self, make: Callable[[Plan], SessionDescription], prefer: tuple[str, ...] = ()) -> None:
        """Answer the peer's offer with what `make` makes of our plan; raises MediaError."""
        offer = self.offered
        if offer is None:
            raise MediaError("no offer of this party is waiting for an answer", 481)
        before = self._local_secret()
        answer = checked(lambda: make(self.plan(prefer)))
        self._agree(checked(lambda: negotiate(offer, answer, local="answerer")).first("audio"))
        if self._local_secret() != before:
            # The peer restarted ICE, and so did our leg when it heard of it: the answer carries the new credentials.
            answer = checked(lambda: make(self.plan(prefer)))
        self.sent = answer

    def _local_secret(self) -> str | None:
        return self.webrtc.local_password if self.webrtc is not None else None

    def _agree(self, agreement: MediaAgreement | None) -> None:
        """Take over what was agreed about audio, and tell the transport."""
        if agreement is None or not any(codec.is_media for codec in agreement.send):
            raise MediaError("no audio codec in common", 488)
        remote = agreement.remote
        if remote is None:
            raise MediaError("the description does not say where its media goes", 488)
        if self.webrtc is not None:
            fingerprints = tuple([(each.algorithm, each.digest) for each in remote.fingerprints])
            if not remote.ice_ufrag or not remote.ice_pwd or agreement.dtls_role is None:
                raise MediaError("the description has no ICE credentials or no fingerprint", 488)
            self.webrtc.set_remote(remote.ice_ufrag, remote.ice_pwd, fingerprints, agreement.dtls_role)
        elif self.rtp is not None:
            self._agree_keys(self.rtp, agreement)
            named = (remote.address, remote.port)
            rtcp = (remote.rtcp_address or remote.address, remote.rtcp_port)
            self.rtp.set_remote(
                None if remote.held else named,
                None if remote.held or not remote.rtcp_port else rtcp,
                mux=remote.rtcp_mux,
                private_source=self.party.private_source,
                accepts=frozenset(
                    [codec.payload_type for codec in agreement.receive if codec.payload_type is not None]
                ),
            )
        self.agreement = agreement
        self.inbound.expect_new_source()
        self._heard = self._agreed = self._shop.clock()
        self._timed_out = False

    def _agree_keys(self, leg: RtpLeg, agreement: MediaAgreement) -> None:
        local = agreement.crypto_local
        remote = agreement.remote.crypto if agreement.remote is not None else None
        if self.party.kind is not Kind.SDES:
            return
        if local is None or remote is None:
            raise MediaError("the description has no SRTP key", 488)
        try:
            send, receive = srtp_key(local), srtp_key(remote)
        except SrtpKeyError as error:
            raise MediaError(f"the SRTP key cannot be used: {error}", 488) from None
        leg.set_keys(send, receive)

    # Events and time

    def _leg_state(self, state: LegState, reason: str) -> None:
        if state is LegState.CONNECTED:
            self._connected()
        elif state is LegState.FAILED:
            self._shop.emit(MediaFailed(self._call_id, self.party.tag, reason))

    def _connected(self) -> None:
        if self.connected_after is None:
            self.connected_after = self._shop.clock() - self._since
            self._shop.emit(Connected(self._call_id, self.party.tag))

    def _run_began(self, now: float) -> None:
        if self.inbound.generation == 1:
            self._connected()
            self._shop.emit(FirstMedia(self._call_id, self.party.tag))

    def _rtcp(self, packet: bytes, now: float) -> None:
        self._heard = now
        self.reporter.receive(packet, now, self.out, self.inbound)

    def digit_received(self, digit: str, duration_ms: int) -> None:
        """A telephone-event of the peer ended."""
        self._shop.emit(DtmfReceived(self._call_id, self.party.tag, digit, duration_ms))

    def sweep(self, now: float) -> None:
        """Everything that is due: reports, silence toward a phone that hears nothing, the media timer."""
        agreement = self.agreement
        if agreement is None or self.party.kind is Kind.SERVICE:
            return
        for handler in self._handlers.values():
            if isinstance(handler, EventHandler):
                handler.flush(now)
        if self.leg.ready:
            report = self.reporter.due(now, self.out, self.inbound)
            if report is not None:
                self.leg.send_rtcp(report)
        if self.rtp is None:
            # A browser's life is its STUN consent, which its own leg watches.
            return
        after, codec = self._shop.config.silence_after, self.send_codec()
        quiet = now - max(self.out.last_sent, self._agreed) >= after
        if after and quiet and codec is not None and self.leg.ready and self.out.open:
            self.playing.silence(codec)
        self._watch(now, agreement)

    def _watch(self, now: float, agreement: MediaAgreement) -> None:
        config = self._shop.config
        limit = config.media_timeout if agreement.direction.receives else config.held_timeout
        silent = now - max(self._heard, self.inbound.arrived)
        if not limit or silent < limit:
            self._timed_out = False
        elif not self._timed_out:
            self._timed_out = True
            self._shop.emit(MediaTimeout(self._call_id, self.party.tag, round(silent, 1)))
