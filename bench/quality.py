"""How calls sound: a sweep and speech through real calls of every codec pair, and on networks that lose and delay.

`python -m bench.quality` prints the tables of docs/transcoding.md: the native plane, and where they are rtpengine and
pjsua2's conference bridge, which has no Opus.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.pjsip import Bridges, bridges
from bench.rtpengine import rtpengine
from bench.table import Result, report
from gateway.media.embedded.audio.codecs import make_decoder, make_encoder, narrowest_rate, read_audio
from gateway.media.embedded.audio.opus import OpusSettings
from gateway.media.embedded.audio.pcm import Pcm, to_int16
from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.embedded.plane.native.plane import NativePlane
from gateway.media.embedded.plane.native.process import PlaneProcess, find_program
from gateway.media.embedded.plane.packet import RtpError, RtpPacket
from gateway.media.embedded.quality import quality_of
from gateway.media.embedded.settings import EmbeddedConfig
from gateway.media.embedded.webrtc.config import WebRtcConfig
from gateway.media.engine import Kind, MediaEngine, Party
from gateway.media.rtpengine.engine import RtpengineConfig, RtpengineEngine
from sdp import SessionDescription, read_codecs

CODECS = ("opus", "g722", "pcmu", "pcma")
MAPS = {"pcmu": "0 PCMU/8000", "pcma": "8 PCMA/8000", "g722": "9 G722/8000", "opus": "107 opus/48000/2"}
RATES = {"pcmu": 8000, "pcma": 8000, "g722": 16_000, "opus": 48_000}
LEFT, RIGHT = (Party(name, Kind.RTP, private_source="127.0.0.1") for name in ("left", "right"))

LOWEST, NARROW, WIDE = 300.0, 3400.0, 7000.0
"""Hz that a sweep goes through: to NARROW where G.711 is on the way."""
LEVEL = 4000.0
"""Amplitude of the sweep: -15 dBm0."""
SWEEP, SILENCE = 4.0, 0.4
"""Seconds."""
WINDOW = 0.08
"""Seconds in which a level is looked at."""
GAP, GAP_DB = 0.01, 15.0
"""A stretch of so many seconds that lies so far below the signal is a gap."""
VOWEL = 20.0
NETWORKS: dict[str, tuple[float, float]] = {
    "1 % lost": (0.01, 0.0),
    "5 % lost": (0.05, 0.0),
    "10 % lost": (0.10, 0.0),
    "50 ms of jitter with reordering": (0.0, 0.05),
}
"""Share of the packets that is lost, and the most that one is delayed (s)."""
PAIRS = (("opus", "pcmu"), ("pcmu", "opus"), ("g722", "pcma"))
"""On those networks."""
OF_A_BRIDGE = ("g722", "pcmu", "pcma")
"""What pjsua2 codes and decodes of CODECS."""

Network = Callable[[int], float | None]
"""Delay (s) of the packet of that number; None: it is lost."""


def sweep(rate: int, highest: float) -> Pcm:
    """From 300 Hz up, each octave as long."""
    moments = np.arange(int(rate * SWEEP)) / rate
    growth = np.log(highest / LOWEST) / SWEEP
    return to_int16((LEVEL * np.sin(2 * np.pi * LOWEST / growth * (np.exp(growth * moments) - 1))).astype("f4"))


def vowel(rate: int, seconds: float) -> Pcm:
    """A voice that holds one vowel: the harmonics of 120 Hz with three formants."""
    moments = np.arange(int(rate * seconds)) / rate
    phase = 2 * np.pi * np.cumsum(120.0 + 4.0 * np.sin(2 * np.pi * 0.8 * moments)) / rate
    voice = np.zeros(len(moments))
    for harmonic in range(1, 28):
        frequency = 120.0 * harmonic
        strength = sum(1 / (1 + ((frequency - formant) / width) ** 2) for formant, width in _FORMANTS)
        voice += strength * np.sin(harmonic * phase + harmonic**2)
    return to_int16((voice / np.abs(voice).max() * 12_000).astype("f4"))


_FORMANTS = ((700.0, 130.0), (1220.0, 170.0), (2600.0, 250.0))


@lru_cache(maxsize=4)
def spoken(rate: int) -> Pcm:
    """A spoken sentence (espeak-ng), or a vowel where nobody speaks."""
    program = shutil.which("espeak-ng")
    if program is None:
        return vowel(rate, 3.0)
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        text = "The quick brown fox jumps over the lazy dog, and zebras watch."
        subprocess.run([program, "-w", file.name, text], check=True, timeout=30)
        return read_audio(file.name, rate, 10.0)


_HALF: Final = 2**31
"""Half of all timestamps."""


class End(asyncio.DatagramProtocol):
    """A phone of one codec: sends what it is given in real time, and keeps what comes."""

    def __init__(self, codec: str) -> None:
        self.codec = codec
        self.came: list[tuple[float, RtpPacket]] = []
        self.late = 0.0
        """The most that a packet went out after its time (s)."""
        self.began = 0.0
        """When the first packet went out."""
        self._transport: Any = None
        self._remote: Any = None
        self._number = 0

    async def open(self) -> End:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        return self

    def close(self) -> None:
        self._transport.close()

    def sdp(self) -> str:
        port, number = self._transport.get_extra_info("sockname")[1], MAPS[self.codec].split()[0]
        return (
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            f"m=audio {port} RTP/AVP {number}\r\na=rtpmap:{MAPS[self.codec]}\r\na=ptime:20\r\n"
        )

    def take(self, sdp: str) -> None:
        """Send where this description says."""
        description = SessionDescription.parse(sdp)
        connection = description.connection_of(description.media[0])
        assert connection is not None
        self._remote = (connection.address, description.media[0].port)
        wanted = MAPS[self.codec].split()[1].lower()
        named = {codec.rtpmap.lower(): codec.payload_type for codec in read_codecs(description.media[0])}
        self._number = named[wanted] or 0

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if addr != self._remote:  # what was meant for somebody else who had this port
            return
        with contextlib.suppress(RtpError):
            packet = RtpPacket.parse(data)
            if len(packet.payload) > 3:  # neither comfort noise nor Opus that says nothing
                self.came.append((asyncio.get_running_loop().time(), packet))

    def encoded(self, pcm: Pcm) -> tuple[bytes, ...]:
        """What to `send`: 20 ms each."""
        encoder = make_encoder(self.codec, RATES[self.codec], 20, OpusSettings(complexity=10, bit_rate=64_000))
        starts = range(0, len(pcm) - encoder.frame, encoder.frame)
        return tuple(encoder.encode(pcm[start : start + encoder.frame]) for start in starts)

    async def send(self, payloads: Sequence[bytes], network: Network = lambda number: 0.0) -> None:
        """20 ms a packet, each when it is due and as late as the network brings it."""
        loop = asyncio.get_running_loop()
        step = 960 if self.codec == "opus" else 160
        self.came.clear()  # a bridge sends silence as soon as it is joined
        self.began = loop.time()
        for number, payload in enumerate(payloads):
            packet = bytes(RtpPacket(self._number, number + 1, 4000 + number * step, 77, payload, number == 0))
            delay = network(number)
            if delay is not None:
                loop.call_later(delay, self._transport.sendto, packet, self._remote)
            due = self.began + (number + 1) * 0.02
            await asyncio.sleep(max(0.0, due - loop.time()))
            self.late = max(self.late, loop.time() - due)

    def heard(self) -> tuple[Pcm, float]:
        """What came, where its timestamps put it, and when its first sample was there (the median of all packets).

        Packets that did not come are silence.
        """
        decoder, clock = make_decoder(self.codec), 48_000 if self.codec == "opus" else 8_000
        if not self.came:
            return np.zeros(0, np.int16), 0.0
        begin = self.came[0][1].timestamp
        # Timestamps begin anywhere, and go on at 0 after the last one.
        passed = [(packet.timestamp - begin + _HALF) % (2 * _HALF) - _HALF for _, packet in self.came]
        first = min(passed)
        line = np.zeros(int((max(passed) - first) / clock * decoder.rate) + decoder.rate, np.int16)
        begins = []
        for ticks, (when, packet) in sorted(zip(passed, self.came, strict=True), key=itemgetter(0)):
            offset = (ticks - first) / clock
            begins.append(when - offset)
            pcm, start = decoder.decode(packet.payload), int(offset * decoder.rate)
            line[start : start + len(pcm)] = pcm[: len(line) - start]
        return line[: -decoder.rate // 2], float(np.median(begins))


async def joined(engine: MediaEngine | Bridges, call: str, left: End, right: End) -> None:
    """A call of the two."""
    if isinstance(engine, Bridges):
        await engine.joined(call, left, right)
        return
    right.take(await engine.offer(call, LEFT, RIGHT, left.sdp()))
    left.take(await engine.answer(call, RIGHT, LEFT, right.sdp()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """How one direction of a call sounds."""

    lowest: float
    highest: float
    """dB of the sweep against what was sent, the least and the most of a sixth of an octave."""
    speech: float
    """The most that a third of an octave of the speech is off, dB."""

    @property
    def sweep(self) -> float:
        """The most that it is off, dB."""
        return max(abs(self.lowest), abs(self.highest))

    late: float
    """The most that the sender was behind its time, ms."""
    delay: float
    """From the sending of a sample to the coming of the packet with it, ms."""


def sounds(source: End, target: End, said: Pcm, top: float) -> Sound:
    """Judge what `target` has heard of `said`: silence, speech, silence, sweep."""
    rate = RATES[target.codec]
    pcm, begins = target.heard()
    reference = _at_rate(said, RATES[source.codec], rate)
    lag = _lag(pcm.astype(float), reference, rate)
    words = slice(int(SILENCE * rate), len(reference) - int((SWEEP + 2 * SILENCE) * rate))
    heard = pcm[max(0, words.start + lag) : words.stop + lag].astype(float)
    speech = [
        abs(_power(heard, rate, band) - _power(reference[words], rate, band))
        for band in _thirds(top)
        if _power(reference[words], rate, band) > _power(reference[words], rate, (LOWEST, NARROW)) - 20
    ]
    levels = _sixths(pcm[words.stop + lag :], rate, top)
    return Sound(
        lowest=min(levels),
        highest=max(levels),
        speech=max(speech),
        late=1000 * source.late,
        delay=1000 * (begins - source.began + lag / rate),
    )


def _at_rate(pcm: Pcm, rate: int, wanted: int) -> NDArray[Any]:
    """Without a filter of its own: the band that both rates have, whole."""
    length = len(pcm) * wanted // rate
    resampled: NDArray[Any] = np.fft.irfft(np.fft.rfft(pcm), length)[:length] * wanted / rate
    return resampled


def _lag(pcm: NDArray[Any], reference: NDArray[Any], rate: int) -> int:
    """Samples by which what was heard comes after what was said, each from its own first one."""
    size = 1 << (len(pcm) + len(reference)).bit_length()
    product = np.fft.irfft(np.fft.rfft(pcm, size) * np.conj(np.fft.rfft(reference, size)))
    most = rate
    near = np.concatenate((product[-most:], product[:most]))
    return int(np.argmax(near)) - most


def _thirds(top: float) -> Iterable[tuple[float, float]]:
    centre = 400.0
    while centre * 2 ** (1 / 6) <= top:
        yield centre * 2 ** (-1 / 6), centre * 2 ** (1 / 6)
        centre *= 2 ** (1 / 3)


def _power(pcm: NDArray[Any], rate: int, band: tuple[float, float]) -> float:
    """dB of what lies in that band."""
    spectrum = np.abs(np.fft.rfft(pcm)) ** 2 / max(1, len(pcm))
    low, high = (int(edge * len(pcm) / rate) for edge in band)
    return float(10 * np.log10(spectrum[low:high].sum() + 1e-9))


def _sixths(pcm: Pcm, rate: int, top: float) -> list[float]:
    """dB of the sweep in each sixth of an octave."""
    found: dict[int, list[float]] = {}
    for frequency, level in _levels(pcm, rate):
        if LOWEST <= frequency <= top:
            found.setdefault(int(6 * np.log2(frequency / LOWEST)), []).append(10 ** (level / 10))
    return [10 * float(np.log10(np.mean(each))) for each in found.values()]


def _levels(pcm: Pcm, rate: int) -> Iterable[tuple[float, float]]:
    """Hz and dB against LEVEL, window by window, where there is a tone."""
    size = int(WINDOW * rate)
    window = np.hanning(size)
    for start in range(0, len(pcm) - size, size // 2):
        part = pcm[start : start + size] * window
        level = float(np.sqrt(2 * np.sum(part**2) / np.sum(window**2)))
        if np.abs(pcm[start : start + size]).reshape(8, -1).max(axis=1).min() > LEVEL / 20:
            frequency = float(np.argmax(np.abs(np.fft.rfft(part)))) / WINDOW
            yield frequency, 20 * np.log10(level / LEVEL)


@lru_cache(maxsize=8)
def signal(rate: int, top: float) -> Pcm:
    """Silence, speech, silence, sweep, silence."""
    nothing = np.zeros(int(SILENCE * rate), np.int16)
    return np.concatenate((nothing, spoken(rate), nothing, sweep(rate, top), nothing))


@lru_cache(maxsize=8)
def encoded_signal(codec: str, top: float) -> tuple[bytes, ...]:
    """The same in a codec, 20 ms each."""
    return End(codec).encoded(signal(RATES[codec], top))


def top_of(left: str, right: str) -> float:
    """How far up a sweep goes between these two."""
    return WIDE if narrowest_rate(left, right) > 8000 else NARROW


async def pairs(engine: MediaEngine | Bridges, codecs: Iterable[str] = CODECS) -> dict[tuple[str, str], Sound]:
    """Each codec to each, all calls at once, both directions."""
    calls = []
    for left, right in combinations_with_replacement(codecs, 2):
        ends = await End(left).open(), await End(right).open()
        await joined(engine, f"{left}-{right}", *ends)
        top = top_of(left, right)
        calls.append((ends, [signal(RATES[codec], top) for codec in (left, right)], top))
    sending = [(end, encoded_signal(end.codec, top)) for ends, _, top in calls for end in ends]
    await asyncio.gather(*(end.send(payloads) for end, payloads in sending))
    await asyncio.sleep(0.6)
    found = {}
    for (one, other), said, top in calls:
        found[other.codec, one.codec] = sounds(other, one, said[1], top)
        found[one.codec, other.codec] = sounds(one, other, said[0], top)
        for end in (one, other):
            end.close()
        await engine.delete(f"{one.codec}-{other.codec}")
    return found


@lru_cache(maxsize=len(CODECS))
def held_vowel(codec: str, seconds: float) -> tuple[bytes, ...]:
    """The vowel in a codec, 20 ms each."""
    return End(codec).encoded(vowel(RATES[codec], seconds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Survived:
    """A vowel on a bad network, in front of the gateway and behind it."""

    lost: float
    """Gaps of 10 ms per thousand where nothing is put in the place of what is lost, or comes later than 10 ms."""
    gaps: float
    """As heard."""
    mos_before: float
    mos: float


def network(loss: float, delay: float, seed: int) -> Network:
    """Random loss, and a delay of each packet for itself."""
    dice = random.Random(seed)
    return lambda number: None if dice.random() < loss else dice.random() * delay


async def survived(
    engine: MediaEngine | Bridges, source: str, target: str, loss: float, delay: float, seconds: float = VOWEL
) -> Survived:
    """One direction of a call on that network; the other one says the same without fault."""
    ends = await End(source).open(), await End(target).open()
    call = f"{source}-{target}-{loss}-{delay}"
    await joined(engine, call, *ends)
    fate = network(loss, delay, 7)
    fates: list[float | None] = []

    def noted(number: int) -> float | None:
        fates.append(fate(number))
        return fates[-1]

    await asyncio.gather(ends[0].send(held_vowel(source, seconds), noted), ends[1].send(held_vowel(target, seconds)))
    await asyncio.sleep(0.6)
    pcm, _ = ends[1].heard()
    for end in ends:
        end.close()
    await engine.delete(call)
    missing = [each is None or each > 0.01 for each in fates]
    rate = RATES[target]
    gone = _gaps(pcm[rate : len(pcm) - rate], rate)
    # What was joined where something was missing is as lost as a silence.
    gone += [True] * int((seconds - len(pcm) / rate - 0.5) / GAP)
    return Survived(
        lost=1000 * sum(missing) / len(missing),
        gaps=1000 * sum(gone) / max(1, len(gone)),
        mos_before=_mos(source, missing),
        mos=_mos(source, gone),
    )


def _gaps(pcm: Pcm, rate: int) -> list[bool]:
    """Of each 10 ms, whether it is a gap."""
    size = int(GAP * rate)
    parts = pcm[: len(pcm) // size * size].reshape(-1, size).astype(float)
    levels = 10 * np.log10(np.mean(parts**2, axis=1) + 1e-3)
    return [bool(each) for each in levels < np.median(levels) - GAP_DB]


def _mos(codec: str, missing: list[bool]) -> float:
    """By the E-model as the gateway says it, were this what is missing."""
    runs = sum(now and not before for before, now in zip([False, *missing], missing, strict=False))
    found = quality_of(
        codec, expected=len(missing), lost=sum(missing), loss_runs=runs, jitter_ms=0.0, rtt_ms=0.0, playout_ms=40.0
    )
    return found.mos if found is not None else 1.0


@contextlib.asynccontextmanager
async def ours() -> AsyncIterator[MediaEngine]:
    """The embedded engine on the native plane where it is built, else on Python's."""
    program = find_program()
    settings = EmbeddedConfig(webrtc=WebRtcConfig(listen=("127.0.0.1",), port=0), rtp_ports=(0, 0), silence_after=0.0)
    with tempfile.TemporaryDirectory(prefix="quality-") as folder:
        plane = None
        if program is not None:
            plane = NativePlane(PlaneProcess(program, Path(folder), threads=2, orphan_timeout=5.0))
        engine = EmbeddedEngine(settings, make_plane=None if plane is None else lambda: plane)
        await engine.start()
        try:
            yield engine
        finally:
            await engine.close()


