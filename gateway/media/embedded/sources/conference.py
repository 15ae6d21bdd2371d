"""A conference: parties that each hear all the others, mixed every 20 ms in a thread."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np

from gateway.media.embedded.audio.mixing import Loudest, Mix, Speakers, faded, power
from gateway.media.embedded.audio.pcm import Pcm, tone
from gateway.media.embedded.data.t140 import INTERVAL
from gateway.media.embedded.data.text_mix import TextMix
from gateway.media.embedded.plane.values import MediaPacket
from gateway.media.embedded.sources.chorus import SHARED, Chorus, Speech
from gateway.media.embedded.sources.pacer import Pacer
from gateway.media.embedded.sources.packets import Injected
from gateway.media.embedded.sources.pictures import Picture, Pictures
from gateway.media.embedded.sources.players import BEEP, BEEP_LEVEL, BEEP_MS
from gateway.media.embedded.sources.program import COMPLEXITY, FRAME, RATE, Ears, Mouth, Outlet, ProgramAudio
from gateway.media.embedded.sources.recorder import Recorder
from gateway.media.embedded.sources.room_tones import RoomTones
from gateway.media.embedded.workers import Workers
from gateway.media.engine import AudioPort, MediaError, RecordingFile
from sdp import Codec

logger = logging.getLogger("gateway.media.conference")

MOST_CAME = 64
"""Packets of a party that wait for the next round; what is more is left out."""
MOST_DUE = 5
"""Ticks that wait while a round is at work; what is more is left out."""

SMALL, COMPLEXITY_OF_MANY = 8, 1
"""Members, or speakers at once, up to which each who speaks is spoken to as by any program; where more may speak, those
who come later in Opus that is made with half the work, so that a tick of fifty fits into 20 ms."""

SILENCE: Pcm = np.zeros(FRAME, np.int16)
_BEEP = tone(BEEP, BEEP_LEVEL, RATE, BEEP_MS / 1000).tobytes()
"""What says to the members that they are recorded."""

_NUMBERS = itertools.count(1)
Came = tuple[str, MediaPacket, float]
"""A packet's codec, the packet, when it came (s)."""


class Seat:
    """One party's place (`gateway.media.engine.Seat`); made by `Conference.seat`."""

    def __init__(self, conference: Conference, audio: ProgramAudio, name: str, group: str) -> None:
        self.number = next(_NUMBERS)
        self.name = name
        self.group = group
        self.muted = False
        self.audio = audio
        self.picture: Picture | None = None
        """What the party shows, and sees of others."""
        self.ignore_text: Callable[[], None] = lambda: None
        """Ends that the others read what the party types."""
        self.speech = Speech()
        self.came: list[Came] = []
        self.outlet: Outlet | None = None
        self.mouth: Mouth | None = None
        self._conference = conference
        self._ears = Ears()
        self._tones: RoomTones | None = None
        self._failed = False
        """Whether it has been logged that it could not be heard."""

    @property
    def shows(self) -> bool:
        return self.picture is not None and self.picture.shows

    @property
    def sees(self) -> str | None:
        return self._conference.pictures.seen_by(self.name)

    @property
    def pictures(self) -> dict[str, str]:
        return self._conference.pictures.all_seen_by(self.name)

    def show(self, picture: Picture | None) -> None:
        """Have the party's picture be one of the conference's as is agreed now; None: it has none."""
        self.picture = picture
        if picture is not None:
            self._conference.pictures.take(self.name, picture, self.group)
        else:
            self._conference.pictures.drop(self.name)

    def leave(self, *, is_sent: bool = False) -> None:
        self._conference.remove(self, is_sent=is_sent)
        if self.audio.seat is self:
            self.audio.take_seat(None)

    def take(self, codec: str, packet: MediaPacket, now: float) -> None:
        """One packet of the party."""
        if len(self.came) < MOST_CAME:
            self.came.append((codec, packet, now))

    def speak_to(self, outlet: Outlet | None, codec: Codec | None) -> None:
        """The party hears the others in this codec from now on; None: nobody hears them here."""
        self.outlet = outlet
        self.mouth = Mouth(codec, self.audio, self._conference.complexity) if codec is not None else None

    def find_tones(self, told: Callable[[str, int], None] | None) -> None:
        """Tell this one the digits that the party says in tones, None: nobody; the same one again changes nothing."""
        before = self._tones.on_tone if self._tones is not None else None
        if told != before:
            self._tones = RoomTones(told) if told is not None else None

    def tell_tones(self) -> None:
        """The digits that were found since."""
        if self._tones is not None:
            try:
                self._tones.tell()
            except Exception:
                logger.exception("a digit of a member of a conference could not be told")

    def listen(self, came: tuple[Came, ...]) -> None:
        """Put what came into the playout buffers; in a thread."""
        try:
            for codec, packet, now in came:
                self._ears.take(codec, packet, now)
        except Exception:
            self._hear_anew()

    def frame(self, now: float) -> Pcm | None:
        """The next 20 ms of what the party says, None: nothing; in a thread."""
        tones = self._tones
        try:
            pcm = self._ears.frame(now)
            return pcm if tones is None else tones.take(pcm, made_up=self._ears.made_up)
        except Exception:
            self._hear_anew()
            return None

    def _hear_anew(self) -> None:
        """What this party sends could not be heard: it is silent, and the others go on."""
        self._ears = Ears()
        if not self._failed:
            self._failed = True
            logger.exception("a member of a conference could not be heard")


