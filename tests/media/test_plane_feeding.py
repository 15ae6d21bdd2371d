"""Many streams fed with what one flow receives, each from a key frame on, over both planes."""

from __future__ import annotations

import gc
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Self

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from gateway.media.embedded.plane.feeding import Feed
from gateway.media.embedded.plane.key_frame import Format, begins_key_frame
from gateway.media.embedded.plane.packet import RtpPacket
from gateway.media.embedded.plane.pair import PairFlow
from gateway.media.embedded.plane.values import Action, Fed, Repeats, Route
from tests.media.engine_support import until
from tests.media.plane_scene import LEFT, PLANES, RIGHT, Phone, Scene, made_plane, numbers
from tests.rows import by_row

ONE, OTHER = 3, 4
KEY, SLICE = b"\x10\x00", b"\x10\x01"
HEARD = {96: Route(action=Action.DROP, clock_rate=90000), 97: Route(action=Action.UNWRAP)}
VP8 = {96: Fed(payload_type=100, form=Format.VP8), 97: Fed(payload_type=100, form=Format.VP8)}


class Room(Scene):
    """LEFT and RIGHT show something; ONE and OTHER look on, and begin with packet 10 and 20."""

    async def open(self) -> Self:
        await super().open()
        self.one, self.other = Phone(), Phone()
        self.phones += [self.one, self.other]
        for flow, phone, first in ((ONE, self.one, 10), (OTHER, self.other, 20)):
            await self.add(flow, phone, first)
        for flow in (LEFT, RIGHT):
            self.plane.route(flow, None, HEARD)
        await self.done()
        return self

    def show(self, flow: int, number: int, payload: bytes, *, marker: bool = False) -> None:
        phone = self.left if flow == LEFT else self.right
        phone.send(bytes(RtpPacket(96, number & 0xFFFF, number * 3000 & 0xFFFFFFFF, flow, payload, marker)))


@pytest_asyncio.fixture(params=PLANES)
async def room(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Room]:
    """On every plane there is."""
    async with Room(made_plane(request.param, tmp_path)) as room:
        yield room


async def test_each_stream_begins_with_a_key_frame_and_has_numbers_of_its_own(room: Room) -> None:
    """Who comes later begins with a later one; each gets the payload type that it knows."""
    room.plane.feed(ONE, LEFT, VP8)
    await room.done()
    room.show(LEFT, 65534, SLICE)
    room.show(LEFT, 65535, KEY)
    room.show(LEFT, 0, SLICE, marker=True)
    await room.one.hears(2)
    room.plane.feed(OTHER, LEFT, {96: Fed(payload_type=101, form=Format.VP8)})
    await room.done()
    room.show(LEFT, 1, SLICE)
    room.show(LEFT, 2, KEY)
    room.show(LEFT, 4, SLICE)
    first, second = await room.one.hears(5), await room.other.hears(2)
    assert [packet.sequence_number for packet in first] == [10, 11, 12, 13, 15]
    assert [packet.payload for packet in first] == [KEY, SLICE, SLICE, KEY, SLICE]
    assert {packet.payload_type for packet in first} == {100}
    assert first[1].marker
    assert [packet.sequence_number for packet in second] == [20, 22]
    assert [packet.payload for packet in second] == [KEY, SLICE]
    assert {packet.payload_type for packet in second} == {101}
    await until(lambda: room.handler.begun == [(ONE, LEFT), (OTHER, LEFT)])


async def test_a_stream_goes_on_with_another_source_from_its_key_frame_on(room: Room) -> None:
    """One stream without a break: who was seen is seen until then, and no more from then on, late packets included."""
    room.plane.feed(ONE, LEFT, VP8)
    await room.done()
    for number, payload in ((100, KEY), (101, SLICE)):
        room.show(LEFT, number, payload)
    await room.one.hears(2)
    room.plane.feed(ONE, RIGHT, VP8)
    await room.done()
    room.show(RIGHT, 40_000, SLICE)
    await room.settle(RIGHT, 1)
    room.show(LEFT, 102, SLICE + b"still")
    await room.one.hears(3)
    room.show(RIGHT, 40_002, KEY)
    await room.one.hears(4)
    room.show(LEFT, 103, KEY + b"no more")
    await room.settle(LEFT, 4)
    room.show(RIGHT, 40_001, SLICE)
    room.show(RIGHT, 40_003, SLICE)
    seen = await room.one.hears(5)
    await room.settle(RIGHT, 4)
    assert numbers(room.one.heard) == [0, 1, 2, 3, 4]
    assert [packet.payload for packet in seen] == [KEY, SLICE, SLICE + b"still", KEY, SLICE]
    times = [packet.timestamp for packet in seen]
    assert 0 < (times[3] - times[2]) & 0xFFFFFFFF < 90_000
    assert {packet.ssrc for packet in seen} == {seen[0].ssrc}
    await until(lambda: room.handler.begun == [(ONE, LEFT), (ONE, RIGHT)])