@contextlib.asynccontextmanager
async def theirs() -> AsyncIterator[MediaEngine | None]:
    """rtpengine; None where it is not installed."""
    binary = shutil.which("rtpengine")
    if binary is None:
        yield None
        return
    with rtpengine(binary) as daemon:
        engine = RtpengineEngine(RtpengineConfig(hosts=(daemon.address,)))
        await engine.start()
        try:
            yield engine
        finally:
            await engine.close()


async def networks(engine: MediaEngine | Bridges, codecs: Iterable[str] = CODECS) -> dict[str, Survived]:
    """Each of PAIRS of these on each of NETWORKS, all at once."""
    wanted = {
        f"{source} -> {target}, {name}": survived(engine, source, target, *bad)
        for source, target in PAIRS
        if {source, target} <= {*codecs}
        for name, bad in NETWORKS.items()
    }
    return dict(zip(wanted, await asyncio.gather(*wanted.values()), strict=True))


async def measured() -> list[Result]:
    """Every pair, then every network, one after the other of those that are compared."""
    for codec in CODECS:
        held_vowel(codec, VOWEL)
    async with ours() as own:
        mine, held = await pairs(own), await networks(own)
    async with theirs() as other:
        peers = await pairs(other) if other is not None else {}
        peers_held = await networks(other) if other is not None else {}
    async with bridges() as bridge:
        bridged = await pairs(bridge, OF_A_BRIDGE) if bridge is not None else {}
        bridged_held = await networks(bridge, OF_A_BRIDGE) if bridge is not None else {}
    return [*_of_pairs(mine, peers), *_of_networks(held, peers_held), *_of_a_bridge(bridged, bridged_held)]