@dataclass(frozen=True, slots=True)
class Turn:
    """One party in a round."""

    seat: Seat
    muted: bool
    came: tuple[Came, ...]
    told: tuple[Pcm | None, ...]
    """What it alone hears, tick by tick."""
    mouth: Mouth | None
    """What speaks to it; None where it has none."""
    hears: bool
    """Whether what is said goes out."""


@dataclass(slots=True)
class Made:
    """What a round has come to."""

    packets: list[tuple[Turn, Injected]] = field(default_factory=list)
    heard: list[tuple[Seat, Pcm | None]] = field(default_factory=list)
    mixed: list[Pcm] = field(default_factory=list)
    powers: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Round:
    """Some ticks of a conference, worked off in a thread: nothing else touches ears and mouths before it is done."""

    turns: tuple[Turn, ...]
    told: tuple[Pcm | None, ...]
    """What everybody hears, tick by tick."""
    times: tuple[float, ...]
    chorus: Chorus
    speakers: Speakers

    def make(self) -> Made:
        """Decode, mix and encode."""
        made = Made()
        for turn in self.turns:
            turn.seat.listen(turn.came)
        for tick, now in enumerate(self.times):
            mix = self._mix(tick, now, made)
            self.chorus.begin()
            for turn in self.turns:
                packet = self._packet(turn, mix, turn.told[tick])
                if packet is not None:
                    made.packets.append((turn, packet))
            made.mixed.append(mix.all)
        return made

    def _mix(self, tick: int, now: float, made: Made) -> Mix:
        """What everybody says in a tick."""
        mix, powers, said = Mix(FRAME), dict[str, float](), dict[str, Pcm]()
        for turn in self.turns:
            pcm = turn.seat.frame(now)
            made.heard.append((turn.seat, pcm))
            loud = power(pcm) if pcm is not None and not turn.muted else None
            if turn.seat.speech.says(loud) and pcm is not None:
                said[turn.seat.name] = pcm
            if loud is not None:
                powers[turn.seat.name] = loud
        made.powers.append(powers)
        gains = self.speakers.choose({name: powers[name] for name in said})
        for turn in self.turns:
            name = turn.seat.name
            turn.seat.speech.mixed(name in gains)
            if name in gains:
                mix.add(faded(said[name], gains[name]), turn.seat.group)
        told = self.told[tick]
        if told is not None:
            mix.add(told)
        return mix

    def _packet(self, turn: Turn, mix: Mix, told: Pcm | None) -> Injected | None:
        """What one party hears in a tick; `told` is for it alone. Who is not heard hears what all such do."""
        mouth, seat = turn.mouth, turn.seat
        if mouth is None:
            return None
        if not turn.hears:
            mouth.pause()
            return None
        if told is not None:
            seat.speech.spoken_to()
        if mouth.codec in SHARED and seat.speech.is_over and not mix.has(seat.group):
            return mouth.repeat(self.chorus.say(mouth.codec, mouth.shared, mix.all))
        return mouth.encode(mix.without(seat.group, told))