async def test_who_is_seen_again_before_the_other_has_come_was_never_away(room: Room) -> None:
    """It is told at once; a third one in the place of the second leaves the first, and what ends ends for all."""
    room.plane.feed(ONE, LEFT, VP8)
    await room.done()
    room.show(LEFT, 1, KEY)
    await room.one.hears(1)
    room.plane.feed(ONE, RIGHT, VP8)
    room.plane.feed(ONE, LEFT, VP8)
    await room.done()
    await until(lambda: room.handler.begun == [(ONE, LEFT), (ONE, LEFT)])
    room.show(RIGHT, 1, KEY)
    await room.settle(RIGHT, 1)
    room.show(LEFT, 2, SLICE)
    await room.one.hears(2)
    room.plane.feed(ONE, RIGHT, VP8)
    room.plane.feed(ONE, OTHER, VP8)
    await room.done()
    room.show(RIGHT, 2, KEY)
    await room.settle(RIGHT, 2)
    room.show(LEFT, 3, SLICE)
    await room.one.hears(3)
    room.plane.feed(ONE, None, {})
    await room.done()
    room.show(LEFT, 4, KEY)
    await room.settle(LEFT, 4)
    room.plane.feed(ONE, LEFT, VP8)
    await room.done()
    room.show(LEFT, 5, KEY)
    assert numbers(await room.one.hears(4)) == [0, 1, 2, 3]
    assert [packet.payload for packet in room.one.heard] == [KEY, SLICE, SLICE, KEY]


async def test_who_was_seen_or_is_waited_for_may_go_meanwhile(room: Room) -> None:
    """The other one is not touched; other payload types of the same source wait for a key frame of their own."""
    room.plane.feed(ONE, LEFT, VP8)
    await room.done()
    room.show(LEFT, 1, KEY)
    await room.one.hears(1)
    room.plane.feed(ONE, OTHER, VP8)
    await room.done()
    room.plane.close_flow(OTHER)
    await room.done()
    room.show(LEFT, 2, SLICE)
    await room.one.hears(2)
    room.plane.feed(ONE, RIGHT, VP8)
    await room.done()
    room.plane.close_flow(LEFT)
    await room.done()
    room.show(RIGHT, 1, KEY)
    await room.one.hears(3)
    room.plane.feed(ONE, RIGHT, {96: Fed(payload_type=101, form=Format.VP8)})
    await room.plane.snapshot([RIGHT])
    room.show(RIGHT, 2, SLICE)
    room.show(RIGHT, 3, KEY)
    seen = await room.one.hears(4)
    assert numbers(seen) == [0, 1, 2, 3]
    assert [packet.payload_type for packet in seen] == [100, 100, 100, 101]


async def test_a_retransmission_fills_its_gap_in_every_stream(room: Room) -> None:
    """And each keeps what it may be asked for again, by its own numbers."""
    kept = Repeats(ssrc=77, sequence_number=5, payload_types={100: 98}, packets=16)
    room.plane.keep(ONE, kept)
    for flow in (ONE, OTHER):
        room.plane.feed(flow, LEFT, VP8)
    await room.done()
    for number, payload in ((1, KEY), (3, SLICE)):
        room.show(LEFT, number, payload)
    room.left.send(bytes(RtpPacket(97, 900, 6000, 9, struct.pack("!H", 2) + SLICE)))
    room.left.send(bytes(RtpPacket(97, 901, 6000, 9, struct.pack("!H", 2) + SLICE)))
    first, second = await room.one.hears(3), await room.other.hears(3)
    assert [packet.sequence_number for packet in first] == [10, 12, 11]
    assert [packet.sequence_number for packet in second] == [20, 22, 21]
    room.plane.resend(ONE, [12])
    again = (await room.one.hears(4))[3]
    assert (again.ssrc, again.payload_type, again.payload) == (77, 98, struct.pack("!H", 12) + SLICE)
    room.plane.resend(ONE, [11])
    assert (await room.one.hears(5))[4].payload[:2] == struct.pack("!H", 11)


async def test_who_goes_leaves_the_others(room: Room) -> None:
    """A stream that is fed no more, one that closes, a source that closes, and names that nobody has."""
    for flow in (ONE, OTHER):
        room.plane.feed(flow, LEFT, VP8)
    room.plane.feed(99, LEFT, VP8)
    room.plane.feed(OTHER, 99, VP8)
    room.plane.feed(OTHER, LEFT, VP8)
    await room.done()
    room.show(LEFT, 1, KEY)
    await room.one.hears(1)
    await room.other.hears(1)
    room.plane.feed(ONE, None, {})
    await room.done()
    room.show(LEFT, 2, SLICE)
    await room.other.hears(2)
    room.plane.close_flow(OTHER)
    room.plane.feed(ONE, LEFT, VP8)
    await room.done()
    room.show(LEFT, 3, KEY)
    assert numbers(await room.one.hears(2)) == [0, 1]
    room.plane.close_flow(LEFT)
    room.plane.feed(ONE, RIGHT, VP8)
    await room.done()
    room.show(RIGHT, 3, KEY)
    assert numbers(await room.one.hears(3)) == [0, 1, 2]
    assert len(room.other.heard) == 2


