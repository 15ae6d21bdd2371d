"""What a real rtpengine records: packets of both sides in the clear, in a file of its own that is found again."""

from __future__ import annotations

import asyncio
import struct
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from gateway.media.embedded.audio.codecs import make_decoder
from gateway.media.embedded.plane.packet import RtpPacket
from gateway.media.engine import Kind, MediaError, Party, RecordingFile
from gateway.media.rtpengine.call import CallState
from gateway.media.rtpengine.client import Address, NgHost
from gateway.media.rtpengine.engine import RtpengineEngine
from gateway.media.rtpengine.recording import DaemonRecording
from tests.media import rtpengine_support
from tests.media.engine_support import Browser, Phone, frequency_of, until
from tests.media.rtpengine_support import rtpengine, running, written

pytestmark = pytest.mark.wall

BROWSER = Party("browser", Kind.WEBRTC)
PHONE = Party("phone", Kind.RTP, private_source="127.0.0.1")
NEAR = 8.0
_FILE_HEADER, _PACKET_HEADER, _IP_AND_UDP = 24, 16, 28


def near(hz: float, wanted: float) -> bool:
    return abs(hz - wanted) <= NEAR


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the daemon writes."""
    return tmp_path_factory.mktemp("spool")


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[Address]:
    """A daemon that has been told where to write."""
    with rtpengine(f"--recording-dir={folder}") as daemon:
        yield daemon.address


@asynccontextmanager
async def talking(address: Address, call_id: str) -> AsyncIterator[tuple[RtpengineEngine, Browser]]:
    """A browser at 600 Hz, over DTLS-SRTP, and a phone at 1000 Hz."""
    config = rtpengine_support.config(address, records=True, owner="mine-")
    async with running(config) as (engine, _):
        browser, phone = Browser(600.0, ("pcmu",)), await Phone(("pcmu",)).open()
        try:
            phone.take(await engine.offer(call_id, BROWSER, PHONE, await browser.offer()))
            phone.play(1000.0)
            await browser.take_answer(await engine.answer(call_id, PHONE, BROWSER, phone.sdp()))
            await until(lambda: near(browser.heard(), 1000.0))
            yield engine, browser
        finally:
            await browser.close()
            await phone.close()


class Room:
    """What is asked for a place, and hears the end."""

    def __init__(self) -> None:
        self.asked = 0
        self.ended: asyncio.Queue[str | None] = asyncio.Queue()

    def __call__(self) -> str:
        self.asked += 1
        return "nothing is written there"

    def file(self, **about: str) -> RecordingFile:
        return RecordingFile(path=self, about=about)

    async def over(self) -> str | None:
        async with asyncio.timeout(20):
            return await self.ended.get()


def frequencies(file: Path) -> list[float]:
    """Hz of each side in the file, in their order."""
    data, at = file.read_bytes(), _FILE_HEADER
    sides: dict[int, list[bytes]] = defaultdict(list)
    while at + _PACKET_HEADER <= len(data):
        (length,) = struct.unpack_from("<I", data, at + 8)
        packet = data[at + _PACKET_HEADER : at + _PACKET_HEADER + length]
        at += _PACKET_HEADER + length
        if packet[_IP_AND_UDP + 1] & 0x7F == 0:
            rtp = RtpPacket.parse(packet[_IP_AND_UDP:])
            sides[rtp.ssrc].append(rtp.payload)
    decoder = make_decoder("pcmu")
    return sorted(frequency_of(np.concatenate([*map(decoder.decode, side)]), decoder.rate) for side in sides.values())


def pcaps(folder: Path, call_id: str) -> list[Path]:
    return sorted(folder.glob(f"pcaps/mine-{call_id}-*.pcap"))


def told_of(folder: Path, call_id: str) -> str:
    """What the daemon has written beside the packets."""
    (found,) = sorted(folder.glob(f"metadata/*mine-{call_id}-*"))
    return found.read_text()


async def test_a_call_is_recorded_in_the_clear_and_says_what_it_is_of(address: Address, folder: Path) -> None:
    """Both tones are in the daemon's file, which is found by what the recording names and says what it was told."""
    room = Room()
    async with talking(address, "one") as (engine, _):
        assert engine.capabilities.recording
        recording = engine.record("one", room.file(caller="sip:a|b@example.com", call="one"), room.ended.put_nowait)
        with pytest.raises(MediaError, match="recorded already"):
            engine.record("one", room.file(), room.ended.put_nowait)
        await until(lambda: recording.seconds > 1.5)
        recording.stop()
        assert await room.over() is None
        length = recording.seconds
        (made,) = pcaps(folder, "one")
        size = made.stat().st_size
        low, high = frequencies(made)
        assert near(low, 600.0), low
        assert near(high, 1000.0), high
        assert f"as {made.name.rpartition('-')[0]}" in recording.kept_by
        assert "caller:sip:a b@example.com|call:one" in told_of(folder, "one")
        await engine.query("one")
        assert recording.seconds == length
        assert made.stat().st_size == size
    assert room.asked == 1


