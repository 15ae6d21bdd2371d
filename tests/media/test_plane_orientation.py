"""How pictures lie (3GPP TS 26.114 section 7.4.5), carried from who sends them to who sees them, over both planes."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.media.embedded.plane.key_frame import Format
from gateway.media.embedded.plane.packet import RtpPacket, extension, octet_extension, one_octet_extension
from gateway.media.embedded.plane.values import Action, Fed, Repeats, Route
from tests.media.plane_call import AGAIN, PICTURE, Call, extended, video
from tests.media.plane_scene import LEFT, PLANES, RIGHT, Phone, Scene, made_plane, numbers, rtp

THEIRS, PHONES = 13, 4
"""Identifiers of the browser's and of the phone's."""
KEY, SLICE = b"\x10\x00", b"\x10\x01"


@pytest_asyncio.fixture(params=PLANES)
async def call(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Call]:
    """On every plane there is, a browser and a phone that tell each other how their pictures lie."""
    async with Scene(made_plane(request.param, tmp_path)) as scene:
        made = await Call(scene).open()
        made.plane.carry_orientation(PICTURE, THEIRS)
        made.plane.carry_orientation(RIGHT, PHONES)
        await scene.done()
        yield made


def lie(packets: list[bytes], identifier: int) -> list[int | None]:
    """What each packet says of its picture; other elements are there in none of them."""
    for packet in packets:
        said = extension(packet, identifier)
        assert packet[0] == (0x80 if said is None else 0x90)
        assert said is None or packet[12:20] == one_octet_extension(identifier, said[0])
    return [octet_extension(packet, identifier) for packet in packets]


async def test_each_side_hears_how_the_others_picture_lies_by_its_own_identifier(call: Call) -> None:
    """Of those packets that say it, wherever in the frame they are; nothing else of an extension goes on."""
    said = {2: b"\xd0\x05", 3: b"\x31\0\7\xd0\x01", 5: b"\xd0\x00"}
    for number in range(6):
        packet = video(number, bytes([number]) * 9, marker=number == 5)
        call.send(extended(packet, said[number]) if number in said else packet)
        phones = bytes(RtpPacket(102, number, 9, 3, b"phone slice"))
        call.scene.right.send(extended(phones, b"\x40\x02") if number == 4 else phones)
    heard = await call.scene.right.hears(6)
    assert numbers(heard) == list(range(6))
    assert [packet.payload for packet in heard] == [bytes([number]) * 9 for number in range(6)]
    assert [packet.marker for packet in heard] == [False] * 5 + [True]
    assert lie(call.scene.right.take(), PHONES) == [None, None, 5, 1, None, 0]
    seen = await call.opens(6)
    assert lie(seen, THEIRS) == [None, None, None, None, 2, None]
    assert {RtpPacket.parse(data).payload for data in seen} == {b"phone slice"}
    assert (await call.scene.figures(RIGHT)).sent_octets == 54


@pytest.mark.parametrize("ours", [1, 14, 16, 255])
async def test_both_forms_of_extension_are_read_and_written(call: Call, ours: int) -> None:
    """RFC 8285: one-octet headers up to 14, two-octet ones from 16; the browser's may come in either."""
    call.plane.carry_orientation(RIGHT, ours)
    await call.scene.done()
    call.send(extended(video(1), b"\x03\x02\0\7\0\x0d\x01\x06", 0x1000))
    call.send(extended(video(2), b"\xd0\x03"))
    await call.scene.right.hears(2)
    assert lie(call.scene.right.take(), ours) == [6, 3]
    call.plane.carry_orientation(PICTURE, 200)
    await call.scene.done()
    call.send(extended(video(3), b"\xc8\x01\x02", 0x100F))
    await call.scene.right.hears(3)
    assert lie(call.scene.right.take()[2:], ours) == [2]


async def test_what_says_nothing_of_the_picture_goes_on_as_a_packet_without_it(call: Call) -> None:
    """Elements cut short, of another length, of another identifier, after 15, in another form: media all the same."""
    elements = (b"\xd3\5\0\0", b"\xd1\5\5", b"\xc0\5", b"\xf0\0\xd0\5", b"", b"\0\0\0\xd0")
    for number, element in enumerate(elements):
        call.send(extended(video(number), element))
    call.send(extended(video(6), b"\x0d\x00\x0d\x09", 0x1000))
    call.send(extended(video(7), b"\xd0\x05", 0xF000))
    call.send(extended(video(8), b"\xd0\x07"))
    assert numbers(await call.scene.right.hears(9)) == list(range(9))
    assert lie(call.scene.right.take(), PHONES) == [None] * 8 + [7]
    assert (await call.scene.figures(PICTURE)).discarded == {}


