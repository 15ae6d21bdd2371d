"""A phone that begins its stream again under the same SSRC, a little behind (RFC 3550 appendix A.1); both planes."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest

from gateway.media.embedded.plane.srtp import SendContext
from gateway.media.embedded.plane.values import FlowConfig
from tests.media.plane_scene import CM, GCM, LEFT, Scene, rtp
from tests.media.plane_scene import key as key_of

FIRST, HIGHEST = 65_480, 65_480 + 110
"""Numbers of the run before, over the wrap."""


def named(numbers: Iterable[int], began: int) -> list[bytes]:
    """Packets of these numbers, 20 ms apart from the timestamp `began` on, each with its number for a payload."""
    numbers = list(numbers)
    return [
        rtp(number, stamp=began + 160 * (number - numbers[0]), payload=b"%05d %d" % (number, began))
        for number in numbers
    ]


@pytest.mark.parametrize("back", [6, 20, 60, 99])
@pytest.mark.parametrize(
    ("began", "lost"), [(160 * (FIRST + 112), 1), (1 << 31, 1), (None, 4)], ids=["goes on", "anew", "the same"]
)
async def test_a_stream_that_begins_again_a_little_behind_is_heard(
    scene: Scene, back: int, began: int | None, lost: int
) -> None:
    """From its second packet on; from its fifth where its timestamps repeat too, since those may be copies."""
    before = named(range(FIRST, HIGHEST), 160 * FIRST)
    first = HIGHEST - back
    after = named(range(first, first + 30), 160 * first if began is None else began)
    for packet in before + after:
        scene.left.send(packet)
    heard = await scene.right.hears(len(before) + 30 - lost)
    assert [packet.payload for packet in heard] == [packet[12:] for packet in before + after[lost:]]
    assert {(b.sequence_number - a.sequence_number) & 0xFFFF for a, b in pairwise(heard)} == {1}
    assert all((b.timestamp - a.timestamp) & 0xFFFFFFFF < 1 << 31 for a, b in pairwise(heard))
    assert [number for number, packet in enumerate(heard) if packet.marker] == [0, len(before)]
    assert dict((await scene.figures(LEFT)).discarded) == {"misordered": lost}


async def test_copies_and_late_packets_begin_no_run(scene: Scene) -> None:
    """A few copies are dropped, as are those of what came late, which finds its place."""
    order = [1, 2, 2, 3, 1, 4, 8, 5, 6, 7, 6, 9, 6, 7, 8, 9, 10]
    for packet in (named([number], 160 * number)[0] for number in order):
        scene.left.send(packet)
    heard = await scene.right.hears(10)
    assert [int(packet.payload[:5]) for packet in heard] == [1, 2, 3, 4, 8, 5, 6, 7, 9, 10]
    assert {flow for flow, _, _ in scene.handler.runs} == {LEFT}
    assert len(scene.handler.runs) == 1


async def test_srtp_that_begins_again_is_heard_under_another_key_alone(scene: Scene) -> None:
    """Under the same key its packets are replays (RFC 3711 section 3.3.2) until its numbers pass the highest."""
    scene.plane.configure_flow(LEFT, FlowConfig(secure=True, max_packets_per_second=100_000))
    scene.plane.set_receive_key(LEFT, key_of(GCM, 1))
    await scene.done()
    before, after = named(range(100), 0), named(range(60, 110), 16_000)
    for packets in (before, after):
        phone = SendContext(key_of(GCM, 1), {})
        for packet in packets:
            scene.left.send(phone.protect(packet))
    heard = await scene.right.hears(110)
    assert [packet.payload for packet in heard] == [packet[12:] for packet in before + after[40:]]
    assert dict((await scene.figures(LEFT)).discarded) == {"replay": 40}
    scene.plane.set_receive_key(LEFT, key_of(CM, 2))
    await scene.done()
    phone, after = SendContext(key_of(CM, 2), {}), named(range(60, 110), 1 << 20)
    for packet in after:
        scene.left.send(phone.protect(packet))
    heard = await scene.right.hears(110 + 49)
    assert [packet.payload for packet in heard[110:]] == [packet[12:] for packet in after[1:]]
