"""Streams that share one transport (RFC 9143), and video's own rules, over both planes."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.media.embedded.plane.packet import RtpPacket
from gateway.media.embedded.plane.rtcp import ReceiverReport
from gateway.media.embedded.plane.values import Repeats
from tests.media.engine_support import until
from tests.media.plane_call import AGAIN, BACK, OUR_PICTURE, OUR_VOICE, PICTURE, VIDEO, VOICE, Call, video
from tests.media.plane_scene import CM, LEFT, PLANES, RIGHT, Phone, Scene, key, made_plane, numbers, rtp
from tests.media.webrtc_support import binding_check


def again(number: int, lost: int, payload: bytes, *, stamp: int = 0, marker: bool = False) -> bytes:
    """A retransmission of packet `lost`."""
    return bytes(RtpPacket(97, number & 0xFFFF, stamp, 21, struct.pack("!H", lost) + payload, marker))


@pytest_asyncio.fixture(params=PLANES)
async def call(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Call]:
    """On every plane there is."""
    async with Scene(made_plane(request.param, tmp_path)) as scene:
        yield await Call(scene).open()


async def test_two_streams_of_one_transport_reach_two_targets_and_come_back(call: Call) -> None:
    """Told apart by payload type; numbers, SSRC and figures are each stream's own."""
    for number in range(10):
        call.send(rtp(700 + number, payload_type=111, payload=b"voice"))
        call.send(video(40_000 + number))
        call.scene.left.send(rtp(1 + number, payload=b"phone"))
        call.scene.right.send(bytes(RtpPacket(102, 5 + number, 9, 3, b"phone slice")))
    voice, picture = await call.scene.left.hears(10), await call.scene.right.hears(10)
    assert {packet.payload for packet in voice} == {b"voice"}
    assert {(packet.payload_type, packet.ssrc, packet.payload) for packet in picture} == {(102, 0x7777, b"slice")}
    assert numbers(picture) == list(range(10))
    seen = await call.sees(20)
    streams = {ssrc: [each for each in seen if each.ssrc == ssrc] for ssrc in (OUR_VOICE, OUR_PICTURE)}
    assert [{each.payload for each in stream} for stream in streams.values()] == [{b"phone"}, {b"phone slice"}]
    assert numbers(streams[OUR_PICTURE]) == list(range(10))
    voice_figures, picture_figures = await call.scene.figures(VOICE), await call.scene.figures(PICTURE)
    assert (voice_figures.received, voice_figures.discarded) == (10, {})
    assert (picture_figures.received, picture_figures.sent, picture_figures.ssrc) == (10, 10, 20)
    assert picture_figures.destination == call.browser.address


async def test_who_sends_a_picture_alone_has_been_heard(call: Call) -> None:
    """The transport is one: with the voice muted its flow is not taken for gone."""
    before = (await call.scene.figures(VOICE)).heard
    call.send(video(1))
    await call.scene.right.hears(1)
    figures = await call.scene.figures(VOICE)
    assert figures.heard > before
    assert figures.received == 0


async def test_the_marker_of_video_is_its_sources_alone(call: Call) -> None:
    """It ends a frame: the first packet of a run has none unless the source gave it one."""
    call.send(video(1, stamp=3000))
    call.send(video(2, stamp=3000, marker=True))
    await call.scene.right.hears(2)
    call.plane.resync(PICTURE)
    await call.scene.done()
    call.send(video(9000, stamp=77, ssrc=22))
    heard = await call.scene.right.hears(3)
    assert [packet.marker for packet in heard] == [False, True, False]


async def test_padding_alone_reaches_no_phone(call: Call) -> None:
    """By it a browser tries what the network bears; it leaves no gap."""
    for number in range(6):
        call.send(video(number, b"" if number in (2, 3) else bytes([number])))
    heard = await call.scene.right.hears(4)
    assert [packet.payload for packet in heard] == [bytes([number]) for number in (0, 1, 4, 5)]
    assert numbers(heard) == list(range(4))


async def test_padding_alone_reaches_browsers(call: Call) -> None:
    """Its number is told of by the browser, so whoever tries what the network bears hears how much of it came."""
    for number, payload in enumerate((b"a", b"", b"b")):
        call.scene.right.send(bytes(RtpPacket(102, number, 9, 3, payload)))
    seen = await call.sees(3)
    assert [packet.payload for packet in seen] == [b"a", b"", b"b"]


async def test_a_retransmission_fills_its_gap_once(call: Call) -> None:
    """Unwrapped for the phone (RFC 4588); the same again, one of a packet that came, and padding are dropped.

    Padding with the number of a packet that is missing is not that packet.
    """
    for number in (100, 101, 103):
        call.send(video(number, bytes([number]), stamp=3000))
    await call.scene.right.hears(3)
    call.send(bytes(RtpPacket(97, 1, 0, 21, b"")))
    call.send(bytes(RtpPacket(97, 2, 0, 21, b"\0\x66")))
    call.send(again(3, 102, b"f", stamp=3000, marker=True))
    for packet in (again(4, 102, b"f"), again(5, 101, b"e"), again(6, 105, b"future")):
        call.send(packet)
    call.send(video(104, b"h", stamp=6000))
    heard = await call.scene.right.hears(5)
    assert [(packet.sequence_number, packet.payload) for packet in heard] == [
        (500, b"d"), (501, b"e"), (503, b"g"), (502, b"f"), (504, b"h"),
    ]  # fmt: skip
    assert (heard[3].payload_type, heard[3].marker, heard[3].timestamp) == (102, True, heard[0].timestamp)
    assert (await call.scene.figures(PICTURE)).lost == 1