class Conference:
    """`gateway.media.engine.Conference`."""

    def __init__(self, pacer: Pacer, workers: Workers, writers: Workers, videos: int = 1, speakers: int = 0) -> None:
        """`videos` that each browser sees at once; `speakers` who are heard at once, 0: all."""
        self._pacer = pacer
        self._workers = workers
        self._writers = writers
        self._recorder: Recorder | None = None
        self._beeps = False
        """Whether the recording is one of which members are told."""
        self._beep_due = False
        """Whether those who are there are to be told yet."""
        self._seats: list[Seat] = []
        self._voice = ProgramAudio()
        self._loudest = Loudest()
        self.pictures = Pictures(videos, lambda name: self._pictures_changed(name))
        self._pictures_changed: Callable[[str], None] = lambda name: None
        self._told: Callable[[str | None], None] = lambda name: None
        self._ticking: int | None = None
        self._texts = TextMix()
        self._text_due = 0.0
        """When more of it may be shown: together as it is sent to phones, since every piece is a message to each."""
        self._due: list[tuple[float, dict[Seat, Pcm | None], Pcm | None]] = []
        self._at_work = False
        self._chorus = Chorus()
        self._speakers = Speakers(speakers)

    def __len__(self) -> int:
        return len(self._seats)

    @property
    def complexity(self) -> int:
        """Of the Opus that a member is spoken to in from now on, 0 to 10."""
        is_small = len(self) <= SMALL or 0 < self._speakers.most <= SMALL
        return COMPLEXITY if is_small else COMPLEXITY_OF_MANY

    def seat(self, audio: AudioPort, name: str, group: str | None = None, label: str = "") -> Seat:
        if not isinstance(audio, ProgramAudio) or audio.seat is not None:
            raise MediaError("this party has no place to give up for another", 500)
        seat = Seat(self, audio, name, group or name)
        seat.ignore_text = audio.on_text(lambda text: self._texts.typed(seat, label or name, text))
        self._seats.append(seat)
        if self._ticking is None:
            self._ticking = self._pacer.add(self._tick)
        audio.take_seat(seat)
        if self._beeps and self._is_recorded and not self._beep_due:
            with suppress(MediaError):  # a program has that much to say to it
                audio.say(_BEEP)
        return seat

    def remove(self, seat: Seat, *, is_sent: bool = False) -> None:
        """Somebody has left, or is sent away; idempotent."""
        if seat in self._seats:
            self._seats.remove(seat)
            seat.show(None)
            seat.ignore_text()
            (self._texts.removed if is_sent else self._texts.left)(seat)
        if not self._seats:
            self._pacer.remove(self._ticking)
            self._ticking = None
            self._due.clear()
            self._hear({})

    def record(self, wanted: RecordingFile, ended: Callable[[str | None], None]) -> Recorder:
        if self._is_recorded:
            raise MediaError("the conference is being recorded already", 500)
        self._beeps = self._beep_due = wanted.beep
        recorder = self._recorder = Recorder(self._pacer, self._writers, replace(wanted, channels=1), ended)
        return recorder

    @property
    def _is_recorded(self) -> bool:
        return self._recorder is not None and not self._recorder.stopping

    def say(self, pcm: bytes, rate: int = RATE) -> None:
        """Have everybody hear it, after all that waits."""
        if self._seats:
            self._voice.say(pcm, rate)

    def on_speaker(self, told: Callable[[str | None], None]) -> None:
        self._told = told

    def on_pictures(self, told: Callable[[str], None]) -> None:
        self._pictures_changed = told

    def close(self) -> None:
        """Have everybody leave."""
        for seat in tuple(self._seats):
            seat.leave()
        if self._recorder is not None:
            self._recorder.stop()

    def _tick(self, now: float) -> bool:
        self.pictures.tick()
        self._show_text(now)
        if self._beep_due and self._is_recorded:
            with suppress(MediaError):  # once there is room behind what waits to be said
                self.say(_BEEP)
                self._beep_due = False
        told = self._voice.next()
        if len(self._due) < MOST_DUE:
            self._due.append((now, {seat: seat.audio.next() for seat in self._seats}, told))
        if not self._at_work:
            self._at_work = True
            self._workers.do(self._round().make, self._made)
        return True

    def _show_text(self, now: float) -> None:
        made = self._texts.take(now) if now >= self._text_due else []
        if not made:
            return
        self._text_due = now + INTERVAL / 1000
        writers, whole = {writer for writer, _ in made}, "".join([text for _, text in made])
        for seat in self._seats:
            others = whole if seat not in writers else "".join([text for writer, text in made if writer is not seat])
            if others:
                seat.audio.type(others)

    def _round(self) -> Round:
        turns = []
        for seat in self._seats:
            came, seat.came = tuple(seat.came), []
            told = tuple(own.get(seat) for _, own, _ in self._due)
            hears = seat.outlet is not None and seat.outlet.hears
            turns.append(Turn(seat, seat.muted, came, told, seat.mouth, hears))
        made = Round(
            tuple(turns),
            tuple(told for _, _, told in self._due),
            tuple(now for now, _, _ in self._due),
            self._chorus,
            self._speakers,
        )
        self._due = []
        return made

    def _made(self, made: Made | None) -> None:
        """What the round has come to; None: it failed, and its ticks are silent."""
        self._at_work = False
        if made is None:
            return
        for turn, packet in made.packets:
            seat = turn.seat
            if seat.outlet is not None and seat.mouth is turn.mouth:
                seat.outlet.say(packet)
        for seat in tuple(self._seats):
            seat.tell_tones()
        for seat, pcm in made.heard:
            if seat.audio.listens:
                seat.audio.hear(SILENCE if pcm is None else pcm)
        if self._recorder is not None:
            for pcm in made.mixed:
                self._recorder.tracks[0].say(pcm)
        for powers in made.powers:
            self._hear({seat.name: powers.get(seat.name, 0.0) for seat in self._seats})

    def _hear(self, powers: dict[str, float]) -> None:
        if self._loudest.hear(powers):
            self.pictures.speaks(self._loudest.speaker)
            try:
                self._told(self._loudest.speaker)
            except Exception:
                logger.exception("who speaks could not be told")
