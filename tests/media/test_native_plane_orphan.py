"""kill -9 of the gateway in mid call, and a flood of strangers: the audio of a call goes on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aioice import stun

from gateway.media.embedded.plane.srtp import SrtpProfile
from gateway.media.embedded.plane.values import Action, FlowConfig, Route
from tests.media.native_support import Rig
from tests.media.orphaned_gateway import BROWSER, PHONE
from tests.media.plane_rig import Browser, Peer, Told, native_plane, numbers, rtp, until
from tests.media.tone_support import Listening, frames, longest_gap, prefer_plane, speak, strength

pytestmark = pytest.mark.serial

PACKETS = 150
LONGEST_GAP = 0.06
TONES = {"browser": 440, "phone": 1000}
ROOT = Path(__file__).parents[2]


@contextlib.asynccontextmanager
async def gateway(state_dir: Path, phone_port: int) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    """A gateway in a process group of its own, and what it says of itself."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.media.orphaned_gateway",
        str(state_dir),
        str(phone_port),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        said = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
        yield process, said
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def test_the_audio_goes_on_when_the_gateway_is_killed(tmp_path: Path) -> None:
    """No gap over 60 ms either way, checks answered, everything handed over, and no key and index used twice."""
    phone = Peer()
    following, told = native_plane(tmp_path), Told()
    browser = Browser(following, BROWSER, SrtpProfile.AEAD_AES_128_GCM)
    async with gateway(tmp_path, phone.address[1]) as (process, said):
        browser.to, phone.to = tuple(said["shared"]), tuple(said["phone"])
        browser.send(browser.check(use_candidate=True))
        await until(lambda: _admitted(browser))
        prefer_plane(tmp_path)
        at_browser, at_phone = Listening(browser.socket), Listening(phone.socket)
        started = asyncio.get_running_loop().time()
        speaking = asyncio.gather(
            speak(
                lambda packet: browser.send(browser.protects.protect(packet)),
                frames(TONES["browser"]),
                PACKETS,
                started,
            ),
            speak(phone.send, frames(TONES["phone"]), PACKETS, started),
        )
        await until(lambda: len(at_browser.wire) >= 40)
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        inventory = await following.start(told)
        by_browser, by_phone = await speaking
        await until(lambda: len(at_browser.wire) >= PACKETS and len(at_phone.wire) >= PACKETS)
    assert dict(inventory.flows) == {BROWSER: 1, PHONE: PHONE}
    snapshot = await following.snapshot([BROWSER, PHONE])
    assert [snapshot[flow].received for flow in (BROWSER, PHONE)] == [PACKETS, PACKETS]
    await following.close()
    at_browser.stop()
    at_phone.stop()
    browser.close()
    phone.close()
    assert longest_gap(by_phone, at_browser.times) < LONGEST_GAP
    assert longest_gap(by_browser, at_phone.times) < LONGEST_GAP
    indices = [numbers(packet)[1:4:2] for packet in at_browser.wire]
    assert len(set(indices)) == len(indices) == PACKETS
    opened = [browser.opens.unprotect(packet)[12:] for packet in at_browser.wire]
    assert strength(opened, TONES["phone"]) > 0.9
    assert strength([packet[12:] for packet in at_phone.wire], TONES["browser"]) > 0.9


def _admitted(browser: Browser) -> bool:
    """Check until the plane answers by itself."""
    browser.send(browser.check())
    return any(stun.parse_message(data).message_class is stun.Class.RESPONSE for data in browser.waiting())


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = Rig(tmp_path / "state")
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def one_thread(tmp_path: Path) -> AsyncIterator[Rig]:
    """The same with one packet thread."""
    made = Rig(tmp_path / "state", threads=1)
    await made.start()
    yield made
    await made.close()


async def delays(one: Peer, other: Peer, first: int, count: int) -> list[float]:
    """How long each of `count` packets takes through the plane, s, sorted."""
    found = []
    for number in range(first, first + count):
        began = time.perf_counter()
        one.send(rtp(number))
        await other.receive()
        found.append(time.perf_counter() - began)
    return sorted(found)


FLOOD = """
import socket, sys, time
port, check, hello = int(sys.argv[1]), bytes.fromhex(sys.argv[2]), bytes((22, 254, 253)) + bytes(100)
strangers = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
for stranger in strangers:
    stranger.connect(("127.0.0.1", port))
print("ready", flush=True)
for _ in range(20_000):
    for stranger in 10 * strangers:
        stranger.send(check)
        stranger.send(hello)
    time.sleep(0.002)
"""
"""Two strangers, 20,000 datagrams a second at most, for less than a minute."""


