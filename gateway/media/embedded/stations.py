"""Where the packets of one party go that are not simply forwarded: readers of digits, transcoders, an echo's delay."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from gateway.media.embedded.audio.transcode import Transcoder
from gateway.media.embedded.plane.values import MediaPacket, PlayoutFigures
from gateway.media.embedded.sources.digits import EventHandler
from gateway.media.embedded.sources.numbering import NumberReader
from gateway.media.embedded.sources.pacer import Pacer
from gateway.media.embedded.sources.packets import NOTHING, Injected, PacketHandler, Packets
from gateway.media.embedded.sources.players import Playing
from gateway.media.embedded.sources.program import Ear
from gateway.media.embedded.sources.tone_gate import ToneGate
from sdp import Codec

AtWork = Transcoder | Ear | ToneGate
"""What works in a thread."""
MOST_CAME = 64
MOST_DUE = 5
"""Packets and ticks of a party that wait for its transcoders; what is more is left out."""


class Listener(Protocol):
    """The party that hears what comes of the packets."""

    playing: Playing

    @property
    def hears(self) -> bool: ...

    def inject(self, packet: Injected) -> None: ...


class Elsewhere(Protocol):
    """Where audio is decoded and encoded."""

    def do(self, job: Callable[[], Packets], then: Callable[[Packets | None], None]) -> None: ...


@dataclass(frozen=True, slots=True)
class Ticks:
    """What one party's transcoders have to do, in a thread: nothing else touches them before it is done."""

    transcoders: tuple[AtWork, ...]
    came: tuple[tuple[AtWork, MediaPacket, float], ...]
    """Packets with when they came, s."""
    times: tuple[float, ...]
    """Of the ticks that are due."""
    heard: bool
    """Whether the packets that are made go anywhere."""

    def make(self) -> Packets:
        """The packets of these ticks."""
        for transcoder, packet, now in self.came:
            transcoder.handle(packet, now)
        made: list[Injected] = []
        for transcoder in self.transcoders:
            for now in self.times:
                made += transcoder.tick(now)
            if not self.heard:
                transcoder.pause()
        return tuple(made) if self.heard else NOTHING


class Stations:
    """The handlers of one party's packets, by payload type; kept over re-offers that do not change them."""

    def __init__(
        self,
        pacer: Pacer,
        elsewhere: Elsewhere,
        listener: Callable[[], Listener | None],
        on_digit: Callable[[str, int], None],
        on_tone: Callable[[str, int], None],
    ) -> None:
        """`listener` says who hears the party now; `on_digit` gets its digits with their ms, `on_tone` those that were
        tones in its audio."""
        self.on_digit = on_digit
        self.on_tone = on_tone
        self.transcoded = False
        """Whether anything was turned into another codec in an earlier arrangement."""
        self.tap: Callable[[MediaPacket, float], None] | None = None
        """Gets every packet as well, with when it came."""
        self._pacer = pacer
        self._elsewhere = elsewhere
        self._came: list[tuple[AtWork, MediaPacket, float]] = []
        self._due: list[float] = []
        """Ticks that are due while those before are still at work."""
        self._at_work = False
        self._listener = listener
        self._made: dict[Hashable, PacketHandler] = {}
        self._by_type: dict[int, PacketHandler] = {}
        self._open = False
        self._player: int | None = None
        self._last: PacketHandler | None = None
        """What took the packet that came last."""
        self._played: PlayoutFigures | None = None
        """What the playout buffers have done of handlers that are gone."""

    @property
    def transcodes(self) -> bool:
        """Whether anything this party sent was turned into another codec."""
        return self.transcoded or any(each.frames for each in self._transcoders())

    @property
    def playout(self) -> PlayoutFigures | None:
        """What the playout buffers of the handlers have done, of those that are gone, too; None: there were none."""
        return self._played_by(self._transcoders())

    def _played_by(self, handlers: Iterable[AtWork]) -> PlayoutFigures | None:
        """Those of handlers after what is counted already; how long packets wait is told by the one that speaks."""
        figures = self._played
        for handler in sorted(handlers, key=lambda handler: handler is self._last):
            playout = handler.playout
            figures = playout.figures.after(figures) if playout is not None else figures
        return figures

    def arrange(self, wanted: Mapping[int, tuple[Hashable, Callable[[], PacketHandler]]], *, is_open: bool) -> None:
        """Take the handlers of a new agreement by payload type, each named by a key and made where it is new.

        `is_open`: whether the listener is to hear what comes of them.
        """
        self.transcoded = self.transcodes
        made: dict[Hashable, PacketHandler] = {}
        self._by_type = {}
        for number, (key, make) in wanted.items():
            made[key] = self._by_type[number] = made.get(key) or self._made.get(key) or make()
        kept = set(map(id, made.values()))
        gone = self._played_by(each for each in self._transcoders() if id(each) not in kept)
        self._played = replace(gone, waited=None) if gone is not None else None
        self._made = made
        self._open = is_open
        if not self._transcoders():
            self._stop()

    def handle(self, packet: MediaPacket, now: float) -> None:
        """One packet of the party."""
        if self.tap is not None:
            self.tap(packet, now)
        handler = self._by_type.get(packet.payload_type)
        if handler is None:
            return
        if isinstance(handler, AtWork):
            self._last = handler
            if len(self._came) < MOST_CAME:
                self._came.append((handler, packet, now))
            if self._player is None:
                self._player = self._pacer.add(self._tick)
            return
        made, listener = handler.handle(packet, now), self._heard()
        if listener is not None:
            for each in made:
                listener.inject(each)

    def flush(self, now: float) -> None:
        """Report digits whose end never came."""
        for handler in self._made.values():
            if isinstance(handler, EventHandler):
                handler.flush(now)

    def close(self) -> None:
        """Nothing of the party is heard any more."""
        self.tap = None
        self._stop()
        self.arrange({}, is_open=False)

    def sends_by_its_own(self, number: int, theirs: Codec) -> bool | None:
        """Return True if received packets of a contested number are of the peer's codec `theirs`; None if undecided."""
        handler = self._by_type.get(number)
        if isinstance(handler, NumberReader):
            return handler.is_theirs
        return not theirs.is_event if isinstance(handler, EventHandler) and handler.misread else None

    def _transcoders(self) -> list[AtWork]:
        return [each for each in self._made.values() if isinstance(each, AtWork)]

    def _stop(self) -> None:
        self._pacer.remove(self._player)
        self._player = None
        self._came, self._due = [], []

    def _tick(self, now: float) -> bool:
        transcoders = self._transcoders()
        if not self._came and not self._at_work and all(each.resting for each in transcoders):
            self._stop()
            return False
        if len(self._due) < MOST_DUE:
            self._due.append(now)
        if not self._at_work:
            ticks = Ticks(tuple(transcoders), tuple(self._came), tuple(self._due), self._heard() is not None)
            self._came, self._due = [], []
            self._at_work = True
            self._elsewhere.do(ticks.make, self._made_elsewhere)
        return True

    def _heard(self) -> Listener | None:
        """Who hears what is made now."""
        listener = self._listener()
        if not self._open or listener is None or not listener.hears or listener.playing.digits_going:
            return None
        return listener

    def _made_elsewhere(self, packets: Packets | None) -> None:
        """What the ticks have come to; None: they failed, and the party's audio ends rather than every call's."""
        self._at_work = False
        if packets is None:
            self._stop()
            return
        for each in self._transcoders():
            if isinstance(each, Ear | ToneGate):
                each.deliver()
        listener = self._heard()
        if listener is not None:
            for packet in packets:
                listener.inject(packet)
