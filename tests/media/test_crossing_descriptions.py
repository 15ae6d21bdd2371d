"""What a plane learned by one description, and tells when the next one has come already."""

from __future__ import annotations

import itertools
import time
from ipaddress import ip_address
from pathlib import Path
from random import Random

import pytest

from gateway.media.embedded.plane.python import PythonPlane
from gateway.media.embedded.plane.values import Address
from gateway.media.embedded.rtp.leg import Endpoint, RtpLeg
from gateway.media.embedded.rtp.ports import PortPool
from tests.media.hosts import at
from tests.media.plane_scene import PLANES, RIGHT, Phone, Scene, made_plane, native, rtp
from tests.media.plane_support import Handler
from tests.media.rtp_support import ManualClock, ManualReactor
from tests.media.webrtc_support import finished

OLD, NEW = at("192.0.2.1", 4000), at("192.0.2.1", 4002)
PATIENCE = 30.0
"""Seconds until a test gives up."""


def endpoint(address: Address) -> Endpoint:
    """A peer's address as its description is read."""
    return ip_address(address[0]), address[1]


class Listener(Handler):
    """Brings what is learned to a leg."""

    def __init__(self) -> None:
        super().__init__()
        self.leg: RtpLeg | None = None

    def source_learned(self, flow: int, source: Address, description: int | None, now: float) -> None:
        super().source_learned(flow, source, description, now)
        if self.leg is not None and flow == self.leg.flow:
            self.leg.source_learned(source, description, now)


@pytest.fixture
def leg() -> RtpLeg:
    """A leg whose flow the plane never hears anything on: what is learned is told by hand."""
    clock = ManualClock()
    plane = PythonPlane(ManualReactor(clock), clock)
    finished(plane.start(Handler()))
    pool = PortPool("127.0.0.1", 0, 0, random=Random(1), clock=clock)
    return RtpLeg(plane, pool, ids=itertools.count(1).__next__, clock=clock)


def test_a_source_of_the_description_before_moves_nothing(leg: RtpLeg) -> None:
    """Neither once, nor where the phone has moved back to the address that it was learned by."""
    leg.set_remote(endpoint(OLD), None)
    leg.source_learned(OLD, 1, 0.0)
    leg.set_remote(endpoint(NEW), None)
    leg.source_learned(OLD, 1, 0.0)
    assert leg.remote_address == NEW
    leg.source_learned(at("192.0.2.9", 4000), 1, 0.0)
    leg.set_remote(endpoint(OLD), None)
    leg.source_learned(at("192.0.2.9", 4000), 1, 0.0)
    leg.source_learned(NEW, 2, 0.0)
    assert leg.remote_address == OLD
    assert not leg.learned


def test_a_description_that_names_the_same_address_keeps_what_was_learned(leg: RtpLeg) -> None:
    """A refresh is no move: what the plane has learned before it, and tells after it, counts."""
    leg.set_remote(endpoint(OLD), None)
    leg.set_remote(endpoint(OLD), None)
    leg.source_learned(NEW, 1, 0.0)
    assert leg.remote_address == NEW


def test_a_plane_that_tells_no_descriptions_is_believed(leg: RtpLeg) -> None:
    """Version 1 of the messages."""
    leg.set_remote(endpoint(OLD), None)
    leg.source_learned(NEW, None, 0.0)
    assert leg.remote_address == NEW


@pytest.mark.parametrize("name", PLANES)
async def test_the_plane_tells_by_which_description_it_learned(name: str, tmp_path: Path) -> None:
    """The number comes back with the source; another number alone forgets the source."""
    told: list[tuple[int, Address, int | None]] = []

    class Numbers(Handler):
        def source_learned(self, flow: int, source: Address, description: int | None, now: float) -> None:
            told.append((flow, source, description))

    scene = Scene(made_plane(name, tmp_path))
    scene.handler = Numbers()
    try:
        await scene.open()
        for number in (7, 8, 8):
            scene.plane.expect(RIGHT, scene.right.address, number)
            await scene.done()
            scene.right.send(rtp(number))
            await scene.settle(RIGHT, number - 6)
        assert told == [(RIGHT, scene.right.address, 7), (RIGHT, scene.right.address, 8)]
    finally:
        await scene.close()


@pytest.mark.wall
async def test_a_phone_that_moves_while_its_old_source_is_told_of_is_sent_to_at_once(tmp_path: Path) -> None:
    """The plane has learned the old address, the gateway reads that after it has named the new one."""
    listener = Listener()
    scene = Scene(native(tmp_path))
    scene.handler = listener
    old, new = Phone(), Phone()
    scene.phones += [old, new]
    try:
        await scene.open()
        pool = PortPool("127.0.0.1", 0, 0, random=Random(1), clock=time.monotonic)
        ids = itertools.count(11)
        leg = listener.leg = RtpLeg(scene.plane, pool, ids=ids.__next__, clock=time.monotonic)
        await leg.open()
        scene.plane.start_stream(leg.flow, 0xABC, 1, 160, 8000)
        scene.plane.set_open(leg.flow, True)
        leg.set_remote(endpoint(old.address), None)
        scene.join(leg.flow, RIGHT)
        scene.join(RIGHT, leg.flow)
        await scene.done()

        # From here to the next description our loop reads nothing of the plane.
        old.to = at("127.0.0.1", leg.port)
        old.send(rtp(1))
        scene.right.socket.settimeout(PATIENCE)
        assert scene.right.socket.recv(2048)
        scene.right.socket.setblocking(False)
        leg.set_remote(endpoint(new.address), None)

        # Twice: what the leg says to what it reads by then is done, too.
        await scene.done()
        await scene.done()
        assert leg.remote_address == new.address
        assert (await scene.figures(leg.flow)).destination == new.address
        scene.right.send(rtp(1))
        await new.hears(1)
        assert old.take() == []
        leg.close()
    finally:
        await scene.close()