@contextlib.asynccontextmanager
async def flood(port: int, check: bytes) -> AsyncIterator[asyncio.subprocess.Process]:
    """Strangers that send to the port from now on, in a process of their own."""
    arguments = [sys.executable, "-c", FLOOD, str(port), check.hex()]
    process = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 30) == b"ready\n"
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_a_flood_of_strangers_does_not_delay_what_is_forwarded(rig: Rig) -> None:
    """Checks and hellos of strangers that go on and on: punts are limited, nothing is lost, and the delay stays
    what it was: the median, and of nineteen in twenty."""
    one, other = await rig.phone(2), await rig.phone(3)
    rig.join(one, other)
    await rig.plane.snapshot([2])
    quiet = await delays(one, other, 0, 200)
    made = Browser(rig.plane, 9)
    rig.peers.append(made)
    async with flood(rig.bound.address[1], made.check()) as process:
        await until(lambda: len(rig.told.checks) > 100)
        flooded, measured = list[float](), 0
        while (counters := await rig.plane.counters())["punts_limited"] < 1000 or measured < 200:
            flooded += await delays(one, other, 1000 + measured, 50)
            measured += 50
        assert process.returncode is None
    flooded.sort()
    assert counters["unproved_dtls"] > 1000
    assert flooded[len(flooded) // 2] < quiet[len(quiet) // 2] + 0.005
    # A phone plays a packet 20 ms after the one before.
    assert flooded[len(flooded) * 19 // 20] < quiet[len(quiet) * 19 // 20] + 0.02


async def test_strangers_leave_room_for_the_others_while_the_gateway_is_busy(one_thread: Rig) -> None:
    """Of the four MiB that may wait for a gateway that reads nothing they fill two."""
    rig = one_thread
    browser, phone = await rig.browser(2), await rig.phone(3)
    rig.join(phone, browser, Route(action=Action.COPY, payload_type=101, clock_rate=8000))
    await rig.plane.snapshot([2])
    strangers = [Peer() for _ in range(40)]
    rig.peers += strangers
    transport = rig.plane._link._transport  # type: ignore[union-attr]
    transport.pause_reading()  # type: ignore[union-attr]
    check = bytes((0, 1)) + bytes(1400)
    for turn in range(150):
        for stranger in strangers:
            stranger.socket.sendto(check, browser.to)
        if turn % 10 == 9:
            # Until this has gone through, all that came before it has been taken.
            phone.send(rtp(turn // 10))
            await browser.receive()
    transport.resume_reading()  # type: ignore[union-attr]
    await until(lambda: len(rig.told.packets) == 15)
    counters = await rig.plane.counters()
    assert counters["frames_unsent"] + counters["punts_full"] > 100


async def test_strangers_take_nothing_from_who_has_proved_itself(one_thread: Rig) -> None:
    """Whatever is sprayed on each port, a browser's DTLS and nominations and a phone's RTCP and digits come through."""
    rig = one_thread
    browser, phone = await rig.browser(2), await rig.phone(3, FlowConfig(mux=True, max_packets_per_second=1_000_000))
    rig.join(phone, browser, Route(action=Action.COPY, payload_type=101, clock_rate=8000))
    strangers = [Peer() for _ in range(60)]
    rig.peers += strangers
    check, report = browser.check(password="guessed"), bytes((0x80, 200, 0, 6)) + bytes(24)
    told = rig.told

    def came(turns: int) -> bool:
        nominations = sum(source == browser.address for _, source, _ in told.checks) - admissions
        reports = sum(source == phone.address for _, source, _ in told.reports)
        return min(len(told.handshakes), len(told.packets), nominations, reports) >= turns

    admissions = len(told.checks)
    for turn in range(20):
        for _ in range(500):
            strangers[0].socket.sendto(check, browser.to)
        for stranger in strangers:
            for _ in range(8):
                stranger.socket.sendto(check, browser.to)
            for _ in range(2):
                stranger.socket.sendto(report, phone.to)
                stranger.socket.sendto(rtp(turn), phone.to)
        browser.send(bytes((22, 254, 253)) + bytes((turn,) * 20))
        browser.send(browser.check(use_candidate=True, ufrag="another"))
        phone.send(report)
        phone.send(rtp(turn))
        await until(partial(came, turn + 1))
    counters = await rig.plane.counters()
    assert counters["punts_limited"] > 0
