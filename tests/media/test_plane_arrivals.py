"""What a browser is told of the arrival of its packets (transport-wide congestion control), over both planes."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from unittest.mock import MagicMock

import pytest
import pytest_asyncio

from gateway.media.embedded.plane.arrivals import FORMAT, WINDOW, Arrivals
from gateway.media.embedded.plane.packet import extension
from gateway.media.embedded.plane.reports import Reporter
from gateway.media.embedded.plane.rtcp import RTPFB, Feedback, ReceiverReport, SourceDescription, parse_compound
from gateway.media.embedded.plane.values import Counting
from gateway.media.embedded.reporting import tell_arrivals
from sdp import Agreement, MediaAgreement
from sdp.attributes import Direction
from sdp.extensions import TRANSPORT_CC
from sdp.fields import Bandwidth
from tests.media.engine_support import until
from tests.media.plane_call import OUR_VOICE, PICTURE, VOICE, Call, extended, video
from tests.media.plane_scene import PLANES, Scene, made_plane, rtp
from tests.rows import by_row

HEAD = bytes(ReceiverReport(OUR_VOICE)) + bytes(SourceDescription(OUR_VOICE, "ours"))
COUNTING = Counting(extension=3, head=HEAD)


def came(message: Feedback) -> list[tuple[int, int | None]]:
    """Each number that a message tells of, with when it came in ticks of 250 us; None: it did not."""
    first, count, word = struct.unpack_from("!HHI", message.control)
    symbols: list[int] = []
    place = 8
    while len(symbols) < count:
        chunk = int.from_bytes(message.control[place : place + 2], "big")
        place += 2
        if chunk < 0x8000:
            symbols += [chunk >> 13] * (chunk & 0x1FFF)
        elif chunk < 0xC000:
            symbols += [chunk >> shift & 1 for shift in range(13, -1, -1)]
        else:
            symbols += [chunk >> shift & 3 for shift in range(12, -1, -2)]
    tick, found = (word >> 8) * 256, list[tuple[int, int | None]]()
    for number, symbol in enumerate(symbols[:count], first):
        assert symbol < 3
        delta = message.control[place : place + symbol]
        place += symbol
        tick += int.from_bytes(delta, "big", signed=symbol == 2)
        found.append((number & 0xFFFF, tick if symbol else None))
    assert message.control[place:] == bytes(-place % 4)
    return found


class Told:
    """What a browser is told."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.messages: list[Feedback] = []
        self.reports = 0
        self.octets = 0

    def take(self) -> list[Feedback]:
        """All so far; each in a compound packet behind a report of the voice's."""
        received = self.call.browser.take()
        while self.reports < len(received):
            data = received[self.reports]
            self.reports += 1
            if not 192 <= data[1] <= 223:
                continue
            plain = self.call.peer.unprotect_rtcp(data)
            assert plain is not None
            assert plain.startswith(HEAD)
            message = parse_compound(plain)[-1]
            assert isinstance(message, Feedback)
            assert (message.packet_type, message.format, message.sender_ssrc) == (RTPFB, FORMAT, OUR_VOICE)
            self.octets += len(data) + 28
            self.messages.append(message)
        return self.messages

    async def of(self, number: int) -> dict[int, int | None]:
        """What became of each number, once this one was told of as one that came."""
        found: dict[int, int | None] = {}

        def look() -> bool:
            for message in self.take():
                found.update({each: tick for each, tick in came(message) if tick is not None or each not in found})
            return found.get(number) is not None

        await until(look)
        return found


@pytest_asyncio.fixture(params=PLANES)
async def call(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Call]:
    """On every plane there is, a browser that numbers its packets."""
    async with Scene(made_plane(request.param, tmp_path)) as scene:
        made = await Call(scene).open()
        made.plane.count_arrivals(VOICE, COUNTING)
        await scene.done()
        yield made


def numbered(packet: bytes, number: int, profile: int = 0xBEDE) -> bytes:
    """The packet with its transport-wide number, in the one- or the two-octet form, behind another element."""
    said = struct.pack("!H", number & 0xFFFF)
    elements = b"\x12\1\2\3\0\x31" + said if profile == 0xBEDE else b"\1\3\1\2\3\0\3\2" + said
    return extended(packet, elements, profile)


