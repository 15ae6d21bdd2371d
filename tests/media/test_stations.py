"""Transcoders of the Python plane: they work in threads, in order, and with a bound to what waits for them."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable

import pytest

from gateway.media.embedded.audio.transcode import Transcoder
from gateway.media.embedded.plane.values import MediaPacket
from gateway.media.embedded.sources.pacer import Pacer
from gateway.media.embedded.sources.packets import Injected, Packets
from gateway.media.embedded.sources.players import Playing
from gateway.media.embedded.stations import MOST_CAME, MOST_DUE, Elsewhere, Stations
from gateway.media.embedded.workers import ERRORS_LOGGED, Workers
from tests.media.engine_support import until
from tests.media.rtp_support import ManualClock


class Threads(Transcoder):
    """One that notes which threads it worked in."""

    def __init__(self) -> None:
        super().__init__("pcmu", "pcma", 8)
        self.seen: set[int] = set()

    def tick(self, now: float) -> Packets:
        self.seen.add(threading.get_ident())
        return super().tick(now)


class Broken(Transcoder):
    """One whose audio cannot be made."""

    def __init__(self) -> None:
        super().__init__("pcmu", "pcma", 8)

    def tick(self, now: float) -> Packets:
        raise ArithmeticError


class Later:
    """An `Elsewhere` whose jobs are done when the test says so."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Callable[[], Packets], Callable[[Packets | None], None]]] = []

    def do(self, job: Callable[[], Packets], then: Callable[[Packets | None], None]) -> None:
        self.jobs.append((job, then))

    def finish(self) -> None:
        """Do the next job."""
        job, then = self.jobs.pop(0)
        then(job())


def _nobody(digit: str, duration: int) -> None:
    """There are no digits."""


class Scene:
    """A party whose PCMU is to be heard as PCMA."""

    def __init__(self, elsewhere: Elsewhere, transcoder: Transcoder) -> None:
        self.clock = ManualClock()
        self.pacer = Pacer(self.clock)
        self.playing = Playing(self.pacer, self)
        self.hears = True
        self.heard: list[Injected] = []
        self.stations = Stations(self.pacer, elsewhere, lambda: self, _nobody, _nobody)
        self.stations.arrange({0: ("audio", lambda: transcoder)}, is_open=True)
        self.number = 0

    @property
    def rate_out(self) -> int:
        return 8000

    def send_codec(self) -> None:
        """Nothing is agreed."""

    def mute(self, value: bool) -> None: ...

    def inject(self, packet: Injected) -> None:
        self.heard.append(packet)

    def speak(self, packets: int, payload_type: int = 0) -> None:
        """So many packets of 20 ms, all at once."""
        for _ in range(packets):
            packet = MediaPacket(
                payload_type=payload_type,
                marker=False,
                sequence_number=self.number,
                timestamp=160 * self.number,
                payload=b"\x55" * 160,
                in_order=True,
                generation=1,
            )
            self.number += 1
            self.stations.handle(packet, self.clock())

    def tick(self) -> None:
        """20 ms pass."""
        self.pacer.tick(self.clock.advance(0.02))


async def test_audio_is_made_in_a_thread() -> None:
    """Never in the event loop's, which has every call's packets to forward."""
    workers, transcoder = Workers(), Threads()
    scene = Scene(workers, transcoder)
    for _ in range(10):
        scene.speak(1)
        scene.tick()
        await asyncio.sleep(0)
    await until(lambda: scene.heard)
    scene.stations.close()
    scene.pacer.close()
    workers.close()
    assert transcoder.seen
    assert threading.get_ident() not in transcoder.seen
    assert {packet.payload_type for packet in scene.heard} == {8}


async def test_what_waits_for_a_busy_thread_is_bounded() -> None:
    """One job at a time; then the ticks that were missed, a few at most, and so many packets."""
    later, transcoder = Later(), Threads()
    scene = Scene(later, transcoder)
    scene.speak(1)
    scene.tick()
    for _ in range(20):
        scene.speak(10)
        scene.tick()
    assert len(later.jobs) == 1
    later.finish()
    scene.tick()
    (work,) = later.jobs
    ticks = getattr(work[0], "__self__")  # noqa: B009  # a bound method's
    assert (len(ticks.came), len(ticks.times)) == (MOST_CAME, MOST_DUE)
    later.finish()
    scene.stations.close()
    scene.pacer.close()


async def test_what_is_made_after_the_listener_has_gone_is_nobodys() -> None:
    """The arrangement that holds when the thread is done decides, not that of when it began."""
    later = Later()
    scene = Scene(later, Threads())
    for _ in range(10):
        scene.speak(1)
        scene.tick()
        if len(scene.heard) == 0 and later.jobs:
            later.finish()
    assert scene.heard
    count = len(scene.heard)
    scene.speak(1)
    scene.tick()
    scene.stations.close()
    later.finish()
    scene.pacer.close()
    assert len(scene.heard) == count


async def test_how_long_packets_wait_is_told_by_what_plays_them_now() -> None:
    """Of two codecs that a party may send, in whichever order they were agreed."""
    later, one, other = Later(), Transcoder("pcmu", "pcma", 8), Transcoder("g722", "pcma", 8)
    scene = Scene(later, one)
    scene.stations.arrange({0: ("one", lambda: one), 9: ("other", lambda: other)}, is_open=True)

    def waited(payload_type: int, packets: int) -> float | None:
        scene.speak(packets, payload_type)
        for _ in range(12):
            scene.tick()
            if later.jobs:
                later.finish()
        figures = scene.stations.playout
        return figures.waited if figures is not None else None

    told = [waited(0, 1), waited(9, 4)]
    assert one.playout is not None
    assert other.playout is not None
    assert told == [one.playout.figures.waited, other.playout.figures.waited]
    told.append(waited(0, 1))
    assert told[2] == one.playout.figures.waited != told[1]
    scene.stations.close()
    scene.pacer.close()


async def test_audio_that_cannot_be_made_is_logged_so_many_times(caplog: pytest.LogCaptureFixture) -> None:
    """One party is silent; there is no line for each of its packets."""
    workers = Workers()
    scene = Scene(workers, Broken())
    failed = 0

    def count(packets: Packets | None) -> None:
        nonlocal failed
        failed += packets is None

    def broken() -> Packets:
        raise ArithmeticError

    with caplog.at_level(logging.ERROR):
        scene.speak(1)
        scene.tick()
        await until(lambda: not len(scene.pacer))
        for _ in range(2 * ERRORS_LOGGED):
            workers.do(broken, count)
        await until(lambda: failed == 2 * ERRORS_LOGGED)
    workers.close()
    scene.pacer.close()
    assert len(caplog.records) == ERRORS_LOGGED
    assert scene.heard == []
