"""Handlers for a party's packets that are not simply forwarded: digit readers, transcoders, tone gates."""

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
"""Handlers that run in a worker thread."""
MOST_CAME = 64
MOST_DUE = 5
"""Maximum packets and ticks that wait for a party's transcoders; the excess is dropped."""


class Listener(Protocol):
    """Party that receives the packets made by the handlers."""

    playing: Playing

    @property
    def hears(self) -> bool: ...

    def inject(self, packet: Injected) -> None: ...


class Elsewhere(Protocol):
    """Worker threads that decode and encode audio."""

    def do(self, job: Callable[[], Packets], then: Callable[[Packets | None], None]) -> None: ...


@dataclass(frozen=True, slots=True)
class Ticks:
    """Work for one party's transcoders in a thread, which uses the transcoders exclusively until done."""

    transcoders: tuple[AtWork, ...]
    came: tuple[tuple[AtWork, MediaPacket, float], ...]
    """Received packets with their transcoder and arrival time in seconds."""
    times: tuple[float, ...]
    """Times of the due ticks in seconds."""
    heard: bool
    """True if a listener receives the packets."""

    def make(self) -> Packets:
        """Run the transcoders and return their packets; none without a listener."""
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
    """Packet handlers of one party by payload type; re-offers keep unchanged handlers."""

    def __init__(
        self,
        pacer: Pacer,
        elsewhere: Elsewhere,
        listener: Callable[[], Listener | None],
        on_digit: Callable[[str, int], None],
        on_tone: Callable[[str, int], None],
    ) -> None:
        """Start without handlers; `listener` returns the present listener.

        `on_digit` receives digits from telephone events with their duration in ms, `on_tone` digits from tones.
        """
        self.on_digit = on_digit
        self.on_tone = on_tone
        self.transcoded = False
        """True if the party's audio was transcoded by an earlier arrangement or by the plane."""
        self.tap: Callable[[MediaPacket, float], None] | None = None
        """Callback for a copy of every packet, with the arrival time in seconds."""
        self._pacer = pacer
        self._elsewhere = elsewhere
        self._came: list[tuple[AtWork, MediaPacket, float]] = []
        self._due: list[float] = []
        """Times of due ticks that wait for the work in progress."""
        self._at_work = False
        self._listener = listener
        self._made: dict[Hashable, PacketHandler] = {}
        self._by_type: dict[int, PacketHandler] = {}
        self._open = False
        self._player: int | None = None
        self._last: PacketHandler | None = None
        """Handler of the last packet."""
        self._played: PlayoutFigures | None = None
        """Playout figures of removed handlers."""

    @property
    def transcodes(self) -> bool:
        """True if any audio of the party has been transcoded."""
        return self.transcoded or any(each.frames for each in self._transcoders())

    @property
    def playout(self) -> PlayoutFigures | None:
        """Playout figures of present and removed handlers; None without a playout buffer."""
        return self._played_by(self._transcoders())

    def _played_by(self, handlers: Iterable[AtWork]) -> PlayoutFigures | None:
        """Return the figures of removed and given handlers; the last active handler sets the present delay."""
        figures = self._played
        for handler in sorted(handlers, key=lambda handler: handler is self._last):
            playout = handler.playout
            figures = playout.figures.after(figures) if playout is not None else figures
        return figures

    def arrange(self, wanted: Mapping[int, tuple[Hashable, Callable[[], PacketHandler]]], *, is_open: bool) -> None:
        """Install the handlers of a new agreement: by payload type a key, and a function that makes a missing handler.

        With `is_open` the listener receives the packets that the handlers make.
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
        """Pass a packet of the party to its handler."""
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
        """Report digits whose end packets are missing."""
        for handler in self._made.values():
            if isinstance(handler, EventHandler):
                handler.flush(now)

    def close(self) -> None:
        """Stop and remove all handlers."""
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
        """Return the listener if open for audio at present, otherwise None."""
        listener = self._listener()
        if not self._open or listener is None or not listener.hears or listener.playing.digits_going:
            return None
        return listener

    def _made_elsewhere(self, packets: Packets | None) -> None:
        """Send the packets of completed work; None after a failure stops the party's transcoders."""
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