def asked_for(seen: list[RtpPacket]) -> list[tuple[int, int, int, bytes, bool]]:
    """Payload type, number, the number that is repeated, payload and marker of retransmissions."""
    again = [each for each in seen if each.ssrc == AGAIN]
    return [
        (
            each.payload_type,
            each.sequence_number,
            int.from_bytes(each.payload[:2], "big"),
            each.payload[2:],
            each.marker,
        )
        for each in again
    ]


async def test_what_the_browser_lacks_is_sent_again_and_what_never_came_is_told(call: Call) -> None:
    """As a retransmission under a source and numbers of its own (RFC 4588); nobody's are older ones and long ones."""
    call.plane.keep(PICTURE, Repeats(ssrc=AGAIN, sequence_number=0xFFFF, payload_types={96: 97}, packets=6))
    await call.scene.done()
    for number in (100, 101, 103, 104, 105, 106):
        payload = bytes([number]) * (1430 if number == 105 else 1)
        call.scene.right.send(bytes(RtpPacket(102, number, 9, 3, payload, number == 104)))
    seen = await call.sees(6)
    assert numbers(seen) == [0, 1, 3, 4, 5, 6]
    first = seen[0].sequence_number
    call.plane.resend(PICTURE, [first + 4, first, first + 5, first + 2, first + 4, first + 6, first + 40_000])
    seen = await call.sees(3)
    assert asked_for(seen) == [
        (97, 0xFFFF, first + 4, bytes([104]), True),
        (97, 0, first + 4, bytes([104]), True),
        (97, 1, first + 6, bytes([106]), False),
    ]
    assert seen[0].timestamp == (await call.scene.figures(PICTURE)).timestamp
    await until(lambda: call.scene.handler.lacking == [(PICTURE, 102)])
    figures = await call.scene.figures(PICTURE)
    assert (figures.sent, figures.sequence_number) == (6, first + 6)


async def test_the_numbers_of_retransmissions_go_on_when_what_is_kept_changes(call: Call) -> None:
    """Under the same source none may come twice, and none under another stream's source at all."""
    repeats = Repeats(ssrc=AGAIN, sequence_number=5, payload_types={96: 97}, packets=4)
    call.plane.keep(PICTURE, repeats)
    await call.scene.done()
    found = []
    for number in range(3):
        call.scene.right.send(bytes(RtpPacket(102, number, 9, 3, b"slice")))
        [packet] = await call.sees(1)
        call.plane.resend(PICTURE, [packet.sequence_number])
        found += asked_for(await call.sees(1))
        call.plane.keep(PICTURE, repeats)
        await call.scene.done()
    assert [number for _, number, *_ in found] == [5, 6, 7]
    call.plane.keep(PICTURE, Repeats(ssrc=OUR_VOICE, sequence_number=5, payload_types={96: 97}, packets=4))
    call.scene.right.send(bytes(RtpPacket(102, 3, 9, 3, b"slice")))
    [packet] = await call.sees(1)
    call.plane.resend(PICTURE, [packet.sequence_number])
    assert [number for _, number, *_ in asked_for(await call.sees(1))] == [8]
    call.plane.keep(PICTURE, None)
    call.plane.resend(PICTURE, [packet.sequence_number])
    call.scene.right.send(bytes(RtpPacket(102, 4, 9, 3, b"last")))
    assert [packet.payload for packet in await call.sees(1)] == [b"last"]
    call.plane.keep(PICTURE, repeats)
    await call.scene.done()
    call.scene.right.send(bytes(RtpPacket(102, 5, 9, 3, b"kept again")))
    [packet] = await call.sees(1)
    call.plane.resend(PICTURE, [packet.sequence_number])
    assert [number for _, number, *_ in asked_for(await call.sees(1))] == [9]


@pytest.mark.serial
async def test_retransmissions_have_a_limit_each_second(call: Call) -> None:
    """Whoever asks without end gets no more than 500."""
    call.plane.keep(PICTURE, Repeats(ssrc=AGAIN, sequence_number=5, payload_types={96: 97}, packets=4))
    await call.scene.done()
    call.scene.right.send(bytes(RtpPacket(102, 0, 9, 3, b"slice")))
    [packet] = await call.sees(1)
    for _ in range(30):
        call.plane.resend(PICTURE, [packet.sequence_number] * 50)
        await call.scene.done()
        call.browser.take()
    call.scene.right.send(bytes(RtpPacket(102, 1, 9, 3, b"last")))
    await call.scene.settle(RIGHT, 2)
    found: list[RtpPacket] = []
    while not found or found[-1].payload != b"last":
        found += await call.sees(1)
    assert 500 <= len(asked_for(found)) <= 1000