async def test_a_browser_is_told_when_packets_of_all_its_streams_came(call: Call) -> None:
    """Voice and picture are numbered together; a lost one is told of as lost, one that comes twice once."""
    before = time.monotonic() - 1 / 4000  # a tick, of which the last is told
    told = Told(call)
    for number in range(0xFFF0, 0xFFF8):
        call.send(numbered(rtp(number, payload_type=111), number))
        call.send(numbered(video(number), number + 10, 0x1000 if number % 2 else 0xBEDE))
    call.send(numbered(video(1), 0xFFFA))
    call.send(numbered(video(2), 3))
    found = await told.of(3)
    assert {number for number, tick in found.items() if tick is None} == {0xFFF8, 0xFFF9, 2}
    assert [number for number, tick in found.items() if tick is not None] == [
        *range(0xFFF0, 0xFFF8), *range(0xFFFA, 0x10000), 0, 1, 3
    ]  # fmt: skip
    ticks = [tick for tick in found.values() if tick is not None]
    epoch = 1 << 32
    assert all((tick / 4000 - before) % (epoch / 4000) < 30 for tick in ticks)
    assert {message.media_ssrc for message in told.messages} <= {20, 0xABCD}


async def test_a_packet_that_was_overtaken_is_told_of_later(call: Call) -> None:
    """A number that was told of as lost comes after all; messages count on."""
    told = Told(call)
    for number in (10, 11, 13):
        call.send(numbered(video(number), number))
    assert (await told.of(13))[12] is None
    call.send(numbered(video(12), 12))
    assert (await told.of(12))[13] is not None
    assert [message.control[7] for message in told.messages] == list(range(len(told.messages)))


async def test_what_is_lost_after_many_is_told_of_as_lost(call: Call) -> None:
    """The place of a number had another one before."""
    told = Told(call)
    for number in range(WINDOW + 88):
        call.send(numbered(video(number), number))
        if number % 100 == 0:
            await call.scene.settle(PICTURE, number + 1)
    call.send(numbered(video(WINDOW + 88), WINDOW + 90))
    found = await told.of(WINDOW + 90)
    assert (found[WINDOW + 88], found[WINDOW + 89]) == (None, None)


async def test_numbers_that_cannot_be_read_are_none(call: Call) -> None:
    """Elements cut short, of another length, of another identifier or after 15: the packets are media all the same."""
    told, elements = Told(call), (b"\x33\0\7", b"\x30\7", b"\x41\0\7", b"\xf1\0\x31\0\7", b"\x32\0\7\7", b"\0\0\0\x31")
    for number, element in enumerate(elements):
        call.send(extended(video(number), element))
    call.send(extended(video(6), b"\3\x09\0\7", 0x1000))
    call.send(extended(video(7), b"\x31\0\7", 0xF000))
    call.send(numbered(video(8), 500))
    assert await told.of(500) == {500: came(told.messages[-1])[-1][1]}
    assert (await call.scene.figures(PICTURE)).received == 9


async def test_numbers_that_jump_and_a_flood_of_them_cost_a_window(call: Call) -> None:
    """What is far from the last begins afresh, of 65,536 in a moment the newest are told of."""
    told = Told(call)
    for sent, number in enumerate((1, 30_001, 60_001, 24_465)):
        call.send(numbered(video(sent), number))
    await told.of(24_465)
    for sent in range(4, 4004):
        call.send(numbered(video(sent), 16 * sent if sent < 2000 else sent))
        if sent % 200 == 0:
            await call.scene.settle(PICTURE, sent + 1)
    await told.of(4003)
    assert all(0 < len(came(message)) <= WINDOW for message in told.messages)


async def test_nobody_is_told_who_sends_no_numbers_or_is_no_longer_to_be(call: Call) -> None:
    """And again, under another identifier, the browser is."""
    told = Told(call)
    call.send(video(1))
    call.plane.count_arrivals(VOICE, None)
    await call.scene.done()
    call.send(numbered(video(2), 2))
    await call.scene.settle(PICTURE, 2)
    call.plane.count_arrivals(VOICE, Counting(extension=1, head=HEAD))
    await call.scene.done()
    call.send(extended(video(3), b"\x11\0\x09"))
    assert list(await told.of(9)) == [9]
    call.plane.close_flow(PICTURE)
    call.send(extended(video(4), b"\x11\0\x0a"))
    await told.of(10)


async def test_reports_of_a_source_that_is_another_streams_are_not_begun(call: Call) -> None:
    """Under one key no index may come twice."""
    call.plane.count_arrivals(VOICE, None)
    call.plane.count_arrivals(VOICE, Counting(extension=3, head=bytes(ReceiverReport(0x5002))))
    call.plane.count_arrivals(99, COUNTING)
    await call.scene.done()
    call.send(numbered(video(1), 1))
    await call.scene.settle(PICTURE, 1)
    call.plane.count_arrivals(VOICE, COUNTING)
    await call.scene.done()
    told = Told(call)
    call.send(numbered(video(2), 2))
    assert list(await told.of(2)) == [2]


