"""One phone's real-time text: a stream of T.140 beside its voice (RFC 4103), and who its text goes to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.media.embedded.data.t140 import Block, TextError, TextReceiver, TextSender, read_redundancy, text_format
from gateway.media.embedded.data.waiting_text import WaitingText
from gateway.media.embedded.describe import Identity
from gateway.media.embedded.plane.reports import Reporter
from gateway.media.embedded.plane.values import Action, Address, FlowSnapshot, MediaPacket, Route
from gateway.media.embedded.reporting import reports_wanted
from gateway.media.embedded.resources import Resources
from gateway.media.embedded.rtp.leg import RtpLeg
from gateway.media.engine import TextStatistics
from sdp import MediaAgreement, TransportPlan
from sdp.negotiation import Side

CLOCK_RATE = 1000
"""Hz (RFC 4103 section 3.2)."""


class TextEnd(Protocol):
    """Who text can be told: a phone, or a browser by a data channel."""

    def type(self, text: str) -> None: ...


class TextStream:
    """What the session holds of one phone's text; a `FlowListener`. It has ports of its own."""

    def __init__(self, resources: Resources, identity: Identity, cname: str, leg: RtpLeg) -> None:
        self.flow = leg.flow
        self.agreement: MediaAgreement | None = None
        self.since = resources.clock()
        """When it was spoken of first."""
        self.snapshot: FlowSnapshot | None = None
        """The plane's figures as they were last asked for."""
        self.reporter = Reporter(identity.ssrc, cname, resources.random, resources.config.report_interval)
        self._identity, self._shared, self._leg = identity, resources, leg
        self._sender: TextSender | None = None
        self._receiver = TextReceiver()
        self._run = 0
        self._malformed = 0
        self._listener: TextEnd | None = None
        self._former: TextEnd | None = None
        """Who it was joined to last."""
        self._had_another = False
        """Whether its packets may repeat what it has typed to somebody before that one."""
        self._untold = WaitingText(resources.config.text.max_waiting)
        """What it has typed since, which that one reads once it is joined to it again, and nobody else."""
        self._ticking: int | None = None
        self._closed = False

    async def open(self) -> None:
        """Open its ports; raises MediaError 503."""
        self._shared.flows.add(self.flow, self)
        await self._leg.open()

    def plan(self) -> TransportPlan:
        """Where the phone is to send."""
        return self._leg.plan()

    def agree(self, agreement: MediaAgreement, side: Side, private_source: str | None) -> None:
        """Take what was agreed; raises MediaError 488."""
        self._leg.agree(agreement, side, private_source)
        plane = self._shared.plane
        plane.resync(self.flow)
        first = self._identity.first(self._shared.wall_clock(), CLOCK_RATE)
        plane.start_stream(self.flow, *first, CLOCK_RATE, ends_frames=True)
        self.agreement = agreement
        form = text_format(agreement.send, self._shared.config.text.cps)
        if form is None or self._sender is None:
            self._sender = TextSender(form, self._shared.config.text.max_waiting) if form is not None else None
        else:
            self._sender.form = form
        self._tick_on()

    def close(self) -> None:
        """Release everything; idempotent."""
        if self._closed:
            return
        self._closed = True
        self.part()
        self._shared.pacer.remove(self._ticking)
        self._shared.flows.remove(self.flow)
        self._leg.close()

    # Whom it is joined to

    def part(self) -> None:
        """Be read by nobody; what is typed meanwhile waits for who read it last."""
        if self._is_passed:
            self._receiver.skip()
        self._listener = None
        self._route(None)
        self._shared.plane.set_open(self.flow, False)

    def tell(self, listener: TextEnd) -> None:
        """Have what the phone types told to `listener`; packets pass as they are where both sides number alike."""
        if self._former not in (None, listener):
            self._pass_on()
        self._listener = self._former = listener
        heard = self.agreement
        if heard is None:
            return
        other = listener if isinstance(listener, TextStream) and listener.passes(self) else None
        self._route(other)
        if other is not None:
            told = other.agreement
            is_open = told is not None and told.direction.sends and heard.direction.receives
            self._shared.plane.set_open(other.flow, is_open)
        if self._untold:
            listener.type(self._untold.take())

    def _pass_on(self) -> None:
        """What was typed for the one before, and by it, is not for the next, nor is what comes late of it."""
        if self._sender is not None:
            self._sender.cut()
        self._receiver.skip()
        self._untold.take()
        self._had_another = True

    def _route(self, other: TextStream | None) -> None:
        """Have its packets copied here on their way to `other`; None: they only come here."""
        action = Action.PUNT if other is None else Action.COPY
        numbers = [codec.payload_type for codec in self.agreement.receive] if self.agreement is not None else []
        routes = {
            number: Route(action=action, payload_type=number, clock_rate=CLOCK_RATE)
            for number in numbers
            if number is not None
        }
        self._shared.plane.route(self.flow, other.flow if other is not None else None, routes)

    def passes(self, speaker: TextStream) -> bool:
        """Whether the packets of `speaker` can be sent as they are: redundancy names the payload types in them."""
        heard, told = speaker.agreement, self.agreement
        if heard is None or told is None or speaker._had_another:
            return False
        return text_format(heard.receive, 0) == text_format(told.send, 0)

    def type(self, text: str) -> None:
        """Have it sent to the phone, as soon as may be."""
        if self._sender is not None:
            self._sender.type(text)
            self._tick_on()

    # Its turn

    def _tick_on(self) -> None:
        """Do what is due, and again while there will be something."""
        if self._ticking is None and not self._closed and self._tick(self._shared.clock()):
            self._ticking = self._shared.pacer.add(self._tick)

    def _tick(self, now: float) -> bool:
        self._tell(self._receiver.expire(now))
        sender, told = self._sender, self.agreement
        may_send = told is not None and told.direction.sends and self._leg.ready
        if sender is not None and may_send:
            packet = sender.take(now)
            if packet is not None:
                self._shared.plane.inject(self.flow, packet.payload_type, packet.marker, packet.payload, packet.advance)
        going = not self._closed and (self._receiver.is_waiting or (sender is not None and sender.is_busy))
        if not going:
            self._shared.pacer.remove(self._ticking)
            self._ticking = None
        return going

    def _tell(self, text: str) -> None:
        if text and self._listener is not None and not self._is_passed:
            self._listener.type(text)
        elif text and self._listener is None and self._former is not None:
            self._untold.add(text)

    @property
    def _is_passed(self) -> bool:
        """Whether its packets go to who reads it as they are: here they are only copied, to be counted."""
        return isinstance(self._listener, TextStream) and self._listener.passes(self)

    # What the plane tells

    def media(self, packet: MediaPacket, now: float) -> None:
        """One packet of text."""
        heard = self.agreement
        form = text_format(heard.receive, 0) if heard is not None else None
        if heard is None or form is None or not heard.direction.receives:
            return
        if packet.generation != self._run:
            self._run = packet.generation
            self._tell(self._receiver.restart())
        try:
            if packet.payload_type == form.red:
                blocks: tuple[Block, ...] = read_redundancy(packet.payload, form.t140)
            else:
                blocks = (Block(0, packet.payload),)
        except TextError:
            self._malformed += 1
            return
        self._tell(self._receiver.receive(packet.sequence_number, packet.timestamp, blocks, now))
        self._tick_on()

    def dtls(self, path: int, source: Address, data: bytes, now: float) -> None:
        self._leg.receive_dtls(path, source, data, now)

    def rtcp(self, source: Address, packet: bytes, now: float) -> None:
        if self._leg.takes_rtcp_from(source):
            for ssrc in self.reporter.receive(packet, now, CLOCK_RATE):
                self._shared.plane.resync(self.flow, ssrc)

    def stranger(self, path: int, source: Address, data: bytes, heard: float, now: float) -> None:
        self._leg.stranger(path, source, data, heard, now)

    def source_learned(self, source: Address, description: int | None, now: float) -> None:
        self._leg.source_learned(source, description, now)
        self._tick_on()

    def run_began(self, ssrc: int, generation: int, now: float) -> None:
        """`media` finds it out by the number of the run."""

    def missing(self, sequence_numbers: Sequence[int], now: float) -> None:
        """Never: nothing of it is kept."""

    def idle(self, silent: float) -> None:
        """Never: the voice is watched."""

    # Figures and time

    @property
    def statistics(self) -> TextStatistics:
        """What came of the phone, and what it was sent."""
        sender, receiver = self._sender, self._receiver
        return TextStatistics(
            received=receiver.received,
            sent=sender.sent if sender is not None else 0,
            missing=receiver.missing,
            dropped=self._untold.dropped + (sender.dropped if sender is not None else 0),
            malformed=self._malformed,
        )

    def is_due(self, now: float) -> bool:
        """Whether a report is to be sent now."""
        return self.agreement is not None and self.reporter.is_due(now)

    def note(self, snapshot: FlowSnapshot) -> None:
        """Take the plane's figures."""
        self.snapshot = snapshot

    def report(self, snapshot: FlowSnapshot) -> None:
        """Send the report that is due."""
        if self._leg.ready and reports_wanted(self.agreement):
            self._shared.plane.send_rtcp(self.flow, self.reporter.report(snapshot))