async def test_the_later_of_a_route_and_a_feed_stands(room: Room) -> None:
    """A stream has one source."""
    room.plane.route(RIGHT, ONE, {96: Route(action=Action.FORWARD, payload_type=100, clock_rate=90000)})
    room.plane.feed(ONE, LEFT, VP8)
    await room.done()
    room.show(RIGHT, 1, KEY)
    room.show(LEFT, 1, KEY + b"left")
    assert [packet.payload for packet in await room.one.hears(1)] == [KEY + b"left"]
    room.plane.route(RIGHT, ONE, {96: Route(action=Action.FORWARD, payload_type=100, clock_rate=90000)})
    await room.done()
    room.show(LEFT, 2, KEY)
    room.show(RIGHT, 2, SLICE)
    assert [packet.payload for packet in await room.one.hears(2)] == [KEY + b"left", SLICE]


async def test_who_is_on_hold_gets_nothing_and_no_gap(room: Room) -> None:
    """Nor does it keep the others from seeing; a new source of the same flow goes on in the same stream."""
    for flow in (ONE, OTHER):
        room.plane.feed(flow, LEFT, VP8)
    await room.done()
    room.show(LEFT, 1, KEY)
    await room.one.hears(1)
    room.plane.set_open(ONE, False)
    await room.done()
    room.show(LEFT, 2, SLICE)
    await room.other.hears(2)
    room.plane.set_open(ONE, True)
    room.plane.resync(LEFT)
    await room.done()
    room.left.send(bytes(RtpPacket(96, 50_000, 7, 0x99, KEY)))
    assert numbers(await room.one.hears(2)) == [0, 1]
    assert numbers(await room.other.hears(3)) == [0, 1, 2]


@by_row(
    ("form", "payload", "begins"),
    [
        (Format.ANY, "", True),
        (Format.VP8, "1000", True),
        (Format.VP8, "1001", False),
        (Format.VP8, "1100", False),
        (Format.VP8, "90801200", True),
        (Format.VP8, "9080921200", True),
        (Format.VP8, "90f09212010200", True),
        (Format.VP8, "90f09212010201", False),
        (Format.H264, "6742", True),
        (Format.H264, "65", True),
        (Format.H264, "61", False),
        (Format.H264, "78000967", True),
        (Format.H264, "78000961", False),
        (Format.H264, "78000209f0000306050100026742", True),
        (Format.H264, "78000209f0000161", False),
        (Format.H264, "78ffff09", False),
        (Format.H264, "7c85", True),
        (Format.H264, "7c05", False),
        (Format.H264, "7c", False),
        (Format.VP9, "08", True),
        (Format.VP9, "48", False),
        (Format.VP9, "a8810200", True),
        (Format.VP9, "a80102", False),
        (Format.AV1, "18", True),
        (Format.AV1, "10", False),
    ],
)
def test_a_key_frame_is_told_by_its_first_packet(form: Format, payload: str, begins: bool) -> None:
    """RFC 7741, RFC 6184, RFC 9628 and AV1's payload format; the native plane's own test has the same rows."""
    assert begins_key_frame(form, bytes.fromhex(payload)) is begins


@given(form=st.sampled_from(Format), payload=st.binary(max_size=40))
def test_no_payload_makes_looking_raise(form: Format, payload: bytes) -> None:
    """A stranger's octets."""
    assert begins_key_frame(form, payload) in (True, False)


async def test_a_source_that_is_gone_is_kept_by_nobody(tmp_path: Path) -> None:
    """Whom it fed, and who waits for its key frame, may look on for hours."""
    room = await Room(made_plane("python", tmp_path)).open()
    try:
        room.plane.feed(ONE, LEFT, VP8)
        room.show(LEFT, 1, KEY)
        await room.one.hears(1)
        room.plane.feed(OTHER, LEFT, VP8)
        room.plane.close_flow(LEFT)
        gc.collect()
        assert not [
            each
            for each in gc.get_objects()
            if isinstance(each, Feed) or (type(each) is PairFlow and each.number == LEFT)
        ]
    finally:
        await room.close()


async def test_what_feeds_as_many_as_it_may_goes_on_feeding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is refused, and one that is fed already may have other payload types."""
    monkeypatch.setattr("gateway.media.embedded.plane.python.MAX_FEEDS", 1)
    room = await Room(made_plane("python", tmp_path)).open()
    try:
        room.plane.feed(ONE, LEFT, VP8)
        room.plane.feed(OTHER, LEFT, VP8)
        room.plane.feed(ONE, LEFT, {96: Fed(payload_type=101, form=Format.VP8)})
        room.show(LEFT, 1, KEY)
        assert [packet.payload_type for packet in await room.one.hears(1)] == [101]
        assert not room.other.heard
    finally:
        await room.close()
