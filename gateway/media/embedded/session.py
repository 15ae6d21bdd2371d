"""One call's media: a caller, whoever it is offered to, and the streams between the two that talk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.media.embedded.audio.codecs import CODECS
from gateway.media.embedded.audio.transcode import TranscodeHandler, Transcoder
from gateway.media.embedded.describe import SERVICE_DESCRIPTION, checked, has_audio, parse, require_usable, service_of
from gateway.media.embedded.party import PartyMedia, Workshop
from gateway.media.embedded.plane.inbound import Inbound
from gateway.media.embedded.plane.relay import Handler, Relay, Route
from gateway.media.embedded.sources.digits import EventHandler
from gateway.media.embedded.sources.players import SERVICES, Delayed, Nowhere
from gateway.media.engine import CallStatistics, MediaError, Party, PartyStatistics, StreamStatistics
from sdp import Codec, SessionDescription, answer, payload_map, translate
from sdp.codecs import NOISE

PTIMES = (10, 20, 40, 60)
"""Milliseconds a packet that every codec here can make."""


class Session:
    """The media of one call; the engine calls its methods one at a time, under `lock`."""

    def __init__(self, shop: Workshop, call_id: str) -> None:
        self.call_id = call_id
        self.lock = asyncio.Lock()
        self.closed = False
        self._shop = shop
        self._parties: dict[str, PartyMedia] = {}
        self._pair: tuple[PartyMedia, PartyMedia] | None = None
        """Who talks: the caller and the callee that answered last (a 183 of one, the 200 of another)."""
        self._paired_at = 0.0

    # Requests

    async def offer(self, source: Party, target: Party, sdp: str) -> str:
        """`source`'s offer in, the offer for `target` out; raises MediaError.

        The same offer may go to several targets (forking); the one whose answer comes last is joined.
        """
        description = parse(self._shop.config, sdp)
        checked(lambda: require_usable(self._shop.config, source.kind, description))
        made: list[PartyMedia] = []
        try:
            caller, callee = await self._join(source, target, made)
            if service_of(target) is not None:
                offer = parse(self._shop.config, SERVICE_DESCRIPTION)
            else:
                plan = callee.plan(source.prefer)
                offer = checked(lambda: translate(description, plan))
                if not checked(lambda: has_audio(offer)):
                    raise MediaError("no codec of the offer can be offered to the other side", 488)
        except BaseException:
            for party in made:
                self._drop(party)
            raise
        if callee not in made or caller.offered != description:
            caller.offered, caller.our_offer, caller.answered_early = description, None, False
        callee.our_offer = callee.sent = offer
        callee.offered = None
        return str(offer)

    def accept(self, source: Party) -> str:
        """Answer `source`'s pending offer without its peer; raises MediaError."""
        caller = self.party(source.tag)
        offer = caller.offered
        if offer is None:
            raise MediaError("no offer of this party is waiting for an answer", 481)
        if not caller.answered_early:
            others = [other.party for other in self._parties.values() if other is not caller]
            prefer = tuple([name for party in others for name in party.prefer])
            caller.give_answer(lambda plan: answer(offer, plan), prefer)
            caller.answered_early = True
            if self._pair is not None and caller in self._pair:
                self._connect(*self._pair)
        return str(caller.sent)

    def answer(self, source: Party, target: Party, sdp: str) -> str:
        """`source`'s answer in, the answer for `target` out; raises MediaError."""
        description = parse(self._shop.config, sdp)
        callee, caller = self.party(source.tag), self.party(target.tag)
        if callee is caller:
            raise MediaError("a party cannot answer itself", 500)
        for media, party in ((callee, source), (caller, target)):
            media.describe_again(party)
        callee.take_answer(description)
        offer = caller.offered
        if service_of(target) is not None:
            caller.offered = None
        elif not caller.answered_early:
            if offer is None:
                raise MediaError("no offer of this party is waiting for an answer", 481)
            served = service_of(source) is not None
            caller.give_answer(_answerer(offer, None if served else description), source.prefer)
        self._join_streams(caller, callee)
        return SERVICE_DESCRIPTION if service_of(target) is not None else str(caller.sent)

    def trickle(self, tag: str) -> None:
        """A lite agent needs no candidates; the party must be known all the same."""
        self.party(tag)

    def send_dtmf(self, tag: str, digit: str, duration_ms: int) -> None:
        """Send a digit to the party; raises MediaError."""
        party = self.party(tag)
        events = party.agreement.send_events if party.agreement is not None else {}
        party.playing.digit(digit, duration_ms, events)

    def close(self) -> None:
        """Release everything; idempotent."""
        self.closed = True
        for party in self._parties.values():
            party.close()

    def sweep(self, now: float) -> None:
        """Everything that is due."""
        for party in self._parties.values():
            party.sweep(now)
        if self._pair is not None and now - self._paired_at > self._shop.config.unanswered_kept:
            for party in [each for each in self._parties.values() if each not in self._pair]:
                self._drop(party)

    # Parties

    async def _join(self, source: Party, target: Party, made: list[PartyMedia]) -> tuple[PartyMedia, PartyMedia]:
        """Both parties, opened where they are new; those are added to `made`."""
        for party in (source, target):
            service = service_of(party)
            if service is not None and service not in SERVICES:
                raise MediaError("no such service", 488)
        if source.tag == target.tag or (service_of(source) is not None and service_of(target) is not None):
            raise MediaError("a call needs two parties, one of them with a peer", 488)
        if self._parties and source.tag not in self._parties:
            raise MediaError("the call has other parties", 500)
        if target.tag not in self._parties and len(self._parties) > self._shop.config.max_callees:
            raise MediaError("the call is offered to too many", 503)
        for party in (source, target):
            known = self._parties.get(party.tag)
            if known is not None:
                known.describe_again(party)
                continue
            new = self._parties[party.tag] = PartyMedia(self._shop, self.call_id, party)
            made.append(new)
            await new.open()
        return self._parties[source.tag], self._parties[target.tag]

    def party(self, tag: str) -> PartyMedia:
        """A party by its tag; raises MediaError 481."""
        party = self._parties.get(tag)
        if party is None:
            raise MediaError("unknown party", 481)
        return party

    def _drop(self, party: PartyMedia) -> None:
        del self._parties[party.party.tag]
        party.close()

    # Streams

    def _join_streams(self, caller: PartyMedia, callee: PartyMedia) -> None:
        """These two talk from now on, and nobody else."""
        for party in self._pair or ():
            if party is not caller and party is not callee:
                party.leave()
        self._pair, self._paired_at = (caller, callee), self._shop.clock()
        self._connect(caller, callee)

    def _connect(self, first: PartyMedia, second: PartyMedia) -> None:
        """Join the parties as what was agreed with each allows."""
        for party in (first, second):
            party.begin_handlers()
        for speaker, listener in ((first, second), (second, first)):
            if service_of(listener.party) == "echo":
                self._route(speaker, speaker)
                if self._shop.config.echo_delay:
                    speaker.out.target = Delayed(speaker.leg, self._shop.config.echo_delay)
            elif service_of(listener.party) == "tone":
                self._serve_tone(speaker)
            elif service_of(speaker.party) is None and speaker.agreement is not None:
                self._route(speaker, listener)
        for party in (first, second):
            party.keep_used_handlers()

    def _route(self, speaker: PartyMedia, listener: PartyMedia) -> None:
        """What `speaker` sends goes to `listener`, when the listener has agreed to something."""
        heard, told = speaker.agreement, listener.agreement
        if heard is None:
            return
        relay = listener.feed(speaker.inbound)
        codec = listener.send_codec()
        rate_out = codec.clock_rate if codec is not None else 8000
        relay.route(self._routes(speaker, listener, codec), rate_out)
        relay.active = told is not None and told.direction.sends and heard.direction.receives
        speaker.listen(relay)

    def _serve_tone(self, listener: PartyMedia) -> None:
        agreement, codec = listener.agreement, listener.send_codec()
        if agreement is None or codec is None:
            return
        deaf = Relay(listener.inbound, Nowhere(), 0, 0, 0)
        deaf.route(self._routes(listener, None, None), codec.clock_rate)
        listener.listen(deaf)
        listener.feed(Inbound())
        listener.out.route({}, codec.clock_rate)
        listener.out.active = agreement.direction.sends
        config = self._shop.config
        listener.playing.tone(codec, config.tone_frequency, config.tone_level)

    def _routes(self, speaker: PartyMedia, listener: PartyMedia | None, target: Codec | None) -> dict[int, Route]:
        """What becomes of each payload type the speaker may send."""
        heard = speaker.agreement
        told = listener.agreement if listener is not None else None
        if heard is None:
            return {}
        forward = payload_map(heard.receive, told.send) if told is not None else {}
        events = told.send_events if told is not None else {}
        rate_out = target.clock_rate if target is not None else 8000
        routes: dict[int, Route] = {}
        for codec in heard.receive:
            number = codec.payload_type
            if number is None:
                continue
            if codec.is_event:
                clock_out = rate_out if rate_out in events else next(iter(events), codec.clock_rate)
                if codec.clock_rate in events and number in forward and not _converts(heard.receive, forward):
                    clock_out = codec.clock_rate
                routes[number] = Route(0, handler=self._event_handler(speaker, codec, events.get(clock_out), clock_out))
            elif number in forward:
                routes[number] = Route(codec.clock_rate if codec.is_media else 0, forward[number])
            elif codec.key[0] == NOISE:
                routes[number] = Route(0, handler=_SKIP)
            else:
                routes[number] = self._converted(speaker, listener, codec, target)
        return routes

    def _converted(self, speaker: PartyMedia, listener: PartyMedia | None, codec: Codec, target: Codec | None) -> Route:
        """A route through a transcoder, the same one as before where nothing changed."""
        names = codec.key[0], target.key[0] if target is not None else ""
        usable = self._shop.config.transcode and codec.is_media and CODECS.issuperset(names)
        if not usable or target is None or target.payload_type is None or listener is None:
            return Route(codec.clock_rate, handler=_SKIP)
        frame_ms = _frame_ms(listener)
        number = target.payload_type
        handler = speaker.handler(
            (names, number, frame_ms),
            lambda: TranscodeHandler(Transcoder(*names, frame_ms, self._shop.config.opus), number),
        )
        return Route(codec.clock_rate, handler=handler, rate_out=target.clock_rate)

    @staticmethod
    def _event_handler(speaker: PartyMedia, codec: Codec, number: int | None, clock_out: int) -> Handler:
        """The same one as before where nothing changed, so that a digit under way is reported once."""
        return speaker.handler(
            (codec.payload_type, codec.clock_rate, number, clock_out),
            lambda: EventHandler(codec.clock_rate, number, clock_out, speaker.digit_received),
        )

    # Figures

    def handlers(self) -> dict[str, int]:
        """Transcoders and event readers in use by each party's packets."""
        return {tag: party.handlers for tag, party in self._parties.items()}

    def statistics(self) -> CallStatistics:
        """The parties that talk as they stand; all of them while nobody has answered."""
        parties = {party.party.tag: _statistics(party) for party in self._pair or self._parties.values()}
        return CallStatistics(parties, any(party.transcodes for party in self._parties.values()))