async def test_nobody_hears_of_it_who_has_not_agreed_and_the_voice_never(call: Call) -> None:
    """Of the side that sends nothing is read, to the side that sees nothing is written; and again it is."""
    call.send(extended(rtp(1, payload_type=111), b"\xd0\x05"))
    await call.scene.left.hears(1)
    assert lie(call.scene.left.take(), THEIRS) == [None]
    for count, (ours, theirs) in enumerate(((0, THEIRS), (PHONES, 0), (PHONES, THEIRS)), 1):
        call.plane.carry_orientation(RIGHT, ours)
        call.plane.carry_orientation(PICTURE, theirs)
        await call.scene.done()
        call.send(extended(video(count), b"\xd0\x05"))
        await call.scene.right.hears(count)
    assert lie(call.scene.right.take(), PHONES) == [None, None, 5]
    call.plane.carry_orientation(99, 1)
    await call.scene.done()
    call.send(extended(video(4), b"\xd0\x06"))
    await call.scene.right.hears(4)
    assert lie(call.scene.right.take()[3:], PHONES) == [6]


async def test_retransmissions_say_it_as_well(call: Call) -> None:
    """One that is unwrapped for the phone, and what the browser is sent again."""
    call.plane.keep(PICTURE, Repeats(ssrc=AGAIN, sequence_number=5, payload_types={96: 97}, packets=8))
    await call.scene.done()
    for number in (100, 102):
        call.send(video(number, bytes([number])))
    again = bytes(RtpPacket(97, 1, 0, 21, struct.pack("!H", 101) + b"e", True))
    call.send(extended(again, b"\xd0\x06"))
    heard = await call.scene.right.hears(3)
    assert [(packet.sequence_number, packet.payload) for packet in heard][2] == (501, b"e")
    assert lie(call.scene.right.take(), PHONES) == [None, None, 6]
    for number in range(3):
        phones = bytes(RtpPacket(102, number, 9, 3, b"slice" + bytes([number])))
        call.scene.right.send(extended(phones, b"\x40\x03") if number == 1 else phones)
    first = RtpPacket.parse((await call.opens(3))[0]).sequence_number
    call.plane.resend(PICTURE, [first, first + 1])
    repeated = await call.opens(2)
    assert lie(repeated, THEIRS) == [None, 3]
    assert [RtpPacket.parse(data).payload[2:] for data in repeated] == [b"slice\0", b"slice\1"]
    assert {RtpPacket.parse(data).ssrc for data in repeated} == {AGAIN}


class Room(Scene):
    """LEFT and RIGHT show something, ONE and OTHER look on."""

    async def open(self) -> Room:
        await super().open()
        self.one, self.other = Phone(), Phone()
        self.phones += [self.one, self.other]
        for flow, phone in ((3, self.one), (4, self.other)):
            await self.add(flow, phone)
        for flow, identifier in ((LEFT, 3), (RIGHT, 5), (3, 7)):
            self.plane.route(flow, None, {96: Route(action=Action.DROP, clock_rate=90000)})
            self.plane.carry_orientation(flow, identifier)
        await self.done()
        return self

    def show(self, flow: int, number: int, payload: bytes, element: bytes = b"") -> None:
        packet = bytes(RtpPacket(96, number, number * 3000, flow, payload))
        (self.left if flow == LEFT else self.right).send(extended(packet, element) if element else packet)


@pytest_asyncio.fixture(params=PLANES)
async def room(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Room]:
    """On every plane there is."""
    room = await Room(made_plane(request.param, tmp_path)).open()
    yield room
    await room.close()


async def test_each_who_looks_on_hears_it_of_whom_it_sees(room: Room) -> None:
    """By its own identifier or not at all, over a change of who is seen, from the first packet of the key frame on."""
    types = {96: Fed(payload_type=100, form=Format.VP8)}
    for flow in (3, 4):
        room.plane.feed(flow, LEFT, types)
    await room.done()
    room.show(LEFT, 1, KEY, b"\x30\x01")
    room.show(LEFT, 2, SLICE)
    await room.one.hears(2)
    await room.other.hears(2)
    for flow in (3, 4):
        room.plane.feed(flow, RIGHT, types)
    await room.done()
    room.show(RIGHT, 1, SLICE, b"\x50\x02")
    room.show(RIGHT, 2, KEY, b"\x50\x02")
    room.show(RIGHT, 3, SLICE, b"\x30\x01")
    room.show(RIGHT, 4, SLICE, b"\x50\x03")
    for phone in (room.one, room.other):
        heard = await phone.hears(5)
        assert numbers(heard) == [0, 1, 2, 3, 4]
        assert [packet.payload for packet in heard] == [KEY, SLICE, KEY, SLICE, SLICE]
    assert lie(room.one.take(), 7) == [1, None, 2, None, 3]
    assert lie(room.other.take(), 7) == [None] * 5


async def test_padding_alone_is_fed_to_no_phone(room: Room) -> None:
    """By it a browser tries what the network bears; it leaves no gap."""
    room.plane.feed(3, LEFT, {96: Fed(payload_type=100, form=Format.VP8)})
    await room.done()
    for number, payload in enumerate((KEY, b"", SLICE, b"", b"", SLICE)):
        room.show(LEFT, number, payload, b"\x30\x01")
    heard = await room.one.hears(3)
    assert [packet.payload for packet in heard] == [KEY, SLICE, SLICE]
    assert numbers(heard) == [0, 1, 2]
