"""Telephone-events through whole calls: one event has one timestamp, whatever becomes of the audio around it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.embedded.plane.packet import RtpPacket
from gateway.media.embedded.sources.digits import TelephoneEvent
from gateway.media.embedded.sources.players import loop_frames
from gateway.media.engine import DtmfReceived, Kind, Party
from tests.media.engine_support import MAPS, Phone, config, running, until

CODECS = ("pcmu", "pcma", "g722", "opus")
FRAME = 0.02
_MOST_UNITS, _NEARLY_FULL = 0xFFFF, 0xE000
_TOLERANCE = 0.4
"""Longest wait of the playout buffer in seconds: audio before an event may have come so much later."""


class TimedPhone(Phone):
    """A phone that knows when each packet came."""

    def __init__(self, codecs: Iterable[str]) -> None:
        super().__init__(codecs)
        self.arrivals: dict[int, float] = {}
        """Time of the loop, by sequence number."""

    def datagram_received(self, data: bytes, addr: Any) -> None:
        super().datagram_received(data, addr)
        self.arrivals.setdefault(int.from_bytes(data[2:4]), asyncio.get_running_loop().time())


@dataclass(frozen=True)
class Press:
    """One digit of a phone."""

    digit: str
    ms: int
    pause: float = 0.0
    """Seconds without a packet in its middle."""


SHORT = (Press("1", 40), Press("2", 100), Press("2", 400), Press("3", 200, pause=2.0), Press("4", 40))
LONG = (Press("5", 10_000),)


@dataclass(frozen=True)
class Row:
    """A call of two phones that press the same keys at once."""

    codecs: tuple[str, str]
    events: tuple[str, str] = ("event", "event")
    presses: tuple[Press, ...] = SHORT

    @property
    def name(self) -> str:
        return f"{self.codecs} {self.events} {self.presses[0].digit}"


ROWS = [
    *(Row(codecs) for codecs in itertools.combinations_with_replacement(CODECS, 2)),
    *(Row((codec, "opus"), ("event", "event48")) for codec in CODECS),
    *(Row(codecs, presses=LONG) for codecs in (("pcmu", "opus"), ("pcma", "g722"), ("pcmu", "pcmu"))),
    Row(("pcmu", "opus"), ("event", "event48"), LONG),
]


async def _press(phone: Phone, codec: str, event: str, press: Press) -> None:
    """Send the packets of one digit, a longer one than its field can say in segments (RFC 4733 section 2.5.1.3).

    Where the event counts time in another clock than the audio, the duration stays at the most.
    """
    number, clock = phone.numbers[event], int(MAPS[event].split("/")[1])
    assert number is not None
    code, units, frames = int(press.digit), clock // 50, press.ms // 20
    audio = 48_000 if codec == "opus" else 8000
    start, full = phone.timestamp, 0
    for frame in range(1, frames):
        if frame * units - full > _MOST_UNITS and clock == audio:
            full = (frame - 1) * units
            phone.timestamp = start + full & 0xFFFFFFFF
        payload = bytes(TelephoneEvent(code, False, 10, min(_MOST_UNITS, frame * units - full)))
        phone.send(payload, number, marker=frame == 1, step=0)
        await asyncio.sleep(FRAME + (press.pause if frame == frames // 2 else 0))
    for _ in range(3):
        phone.send(bytes(TelephoneEvent(code, True, 10, min(_MOST_UNITS, frames * units - full))), number, step=0)
    phone.timestamp = start + press.ms * audio // 1000 & 0xFFFFFFFF


class _Call:
    def __init__(self, row: Row, call_id: str) -> None:
        self.row, self.call_id = row, call_id
        self.phones = [TimedPhone((codec, event)) for codec, event in zip(row.codecs, row.events, strict=True)]

    async def perform(self, engine: EmbeddedEngine) -> None:
        """Set the call up, and have both phones press their keys."""
        left, right = (Party(name, Kind.RTP, private_source="127.0.0.1") for name in ("left", "right"))
        one, other = [await phone.open() for phone in self.phones]
        other.take(await engine.offer(self.call_id, left, right, one.sdp()))
        one.take(await engine.answer(self.call_id, right, left, other.sdp()))
        await asyncio.gather(self._perform(0), self._perform(1))

    async def _perform(self, place: int) -> None:
        """Press the keys of one phone; audio goes on once the other has got the end of each."""
        phone, codec, event = self.phones[place], self.row.codecs[place], self.row.events[place]
        await self._speak(place)
        for count, press in enumerate(self.row.presses, start=1):
            await _press(phone, codec, event, press)
            await until(lambda count=count: self.ends(1 - place) >= 3 * count)
            await self._speak(place)

    async def _speak(self, place: int) -> None:
        """Send audio until the other phone has got some of it after the last event."""
        phone, codec = self.phones[place], self.row.codecs[place]
        number, frame = phone.numbers[codec], loop_frames(codec, 1000, -10.0)[0]
        assert number is not None
        async with asyncio.timeout(30):
            while self.audio_at_the_end(1 - place) < 10:
                phone.send(frame, number, step=960 if codec == "opus" else 160)
                await asyncio.sleep(FRAME)

    def audio_at_the_end(self, place: int) -> int:
        """Packets of audio that a phone has got after the last of an event."""
        number = int(MAPS[self.row.events[place]].split()[0])
        kinds = [data[1] & 0x7F for data, _ in reversed(self.phones[place].packets)]
        return kinds.index(number) if number in kinds else len(kinds)

    def ends(self, place: int) -> int:
        """Packets with the end flag that a phone has got."""
        return sum(1 for packet in self.events(place) if TelephoneEvent.parse(packet.payload).end)

    def events(self, place: int) -> list[RtpPacket]:
        number = int(MAPS[self.row.events[place]].split()[0])
        packets = [RtpPacket.parse(data) for data, _ in self.phones[place].packets]
        return [packet for packet in packets if packet.payload_type == number]

    def faults(self, place: int) -> list[str]:
        """What is wrong with the events that a phone has got."""
        phone, event = self.phones[place], self.row.events[place]
        packets = [RtpPacket.parse(data) for data, _ in phone.packets]
        number, found = int(MAPS[event].split()[0]), []
        kinds = [str(packet.payload[0]) if packet.payload_type == number else " " for packet in packets]
        events = self.events(place)
        if [packet.marker for packet in events].count(True) != len(self.row.presses):
            found.append("a marker within an event, or none at its start")
        runs = "".join(kind for kind, _ in itertools.groupby(kinds)).split()
        if runs != [press.digit for press in self.row.presses]:
            found.append(f"audio within an event, or none after one: {runs}")
        if any((b.sequence_number - a.sequence_number) & 0xFFFF != 1 for a, b in itertools.pairwise(packets)):
            found.append("sequence numbers with a gap")
        if any((b.timestamp - a.timestamp) & 0xFFFFFFFF >= 1 << 31 for a, b in itertools.pairwise(packets)):
            found.append("a timestamp that goes back")
        found += self._misplaced(place, events)
        return found

    def _misplaced(self, place: int, events: list[RtpPacket]) -> list[str]:
        """Return faults of timestamps: an event begins when it began, a segment where the full one before it ends.

        RFC 4733 sections 2.2.1 and 2.5.1.3.
        """
        clock = 48_000 if self.row.codecs[place] == "opus" else 8000
        scale = clock / int(MAPS[self.row.events[place]].split("/")[1])
        arrivals = self.phones[place].arrivals
        found, began = [], events[0]
        for one, other in itertools.pairwise(events):
            said = TelephoneEvent.parse(one.payload).duration
            later = (other.timestamp - one.timestamp) & 0xFFFFFFFF
            since = (other.timestamp - began.timestamp) & 0xFFFFFFFF
            passed = arrivals[other.sequence_number] - arrivals[began.sequence_number]
            if other.marker:
                if not (said * scale <= later and since <= (passed + _TOLERANCE) * clock):
                    found.append(f"an event {since / clock:.2f} s after the one before, {passed:.2f} s by the clock")
                began = other
            elif later and not (later == said * scale and said >= _NEARLY_FULL):
                found.append(f"another timestamp in an event, {later} after {said}")
        return found

    async def close(self) -> None:
        for phone in self.phones:
            await phone.close()


@pytest.mark.serial
async def test_one_event_has_one_timestamp_in_every_codec_pair() -> None:
    """Both directions of forwarded and transcoded calls, with silence on, from 40 ms to 10 s, and a pause of 2 s."""
    calls = [_Call(row, f"call {place}") for place, row in enumerate(ROWS)]
    async with running(config(silence_after=0.3, silence_interval=0.02)) as (engine, events):
        try:
            await asyncio.gather(*(call.perform(engine) for call in calls))
        finally:
            for call in calls:
                await call.close()
    faults = {
        f"{call.row.name} to {call.row.codecs[place]}": fault
        for call in calls
        for place in range(2)
        if (fault := call.faults(place))
    }
    assert faults == {}
    digits = [event.digit for event in events if isinstance(event, DtmfReceived)]
    assert sorted(digits) == sorted(press.digit for call in calls for press in call.row.presses for _ in call.phones)