class _Skip:
    """Takes packets that have nothing to go out for them."""

    def handle(
        self, relay: Relay, packet: bytes, marker: int, sequence_number: int, timestamp: int, now: float
    ) -> None:
        relay.skip()


_SKIP: Handler = _Skip()


def _answerer(offer: SessionDescription, description: SessionDescription | None) -> Callable[..., SessionDescription]:
    if description is None:
        return lambda plan: answer(offer, plan)
    return lambda plan: translate(description, plan, offer=offer)


def _converts(codecs: tuple[Codec, ...], forward: dict[int, int]) -> bool:
    """Whether some audio of the speaker is turned into another codec."""
    return any(codec.is_media and codec.payload_type not in forward for codec in codecs)


def _frame_ms(listener: PartyMedia) -> int:
    """Milliseconds a packet that the listener asked for, as near as a codec frame can be."""
    wanted = listener.agreement.ptime if listener.agreement is not None else None
    longest = listener.agreement.maxptime if listener.agreement is not None else None
    usable = [ptime for ptime in PTIMES if longest is None or ptime <= longest] or [PTIMES[0]]
    return min(usable, key=lambda ptime: abs(ptime - (wanted or 20)))


def _statistics(party: PartyMedia) -> PartyStatistics:
    inbound, out, reporter = party.inbound, party.out, party.reporter
    codec, heard = party.send_codec(), party.receive_codec()
    discarded = inbound.discarded + party.transport_discarded
    received = StreamStatistics(
        inbound.received, inbound.octets, inbound.lost, round(inbound.jitter * 1000, 3), discarded, heard
    )
    sent = StreamStatistics(
        out.packets,
        out.octets,
        reporter.lost or 0,
        round((reporter.jitter or 0.0) * 1000, 3),
        codec=codec.key[0] if codec is not None else None,
    )
    return PartyStatistics(
        received,
        sent,
        None if reporter.rtt is None else round(reporter.rtt * 1000, 3),
        None if party.connected_after is None else round(party.connected_after * 1000, 3),
    )