@by_row("silent", [None, "audio", "video"])
def test_a_browser_that_leaves_a_section_no_rtcp_is_told_of_no_arrival(silent: str | None) -> None:
    """b=RS:0 of one section (RFC 3556): what tells it is of all of them."""
    plane, reporter = MagicMock(), Reporter(OUR_VOICE, "ours", Random(1), 5.0)
    sections = [
        MediaAgreement(
            number, kind, f"{number}", True, "UDP/TLS/RTP/SAVPF", Direction.SENDRECV,
            bandwidths=(Bandwidth("RS", 0),) if kind == silent else (), extensions={TRANSPORT_CC: 3},
        )
        for number, kind in enumerate(("audio", "video"))
    ]  # fmt: skip
    wanted = tell_arrivals(plane, VOICE, reporter, Agreement("answerer", tuple(sections)), told=True)
    assert wanted is (silent is None)
    told = Counting(extension=3, head=reporter.head) if wanted else None
    plane.count_arrivals.assert_called_once_with(VOICE, told)


@pytest.mark.serial
async def test_what_is_told_takes_a_twentieth_of_what_comes(call: Call) -> None:
    """Where much comes every 50 ms, where little does four times a second."""
    told, sent, number = Told(call), 0, 0
    for payload, packets in ((1000, 300), (60, 100)):
        known, since, began = told.octets, sent, time.monotonic()
        for _ in range(packets):
            packet = numbered(video(number, bytes(payload)), number)
            call.send(packet)
            sent, number = sent + len(packet), number + 1
            await asyncio.sleep(0.005)
        await told.of(number - 1)
        assert told.octets - known <= max(0.06 * (sent - since), 4.5 * 200 * (time.monotonic() - began) + 400)
    assert len(told.messages) > 8


class TestArrivals:
    """The bookkeeping by itself."""

    def test_a_pause_too_long_for_a_delta_begins_another_message(self) -> None:
        """Deltas have 16 bits: about eight seconds."""
        arrivals = Arrivals(COUNTING)
        assert arrivals.note(7, 1, 100, 64.0)
        assert not arrivals.note(9, 1, 100, 73.0)
        told = [parse_compound(packet)[-1] for packet in arrivals.tell(73.05)]
        assert [came(each) for each in told if isinstance(each, Feedback)] == [
            [(7, 256_000), (8, None)],
            [(9, 292_000)],
        ]
        assert arrivals.due is None

    def test_what_is_due_is_known_once_and_sooner_where_much_comes(self) -> None:
        """50 ms, and up to 250 where little comes."""
        arrivals, now = Arrivals(COUNTING), 64.0
        gaps = []
        for size in (1200, 60):
            for number in range(100):
                now += 0.01
                if arrivals.due is not None and arrivals.due <= now:
                    list(arrivals.tell(now))
                if arrivals.note(number + size, 1, size, now):
                    assert arrivals.due is not None
                    gaps.append(round(arrivals.due - now, 2))
        assert min(gaps) == 0.05
        assert 0.2 <= gaps[-1] <= 0.25


@pytest.mark.parametrize("profile", [0xBEDE, 0x1000])
def test_every_beginning_of_an_extension_can_be_read(profile: int) -> None:
    """Whatever the octets are and wherever they end: an element or none."""
    for length in range(0, 24, 4):
        for octet in range(256):
            packet = extended(video(1), bytes([octet] * length) or b"", profile)
            for identifier in (1, 3, 14, 15, 255):
                found = extension(packet, identifier)
                assert found is None or len(found) <= length


def test_a_number_that_comes_again_is_told_of_when_it_came_first() -> None:
    """A packet that was sent twice, or played back, makes no link look slower (and it is not told of a second time)."""
    arrivals = Arrivals(COUNTING)
    for number, now in ((5, 10.0), (6, 10.1), (5, 10.2)):
        arrivals.note(number, 0xABCD, 1000, now)
    [whole] = arrivals.tell(10.3)
    message = parse_compound(whole)[-1]
    assert isinstance(message, Feedback)
    assert came(message) == [(5, 40_000), (6, 40_400)]
    assert arrivals.due is None
    assert not arrivals.note(6, 0xABCD, 1000, 10.4)
    assert arrivals.due is None
    assert list(arrivals.tell(10.5)) == []
