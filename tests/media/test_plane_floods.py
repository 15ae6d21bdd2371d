"""What a stranger sends to a phone's ports, however much, on every packet plane."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.media.embedded.plane.rtcp import ReceiverReport
from gateway.media.embedded.plane.values import FlowConfig
from tests.media.engine_support import until
from tests.media.plane_scene import LEFT, PLANES, Phone, Scene, made_plane, numbers, rtp
from tests.media.webrtc_support import binding_check

pytestmark = pytest.mark.serial

BURST = 200
"""Datagrams between two packets of the phone: the kernel's least buffer of a socket holds 277."""
LATE = 0.1
"""Seconds. Read one a millisecond, a burst takes twice as long."""
KINDS = {
    "rtp": rtp(9, ssrc=9, payload=bytes(160)),
    "stun": binding_check("ours:peer", "password" * 3),
    "dtls": b"\x16\xfe\xfd" + bytes(100),
    "rtcp": bytes(ReceiverReport(9)),
}


@pytest_asyncio.fixture(params=PLANES)
async def scene(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Scene]:
    """Every plane there is."""
    async with Scene(made_plane(request.param, tmp_path)) as made:
        made.plane.configure_flow(LEFT, FlowConfig(max_packets_per_second=500))
        await made.done()
        yield made


def stranger_of(scene: Scene, port: int) -> Phone:
    """A socket that nobody named, and sends to the left phone's RTP port (0) or RTCP port (1)."""
    made = Phone("127.0.0.2")
    scene.phones.append(made)
    made.to = scene.left.to[0], scene.left.to[1] + port
    return made


@pytest.mark.parametrize("kind", KINDS)
async def test_what_strangers_send_delays_no_packet_of_a_phone(scene: Scene, kind: str) -> None:
    """Ten bursts on its RTP port: each packet behind one comes at once, and none is lost."""
    stranger, delays = stranger_of(scene, 0), list[float]()
    for number in range(10):
        for _ in range(BURST):
            stranger.send(KINDS[kind])
        scene.left.send(rtp(number))
        sent = time.monotonic()
        await scene.right.hears(number + 1)
        delays.append(time.monotonic() - sent)
    assert numbers(scene.right.heard) == list(range(10))
    assert max(delays) < LATE
    figures = await scene.figures(LEFT)
    assert (figures.lost, sum(figures.discarded.values())) == (0, 10 * BURST)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_strangers_send_delays_no_report_of_a_phone(scene: Scene, kind: str) -> None:
    """The same on its RTCP port."""
    stranger, apart, delays = stranger_of(scene, 1), Phone(), list[float]()
    scene.phones.append(apart)
    apart.to = stranger.to
    scene.plane.set_destination(LEFT, scene.left.address, apart.address)
    await scene.done()
    for number in range(10):
        report = LEFT, apart.address, bytes(ReceiverReport(100 + number))
        for _ in range(BURST):
            stranger.send(KINDS[kind])
        apart.send(report[2])
        sent = time.monotonic()
        await until(lambda report=report: report in scene.handler.compounds)
        delays.append(time.monotonic() - sent)
    assert max(delays) < LATE
