"""One call at rtpengine: what was said of it, and what was last heard of it. No I/O."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from gateway.media.engine import (
    CallStatistics,
    Connected,
    FirstMedia,
    Kind,
    MediaError,
    MediaEvent,
    MediaFailed,
    MediaTimeout,
    Party,
    PartyStatistics,
    StreamStatistics,
)
from gateway.media.rtpengine.client import NgHost
from gateway.media.rtpengine.ng import Request
from gateway.media.rtpengine.statistics import Heard
from gateway.media.rtpengine.watch import Pace
from sdp import MediaDescription, SessionDescription


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long silence is borne, in seconds; 0: for ever."""

    setup: float = 15.0
    """From the answer to the first packet of a browser."""
    media: float = 60.0
    """Without a packet of a party that may send."""
    doubted: float = 10.0
    """The same of a party whose signalling does not answer either; 0: no other time."""
    held: float = 3600.0
    """Without a packet of a party that has no reason to send."""
    daemon: float = 15.0
    """Without an answer of the daemon that has the call."""

    def limit(self, *, is_expected: bool, doubted: bool) -> float:
        """Return how long a party may be silent that is to send something, or has no reason to."""
        if not is_expected:
            return self.held
        return min(self.doubted, self.media or self.doubted) if doubted and self.doubted else self.media


@dataclass(frozen=True, slots=True)
class Offer:
    """One offer that was made through the daemon; it may be answered more than once, as 183 and 200 do."""

    request: Request
    theirs: MediaDescription
    """What the offerer said."""
    ours: MediaDescription
    """What the other side was told."""
    sections: int
    place: int
    """Which section it is."""
    video: int | None = None
    """Which section has the picture that goes with it."""


@dataclass(slots=True)
class PartyState:
    """One side."""

    party: Party
    since: float
    """Monotonic seconds when it was first named."""
    heard: Heard = field(default_factory=Heard)
    heard_at: float | None = None
    """When its packets were last seen to have grown."""
    connected_after: float | None = None
    codec: str | None = None
    said: SessionDescription | None = None
    """Its last description that was agreed on."""
    transport: tuple[str | None, ...] = ()
    """Where it was last told to send to."""
    holds: bool = False
    """It takes no audio, by its own will."""
    patience: float | None = None
    """Seconds of silence that are told in the place of those that `Patience` has."""
    blocked: bool = False
    """The daemon drops its media: another callee of the same offer is heard."""
    narrowed: bool = False
    """True where it has been given less audio than both ways, though it asked for no less."""
    placed: bool = True
    """The daemon has it in this call; False: it came from another one, and is to be offered this one's media."""
    warned: bool = False
    """MediaTimeout was said and nothing came since."""
    failed: bool = False

    def narrow(self, is_narrowed: bool) -> None:
        self.narrowed = is_narrowed

    def block(self, is_blocked: bool) -> None:
        self.blocked = is_blocked


