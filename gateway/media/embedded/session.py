"""Media of one call: parties with their agreements, and the streams between joined parties."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from gateway.media.embedded.beside import as_told, join_beside, offered_beside, open_for, said_with_picture, show_among
from gateway.media.embedded.describe import (
    SERVICE_DESCRIPTION,
    answerer,
    checked,
    family_of,
    has_audio,
    has_video,
    parse,
    require_usable,
    service_of,
)
from gateway.media.embedded.figures import party_statistics
from gateway.media.embedded.party import PartyMedia
from gateway.media.embedded.renewal import former_of, require_new_association, spoken_by
from gateway.media.embedded.reporting import Reporting
from gateway.media.embedded.resources import Resources
from gateway.media.embedded.routing import (
    Routing,
    deaf_routes,
    heard_by_program,
    require_common,
    routes_between,
    tapped,
)
from gateway.media.embedded.sources.echo import delayed
from gateway.media.embedded.sources.music import hold_music
from gateway.media.embedded.sources.players import PROGRAM, SERVICES
from gateway.media.embedded.sources.program import ProgramAudio
from gateway.media.embedded.sources.recorder import Recorder, Recorders
from gateway.media.embedded.succession import Successors
from gateway.media.embedded.tones import examine
from gateway.media.embedded.transport import opened
from gateway.media.engine import CallStatistics, Dtmf, MediaError, MediaLost, Party, RecordingFile
from sdp import SessionDescription, translate


class Session:
    """Media of one call; the engine calls the methods one at a time, under `lock`."""

    def __init__(self, resources: Resources, call_id: str) -> None:
        self.call_id = call_id
        self.lock = asyncio.Lock()
        self.closed = False
        self._shared = resources
        self._parties: dict[str, PartyMedia] = {}
        self._paired_at: float | None = None
        self._kept: set[str] = set()
        """Tags of parties that stay even if not joined, as from `create_offer` or `adopt`."""
        self._successors = Successors(resources, self._parties)
        self._recorders = Recorders(resources.pacer, resources.writers)
        self.lost: dict[PartyMedia, PartyMedia | None] = {}  # joined party by party that lost its transport

    # Requests

    async def offer(self, source: Party, target: Party, description: SessionDescription) -> str:
        """Return the offer for `target`, made from the offer of `source`; raises MediaError.

        An offer may go to several targets (forking); the last target to answer is joined.
        """
        config = self._shared.config
        checked(lambda: require_usable(config, source, description))
        family = family_of(description)
        made: list[PartyMedia] = []
        opened_now: list[Callable[[], None]] = []
        try:
            caller, callee = await self._admit(source, target, made, family)
            caller = await self._successors.of(caller, family)
            require_new_association(caller, description)
            await open_for(config, description, caller, callee, opened_now)
            if service_of(target) is not None:
                offer = parse(config, SERVICE_DESCRIPTION)
            else:
                plan = callee.plan(source.prefer)
                if not source.reoffered:
                    plan = replace(plan, extensions=())  # without re-offers an extension cannot be withdrawn later
                offer = checked(lambda: translate(as_told(config, description, callee), plan))
                if not checked(lambda: has_audio(offer)):
                    raise MediaError("no codec of the offer can be offered to the other side", 488)
        except BaseException:
            for close in opened_now:
                close()
            for party in made:
                self._drop(party)
            self._successors.forget(source.tag)
            raise
        if callee not in made or caller.offered != description:
            caller.offered, caller.our_offer, caller.answered_early = description, None, False
        callee.our_offer, callee.sent, callee.offered = offer, offer, None
        return str(offer)

    def accept(self, source: Party) -> str:
        """Answer the pending offer of `source` before the peer answers; raises MediaError."""
        caller = self._successors.asking(self.party(source.tag))
        offer = caller.offered
        if offer is None:
            raise MediaError("no offer of this party is waiting for an answer", 481)
        if not caller.answered_early:
            others = [other for other in self._parties.values() if other is not caller]
            prefer = tuple([name for other in others for name in other.party.prefer])
            shown = [said_with_picture(other) for other in others] if has_video(self._shared.config, offer) else []
            said = next(filter(None, shown), None)
            said = as_told(self._shared.config, said, caller) if said is not None else None
            caller.give_answer(answerer(offer, said, [other.party for other in others]), prefer)
            caller.answered_early = True
            self._successors.agreed(caller)
            self._reconnect(caller)
        return str(caller.sent)

    def answer(self, source: Party, target: Party | None, description: SessionDescription) -> str:
        """Apply the answer of `source` and return the answer for `target`, "" without target; raises MediaError."""
        callee = self.party(source.tag)
        if target is None and service_of(source) is not None:
            return ""  # a service agrees to everything
        if target is None:
            callee.describe_again(source)
            callee.take_answer(description)
            callee.our_offer = None
            self._reconnect(callee)
            return ""
        caller = self._successors.asking(self.party(target.tag))
        if callee is caller:
            raise MediaError("a party cannot answer itself", 500)
        for media, party in ((callee, source), (caller, target)):
            media.describe_again(party)
        description = callee.take_answer(description)
        offer = caller.offered
        if service_of(target) is not None:
            caller.offered = None
        elif not caller.answered_early:
            if offer is None:
                raise MediaError("no offer of this party is waiting for an answer", 481)
            said = None if service_of(source) is not None else as_told(self._shared.config, description, caller)
            caller.give_answer(answerer(offer, said, [source]), source.prefer)
            self._successors.agreed(caller)
        self._join(caller, callee)
        return SERVICE_DESCRIPTION if service_of(target) is not None else str(caller.sent)

    async def create_offer(self, target: Party, peer: Party | None) -> str:
        """Return our own offer for `target`, codecs in the order that `peer` prefers; raises MediaError."""
        made: list[PartyMedia] = []
        party = self._find(target, made)
        had_video, had_text = party.video is not None, party.text is not None
        try:
            await opened(made)
            if service_of(target) is not None:
                self._kept.add(target.tag)
                return SERVICE_DESCRIPTION
            known = self._parties.get(peer.tag) if peer is not None else None
            base = parse(self._shared.config, SERVICE_DESCRIPTION + await offered_beside(party, known))
            plan = party.plan(self._spoken(peer))
            offer = checked(lambda: translate(base, plan))
        except BaseException:
            if not had_video:
                party.close_video()
            if not had_text:
                party.close_text()
            for each in made:
                self._drop(each)
            raise
        party.offered, party.answered_early = None, False
        party.our_offer = party.sent = offer
        self._kept.add(target.tag)
        return str(offer)

    def _spoken(self, peer: Party | None) -> tuple[str, ...]:
        """Return the codec names of a party, best first, from the agreement or from the party's preference."""
        if peer is None:
            return ()
        known = self._parties.get(peer.tag)
        return (spoken_by(known) if known is not None else ()) or peer.prefer

    def join(self, a: str, b: str) -> None:
        """Join two parties and disconnect their previous partners; raises MediaError.

        A party without a transport joins once a new transport is agreed; MediaLost asks the call to offer one.
        """
        first, second = self.party(a), self.party(b)
        if first is second:
            raise MediaError("a party cannot be joined to itself", 488)
        for party in (first, second):
            if service_of(party.party) is None and party.agreement is None and party.former is None:
                raise MediaError("the party has agreed to nothing yet", 488)
        for speaker, listener in ((first, second), (second, first)):
            if speaker.agreement is not None and listener.agreement is not None:
                require_common(speaker.agreement, listener.agreement, self._shared.config)
        for party in (first, second):
            party.watch()
            other = party.joined
            if other is not None and other not in (first, second):
                self._alone(other)
            if party.agreement is None and party.former is not None:
                self._shared.emit(MediaLost(self.call_id, party.party.tag))
        self._kept |= {a, b}
        self._connect(first, second)

    def isolate(self, tag: str) -> None:
        """Disconnect a party and its partner, so that both receive silence; raises MediaError."""
        party = self.party(tag)
        self._kept.add(tag)
        self._alone(party)

    def release(self, tag: str) -> None:
        """Close and remove a party; an unknown tag is ignored."""
        party = self._parties.get(tag)
        if party is not None:
            self._drop(party)

    def give_up(self, tag: str) -> PartyMedia:
        """Remove a party without closing, isolated, for a different session; raises MediaError."""
        party = self.party(tag)
        self._alone(party)
        del self._parties[tag]
        self._kept.discard(tag)
        self._successors.forget(tag)
        return party

    def take_in(self, party: PartyMedia) -> None:
        """Add a party from a different session; raises MediaError 500 if the tag is in use."""
        if party.party.tag in self._parties:
            raise MediaError("the call has a party of that name", 500)
        party.call_id = self.call_id
        self._parties[party.party.tag] = party
        self._kept.add(party.party.tag)

    def lose(self) -> None:
        """Close all transports after the plane died, but keep the negotiated state."""
        parties = [party for party in self._parties.values() if party.transport is not None]
        for party in parties:
            if party not in self.lost:
                party.former = former_of(party)
        self.lost = {party: party.joined for party in parties} | self.lost
        for party in parties:
            party.close()
        self._successors.forget()

    def take_in_place(self, made: Mapping[PartyMedia, PartyMedia]) -> None:
        """Replace lost parties by the new parties in `made`, keyed by lost party, joined as before."""
        lost, self.lost = self.lost, {}
        for old, new in made.items():
            self._parties[old.party.tag] = new
            new.playing.succeed(old.playing)
            if (other := lost[old]) is not None:
                new.joined = made.get(other, other)
                new.joined.joined = new

    def has(self, tag: str) -> bool:
        """Return True if the call has a party with `tag`."""
        return tag in self._parties

    def send_dtmf(self, tag: str, digit: str, duration_ms: int, *, tones: bool) -> None:
        """Send a digit to the party; raises MediaError."""
        party = self.party(tag)
        way, codec = party.party.dtmf, party.send_codec()
        if way is Dtmf.INBAND or (tones and way is Dtmf.AUTO):
            party.playing.tones(digit, duration_ms, codec)
        else:
            party.playing.digit(digit, duration_ms, party.agreement.send_events if party.agreement is not None else {})

    def record(self, wanted: RecordingFile, ended: Callable[[str | None], None]) -> Recorder:
        """Start a recording of the call; raises MediaError."""
        recorder = self._recorders.begin(wanted, ended, self._connect_again)
        for party in self._parties.values() if wanted.beep else ():
            party.playing.beep(party.send_codec())
        return recorder

    def _connect_again(self) -> None:
        """Connect all joined parties again, after a change of recordings."""
        if self.closed:
            return
        order = list(self._parties.values())
        for place, party in enumerate(order):
            if party.joined is not None and party.joined not in order[:place]:
                self._connect(party, party.joined)

    def request_key_frame(self, tag: str) -> None:
        """Request a key frame from the sender of the video that the party receives; raises MediaError 481."""
        video = self.party(tag).video
        if video is not None:
            video.picture_wanted()

    def close(self) -> None:
        """Release everything; idempotent."""
        self.closed = True
        self._recorders.stop()
        self._successors.forget()
        for party in tuple(self._parties.values()):
            party.close()

    def sweep(self, now: float) -> list[Reporting]:
        """Run due timers; return the parties and streams with a due report."""
        kept = self._shared.config.unanswered_kept
        if self._paired_at is not None and now - self._paired_at > kept:
            for party in tuple(self._parties.values()):
                if party.joined is None and party.party.tag not in self._kept:
                    self._drop(party)
        due: list[Reporting] = []
        for party in self._parties.values():
            party.stations.flush(now)
            if party.renumber():
                self._reconnect(party)
            party.forget_refused(now - kept)
            if party.video is not None:
                party.video.ask_later()
            if party.agreement is not None and party.flow is not None and party.reporter.is_due(now):
                due.append(party)
            due += [each for each in (party.video, party.text) if each is not None and each.is_due(now)]
        return due

    # Parties

    async def _admit(
        self, source: Party, target: Party, made: list[PartyMedia], family: int
    ) -> tuple[PartyMedia, PartyMedia]:
        """Return both parties, opened if new; new parties are added to `made`. `family` is the offer's IP version."""
        for party in (source, target):
            service = service_of(party)
            if service is not None and service not in SERVICES and service != PROGRAM:
                raise MediaError("no such service", 488)
        if source.tag == target.tag or (service_of(source) is not None and service_of(target) is not None):
            raise MediaError("a call needs two parties, one of them with a peer", 488)
        if self._parties and source.tag not in self._parties and target.tag not in self._parties:
            raise MediaError("the call has other parties", 500)
        caller, callee = self._find(source, made, family), self._find(target, made)
        await opened(made)
        return caller, callee

    def _find(self, party: Party, made: list[PartyMedia], family: int = 0) -> PartyMedia:
        """Return a party by tag, created and added to `made`, still unopened, if new; raises MediaError."""
        known = self._parties.get(party.tag)
        if known is not None:
            known.describe_again(party)
            return known
        if len(self._parties) > self._shared.config.max_callees:
            limit = f"limits.max_callees ({self._shared.config.max_callees})"
            raise MediaError("the call has too many parties", 503, limit=limit)
        if family and family != party.family:
            party = replace(party, family=family)
        new = self._parties[party.tag] = PartyMedia(self._shared, self.call_id, party)
        made.append(new)
        return new

    def party(self, tag: str) -> PartyMedia:
        """Return a party by tag; raises MediaError 481."""
        party = self._parties.get(tag)
        if party is None:
            raise MediaError("unknown party", 481)
        return party

    @property
    def parties(self) -> Sequence[PartyMedia]:
        """Parties of the call."""
        return tuple(self._parties.values())

    def _drop(self, party: PartyMedia) -> None:
        other = party.joined
        del self._parties[party.party.tag]
        self._kept.discard(party.party.tag)
        self._successors.forget(party.party.tag)
        party.close()
        if other is not None:
            self._alone(other)

    # Streams

    def _join(self, caller: PartyMedia, callee: PartyMedia) -> None:
        """Join caller and callee; a previous callee is disconnected."""
        for party in (caller, callee):
            party.watch()
            other = party.joined
            if other is not None and other not in (caller, callee):
                if other.party.tag in self._kept:
                    self._alone(other)
                else:
                    other.leave()
        self._paired_at = self._shared.clock()
        self._connect(caller, callee)

    def _reconnect(self, party: PartyMedia) -> None:
        """Connect `party` to its partner again, after a new agreement."""
        if party.joined is not None:
            self._connect(party, party.joined)

    def _alone(self, party: PartyMedia) -> None:
        """Disconnect a party and its partner: both receive silence, and their digits are still read."""
        other = party.joined
        party.part()
        if party.agreement is not None and party.flow is not None:
            routing = deaf_routes(party.agreement, party.stations.on_digit)
            examine(party, routing)
            self._shared.plane.route(party.flow, None, routing.routes)
            party.stations.arrange(routing.handlers, is_open=False)
            party.silence()
        if other is not None and other is not party and other.joined is party:
            self._alone(other)

    def _connect(self, first: PartyMedia, second: PartyMedia) -> None:
        """Connect all streams of two parties as their agreements allow."""
        first.joined, second.joined = second, first
        self._recorders.place(first.party.tag, second.party.tag)
        for speaker, listener in ((first, second), (second, first)):
            if speaker.agreement is None or speaker.flow is None:
                continue
            service = service_of(listener.party)
            if service == "echo":
                self._route(speaker, speaker)
            elif listener.audio is not None:
                self._serve_program(speaker, listener.audio)
            elif service is not None:
                self._serve_tone(speaker, service)
            else:
                self._route(speaker, listener)
        join_beside(first, second)
        for party, other in ((first, second), (second, first)):
            if service_of(other.party) in (None, "echo"):
                party.playing.stop()
                codec, music = party.send_codec(), self._music(party, other)
                if codec is not None and music:
                    party.playing.music(codec, music)
            party.silence()

    def _music(self, held: PartyMedia, holder: PartyMedia) -> tuple[bytes, ...]:
        return hold_music(self._shared.music.of(holder.party.owner), held.send_codec(), holder.agreement)

    def _route(self, speaker: PartyMedia, listener: PartyMedia) -> None:
        """Route audio from `speaker` to `listener`, once both have an agreement."""
        heard, told, plane = speaker.agreement, listener.agreement, self._shared.plane
        if heard is None or speaker.flow is None:
            return
        on_digit = speaker.stations.on_digit
        if told is None:
            routing, is_open = deaf_routes(heard, on_digit), False
        else:
            native = plane.transcodes and not self._recorders and speaker.party.dtmf is not Dtmf.INBAND
            routing = routes_between(heard, told, self._shared.config, on_digit, native=native)
            is_open = told.direction.sends and heard.direction.receives and not self._music(listener, speaker)
        if speaker is listener and self._shared.config.echo_delay:
            routing = delayed(routing, plane, speaker.flow, self._shared.config.echo_delay)
        examine(speaker, routing)
        self._tap(speaker, routing)
        plane.route(speaker.flow, listener.flow, routing.routes)
        if listener.flow is not None:
            plane.set_open(listener.flow, is_open)
        speaker.stations.arrange(routing.handlers, is_open=is_open)
        if is_open and any(route.conversion is not None for route in routing.routes.values()):
            speaker.stations.transcoded = True

    def _serve_tone(self, listener: PartyMedia, service: str) -> None:
        heard, codec, config = listener.agreement, listener.send_codec(), self._shared.config
        if heard is None or codec is None or listener.flow is None:
            return
        routing = deaf_routes(heard, listener.stations.on_digit)
        examine(listener, routing)
        self._shared.plane.route(listener.flow, None, routing.routes)
        listener.stations.arrange(routing.handlers, is_open=False)
        music = self._shared.music.of(None).get(codec.key[0], ()) if service == "silence" else ()
        if music:
            listener.playing.music(codec, music)
            return
        listener.playing.tone(codec, 0 if service == "silence" else config.tone_frequency, config.tone_level)

    def _serve_program(self, caller: PartyMedia, audio: ProgramAudio) -> None:
        heard, codec = caller.agreement, caller.send_codec()
        program = caller.joined
        if heard is None or codec is None or caller.flow is None or program is None or program.audio is not audio:
            return
        routing = heard_by_program(heard, caller.has_heard, audio, caller.stations.on_digit)
        examine(caller, routing, audio.seat)
        self._tap(caller, routing)
        self._shared.plane.route(caller.flow, None, routing.routes)
        caller.stations.arrange(routing.handlers, is_open=False)
        audio.rearrange = partial(self._serve_program, caller, audio)
        audio.tap = self._recorders.said(program.party.tag, caller.party.tag)
        if audio.seat is not None:
            caller.playing.speaker(codec, audio.seat)
        else:
            caller.playing.program(codec, audio)
        show_among(caller, program)

    def _tap(self, speaker: PartyMedia, routing: Routing) -> None:
        """Pass the party's audio to the recordings of the call, if any."""
        heard, other = speaker.agreement, speaker.joined
        speaker.stations.tap = None
        if self._recorders and heard is not None and other is not None:
            names = tapped(routing, heard)
            speaker.stations.tap = self._recorders.tap(speaker.party.tag, other.party.tag, names)

    # Figures

    def statistics(self) -> CallStatistics:
        """Return the statistics of joined and kept parties; of all parties if none is joined or kept."""
        here = [each for each in self._parties.values() if each.joined is not None or each.party.tag in self._kept]
        parties = {party.party.tag: party_statistics(party) for party in here or self._parties.values()}
        return CallStatistics(parties, any(party.stations.transcodes for party in self._parties.values()))