def _of_pairs(mine: Mapping[tuple[str, str], Sound], peers: Mapping[tuple[str, str], Sound]) -> Iterable[Result]:
    for pair, sound in mine.items():
        name, there = " -> ".join(pair), peers.get(pair)
        rows = [
            ("sweep off by", sound.sweep, "dB", "value <= 1", None if there is None else there.sweep),
            ("speech off by", sound.speech, "dB", "value <= 1", None if there is None else there.speech),
            ("delay", sound.delay, "ms", None, None if there is None else there.delay),
        ]
        for what, value, unit, goal, peer in rows:
            yield Result(f"{name}: {what}", value, unit, goal, "rtpengine", peer)


def _of_networks(mine: Mapping[str, Survived], peers: Mapping[str, Survived]) -> Iterable[Result]:
    for name, here in mine.items():
        there = peers.get(name)
        yield Result(f"{name}: gaps before", here.lost, "‰")
        yield Result(
            f"{name}: gaps heard", here.gaps, "‰", "value <= 10", "rtpengine", None if there is None else there.gaps
        )
        yield Result(f"{name}: MOS before", here.mos_before, "")
        yield Result(f"{name}: MOS heard", here.mos, "", None, "rtpengine", None if there is None else there.mos)


def _of_a_bridge(pairs: Mapping[tuple[str, str], Sound], held: Mapping[str, Survived]) -> Iterable[Result]:
    for pair, sound in pairs.items():
        name = "pjsua2, " + " -> ".join(pair)
        yield Result(f"{name}: sweep off by", sound.sweep, "dB")
        yield Result(f"{name}: speech off by", sound.speech, "dB")
        yield Result(f"{name}: delay", sound.delay, "ms")
    for name, there in held.items():
        yield Result(f"pjsua2, {name}: gaps heard", there.gaps, "‰")
        yield Result(f"pjsua2, {name}: MOS heard", there.mos, "")


def main() -> bool:
    """Print the table, write bench/results/quality.json; False when a goal is missed."""
    return report("quality", asyncio.run(measured()))


if __name__ == "__main__":
    raise SystemExit(0 if main() else 1)