@dataclass(slots=True)
class CallState:
    """The two sides, the daemon that has them, and the requests that made the call what it is."""

    call_id: str
    host: NgHost
    name: str
    """What the daemon calls it."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    parties: dict[str, PartyState] = field(default_factory=dict)
    offers: dict[tuple[str, str], Offer] = field(default_factory=dict)
    """By source and target, until one of them offers anew."""
    exchanges: dict[frozenset[str], tuple[Request, Request]] = field(default_factory=dict)
    """By the tags of two parties their last offer and its answer, to be said again."""
    ours: dict[str, str] = field(default_factory=dict)
    """By the tag of whom we have made an offer, the tag of whose words it has."""
    agreed: dict[tuple[str, str], SessionDescription] = field(default_factory=dict)
    """Answers to such offers, by the tags of whose words those had and of who answers: `join` makes use of them."""
    gone: set[str] = field(default_factory=set)
    """Tags of parties that are forgotten here, and are still to be at the daemon."""
    joined: frozenset[str] = frozenset()
    """Tags of the two that talk; of others where the call rang too nothing is awaited."""
    isolated: bool = False
    """Nobody hears anybody."""
    answered_at: float | None = None
    digits: bool = False
    """The daemon has been told to be ready for digits of ours."""
    closed: bool = False

    def party(self, party: Party, now: float) -> PartyState:
        """The state of a party, begun when it is new."""
        state = self.parties.get(party.tag)
        if state is None:
            state = self.parties[party.tag] = PartyState(party, now)
        state.party = party
        return state

    def offered(self, source: Party, target: Party, offer: Offer, now: float) -> None:
        """Note an offer; it takes the place of any between the same two."""
        for party in (source, target):
            self.party(party, now)
        self.offers.pop((target.tag, source.tag), None)
        for tag in (source.tag, target.tag):
            self.ours.pop(tag, None)
        self.agreed.pop((source.tag, target.tag), None)
        self.agreed.pop((target.tag, source.tag), None)
        self.offers[source.tag, target.tag] = offer

    def party_of(self, tag: str) -> PartyState:
        """Raises MediaError 481 for an unknown one."""
        state = self.parties.get(tag)
        if state is None:
            raise MediaError("unknown party", 481)
        return state

    def peer_of(self, tag: str) -> str | None:
        """The tag of whom a party talks with."""
        return next((other for other in self.joined if other != tag), None) if tag in self.joined else None

    def forget(self, tag: str) -> PartyState | None:
        """A party, and all that was said with it; None: there is none."""
        state = self.parties.pop(tag, None)
        self.offers = {pair: offer for pair, offer in self.offers.items() if tag not in pair}
        self.agreed = {pair: answer for pair, answer in self.agreed.items() if tag not in pair}
        self.exchanges = {pair: each for pair, each in self.exchanges.items() if tag not in pair}
        self.ours = {whom: whose for whom, whose in self.ours.items() if tag not in (whom, whose)}
        return state

    @property
    def awaited(self) -> bool:
        """Whether one of the two has not been heard yet."""
        return any(self.parties[tag].connected_after is None for tag in self.joined if tag in self.parties)

    def pace(self, doubted: Collection[str]) -> Pace:
        """Return the frequency of looks at the call: close where a short silence would end it."""
        if self.awaited:
            return Pace.SOON
        states = [self.parties[tag] for tag in self.joined if tag in self.parties]
        is_short = any(state.patience or state.party.owner in doubted for state in states)
        return Pace.CLOSE if is_short else Pace.STEADY

    def peers(self, tag: str) -> list[str]:
        """Tags of the others."""
        return [other for other in self.parties if other != tag]

    def take(
        self, heard: Mapping[str, Heard], now: float, patience: Patience, doubted: Collection[str] = ()
    ) -> list[MediaEvent]:
        """Return what a query's reply means now; the signalling of the owners in `doubted` does not answer."""
        events: list[MediaEvent] = []
        for tag, state in self.parties.items():
            latest = heard.get(tag)
            if latest is None:
                continue
            before, state.heard = state.heard, latest
            if latest.packets + latest.control > before.packets + before.control:
                self._alive(state, now, events.append)
            elif tag in self.joined and not self.isolated:
                self._silent(state, now, patience, state.party.owner in doubted, events.append)
        return events

    def _alive(self, state: PartyState, now: float, emit: Callable[[MediaEvent], None]) -> None:
        state.heard_at, state.warned = now, False
        if state.connected_after is None and state.heard.packets:
            state.connected_after = now - state.since
            emit(Connected(self.call_id, state.party.tag))
            emit(FirstMedia(self.call_id, state.party.tag))

    def _silent(
        self, state: PartyState, now: float, patience: Patience, doubted: bool, emit: Callable[[MediaEvent], None]
    ) -> None:
        tag = state.party.tag
        silence = now - max(self.answered_at or state.since, state.heard_at or 0.0)
        if state.heard_at is None and state.party.kind is Kind.WEBRTC and patience.setup:
            if silence >= patience.setup and not state.failed:
                state.failed = True
                emit(MediaFailed(self.call_id, tag, "the browser's media did not connect"))
            return
        limit = state.patience or patience.limit(is_expected=state.heard.expected, doubted=doubted)
        if 0 < limit <= silence and not state.warned:
            state.warned = True
            emit(MediaTimeout(self.call_id, tag, silence, doubted))

    def statistics(self) -> CallStatistics:
        """From what was last heard; what a party was sent is what its peer was heard saying."""
        parties = {}
        for tag, state in self.parties.items():
            others = [self.parties[other] for other in self.peers(tag)]
            talking = max(others, key=lambda other: other.heard.packets, default=None)
            sent = StreamStatistics()
            if talking is not None:
                sent = StreamStatistics(talking.heard.packets, talking.heard.bytes, codec=state.codec)
            after = None if state.connected_after is None else state.connected_after * 1000
            parties[tag] = PartyStatistics(state.heard.stream(state.codec), sent, state.heard.rtt_ms, after)
        # rtpengine says so also of what it only numbers anew.
        codecs = {self.parties[tag].codec for tag in self.joined if tag in self.parties}
        return CallStatistics(
            parties, len(codecs) > 1 and any(each.heard.transcoding for each in self.parties.values())
        )