async def test_both_streams_follow_new_keys_and_a_new_address(call: Call) -> None:
    """The carrier's are the bundled one's too."""
    call.set_keys(key(CM, 3), key(CM, 4))
    call.keyed()
    call.browser.send(binding_check("ours:peer", "password" * 3))
    await call.scene.done()
    call.send(video(1))
    await call.scene.right.hears(1)
    call.scene.right.send(bytes(RtpPacket(102, 5, 9, 3, b"one")))
    assert [packet.payload for packet in await call.sees(1)] == [b"one"]
    moved = Phone()
    call.scene.phones.append(moved)
    moved.to = call.browser.to
    known = len(call.scene.handler.checks)
    moved.send(binding_check("ours:peer", "password" * 3))
    await until(lambda: any(source == moved.address for _, source, _ in call.scene.handler.checks[known:]))
    path = next(path for path, source, _ in call.scene.handler.checks[known:] if source == moved.address)
    call.plane.admit_pair(VOICE, path, moved.address)
    call.plane.select(VOICE, path, moved.address)
    await call.scene.done()
    call.browser, call.opened = moved, 0
    call.send(video(2))
    await call.scene.right.hears(2)
    call.scene.right.send(bytes(RtpPacket(102, 6, 9, 3, b"two")))
    assert [packet.payload for packet in await call.sees(1)] == [b"two"]


async def test_keys_that_are_dropped_silence_both_streams(call: Call) -> None:
    """Nothing of the picture leaves in the clear."""
    call.plane.drop_keys(VOICE)
    await call.scene.done()
    call.scene.right.send(bytes(RtpPacket(102, 5, 9, 3, b"secret")))
    call.scene.left.send(rtp(1, payload=b"secret"))
    await call.scene.settle(RIGHT, 1)
    await call.scene.settle(LEFT, 1)
    call.keyed()
    await call.scene.done()
    call.scene.right.send(bytes(RtpPacket(102, 6, 9, 3, b"after")))
    assert [packet.payload for packet in await call.sees(1)] == [b"after"]
    assert not any(b"secret" in data for data in call.browser.take())


async def test_no_two_streams_of_a_transport_send_as_one_source(call: Call) -> None:
    """Under one key its indices would come twice: a stream that is begun so is refused, and so is such a report."""
    call.plane.start_stream(PICTURE, OUR_VOICE, 900, 900, 90000)
    call.plane.send_rtcp(PICTURE, bytes(ReceiverReport(OUR_VOICE)))
    call.plane.send_rtcp(VOICE, bytes(ReceiverReport(OUR_PICTURE)))
    call.plane.send_rtcp(PICTURE, bytes(ReceiverReport(OUR_PICTURE)))
    await call.scene.done()
    call.scene.right.send(bytes(RtpPacket(102, 5, 9, 3, b"slice")))
    assert [(packet.ssrc, packet.sequence_number) for packet in await call.sees(1)] == [(OUR_PICTURE, 10)]
    reports = [data for data in call.browser.take() if 192 <= data[1] <= 223]
    assert [call.peer.unprotect_rtcp(data) for data in reports] == [bytes(ReceiverReport(OUR_PICTURE))]


async def test_a_closed_stream_leaves_the_other_and_closes_with_its_carrier(call: Call) -> None:
    """Its payload types are nobody's then; it may be opened again, under another source."""
    call.plane.close_flow(PICTURE)
    await call.scene.done()
    call.send(video(1))
    call.send(rtp(1, payload_type=111))
    await call.scene.left.hears(1)
    assert (await call.scene.figures(VOICE)).discarded == {"no_route": 1}
    call.plane.open_bundled(PICTURE, VOICE)
    call.plane.start_stream(PICTURE, 0x5004, 10, 10, 90000, ends_frames=True)
    call.plane.route(PICTURE, RIGHT, VIDEO)
    call.plane.route(RIGHT, PICTURE, BACK)
    call.plane.set_open(PICTURE, True)
    await call.scene.done()
    call.send(video(2))
    await call.scene.right.hears(1)
    call.scene.right.send(bytes(RtpPacket(102, 5, 9, 3, b"slice")))
    assert [packet.ssrc for packet in await call.sees(1)] == [0x5004]
    call.plane.close_flow(VOICE)
    assert await call.plane.snapshot([VOICE, PICTURE]) == {}


async def test_only_a_browsers_flow_carries_others_and_not_without_end(call: Call) -> None:
    """A phone's stream has ports of its own; an unknown carrier and a ninth stream are counted and ignored."""
    call.plane.open_bundled(30, LEFT)
    call.plane.open_bundled(31, 999)
    call.plane.open_bundled(32, PICTURE)
    for flow in range(40, 50):
        call.plane.open_bundled(flow, VOICE)
    opened = await call.plane.snapshot([30, 31, 32, *range(40, 50)])
    assert list(opened) == list(range(40, 47))