async def test_a_call_may_be_recorded_again_at_once_and_its_end_ends_that(address: Address, folder: Path) -> None:
    """The second waits for the first, and each has a file of its own."""
    room = Room()
    async with talking(address, "two") as (engine, _):
        first = engine.record("two", room.file(), room.ended.put_nowait)
        await until(lambda: first.seconds > 0.3)
        first.stop("enough")
        second = engine.record("two", room.file(), room.ended.put_nowait)
        assert await room.over() == "enough"
        await until(lambda: second.seconds > 0.3)
        await engine.delete("two")
        assert await room.over() is None
        with pytest.raises(MediaError) as raised:
            engine.record("two", room.file(), room.ended.put_nowait)
        assert raised.value.status == 481
    assert len(pcaps(folder, "two")) == 2


async def test_a_recording_ends_at_its_longest(address: Address) -> None:
    """With a sentence."""
    room = Room()
    async with talking(address, "long") as (engine, _):
        wanted = RecordingFile(path=room, longest=0.3)
        recording = engine.record("long", wanted, room.ended.put_nowait)
        assert await room.over() == "it is as long as recordings may be"
        assert 0.3 <= recording.seconds < 20


async def test_what_a_dead_gateway_had_recorded_is_recorded_no_more(address: Address, folder: Path) -> None:
    """Nobody who comes after it knows of the recording, so that nobody could end it."""
    room = Room()
    async with talking(address, "left") as (engine, browser):
        recording = engine.record("left", room.file(), room.ended.put_nowait)
        await until(lambda: recording.seconds > 0.3)
        values = written(engine.values("left"))
        async with running(engine.config) as (next_one, _):
            await next_one.resume("left", values)
            (made,) = pcaps(folder, "left")
            size = made.stat().st_size
            heard = len(browser.frames)
            await until(lambda: len(browser.frames) > heard + 25)
            assert made.stat().st_size == size
            next_one._calls.clear()


@pytest.mark.wall
async def test_a_daemon_that_is_gone_ends_the_recording_with_a_sentence(folder: Path) -> None:
    """Before it began, or at its end."""
    room = Room()
    with rtpengine(f"--recording-dir={folder}") as daemon:
        async with talking(daemon.address, "gone") as (engine, _):
            recording = engine.record("gone", room.file(), room.ended.put_nowait)
            await until(lambda: recording.seconds > 0)
            daemon.process.kill()  # one that is asked to end while it records dumps core
            daemon.process.wait(5)
            recording.stop()
            assert "does not answer" in (await room.over() or "")
            engine.record("gone", room.file(), room.ended.put_nowait)
            assert "does not answer" in (await room.over() or "")


@pytest.mark.parametrize(("records", "beep", "said"), [(False, False, "rtpengine_records"), (True, True, "beep")])
async def test_what_the_daemon_cannot_do_is_501(address: Address, records: bool, beep: bool, said: str) -> None:
    """No recording is taken for one that nobody writes, or that nobody hears of."""
    room = Room()
    async with running(rtpengine_support.config(address, records=records)) as (engine, _):
        assert engine.capabilities.recording is records
        with pytest.raises(MediaError, match=said) as raised:
            engine.record("call", RecordingFile(path=room, beep=beep), room.ended.put_nowait)
        assert raised.value.status == 501


class Slow:
    """A daemon that says "ok", three seconds later."""

    name = "slow"

    def __init__(self) -> None:
        self.now = 0.0

    async def ask(self, request: dict[str, object], *, may_be_large: bool = False) -> dict[str, object]:
        self.now += 3.0
        return {"result": "ok"}


async def test_the_way_of_the_last_word_to_the_daemon_is_not_recorded() -> None:
    """However long it takes to be told that it is over."""
    host, room = Slow(), Room()
    call = CallState("call", cast(NgHost, host), "call")
    recording = DaemonRecording(call, room.file(), room.ended.put_nowait, lambda: host.now)
    await until(lambda: host.now > 0)
    await asyncio.sleep(0)
    host.now += 5.0
    recording.stop()
    assert await room.over() is None
    assert (recording.seconds, host.now) == (5.0, 11.0)


async def test_a_folder_that_hangs_does_not_keep_the_end_of_its_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The call's ports are free by then; the recording ends once the disk answers."""
    monkeypatch.setattr("gateway.media.rtpengine.recording._PATIENCE", 0.05)
    disk, host, room = threading.Event(), Slow(), Room()
    call = CallState("call", cast(NgHost, host), "call")

    def place() -> str:
        room.asked += 1
        return str(disk.wait(60))

    wanted = RecordingFile(path=place, about={})
    recording = DaemonRecording(call, wanted, room.ended.put_nowait, lambda: host.now)
    try:
        await until(lambda: room.asked == 1)
        async with asyncio.timeout(20):
            await recording.finished()
        assert room.ended.empty()
    finally:
        disk.set()
    assert await room.over() is None
