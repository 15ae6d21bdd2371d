"""A browser with voice and picture on one transport of a plane, and two phones that get them."""

from __future__ import annotations

from gateway.media.embedded.plane.packet import RtpPacket
from gateway.media.embedded.plane.srtp import SrtpKey
from gateway.media.embedded.plane.values import Action, FlowConfig, Route
from tests.media.engine_support import until
from tests.media.plane_scene import GCM, LEFT, RIGHT, Phone, Scene, key
from tests.media.plane_support import forward
from tests.media.srtp_pair import SrtpSession
from tests.media.webrtc_support import binding_check

SHARED, VOICE, PICTURE = 9, 10, 11
OUR_VOICE, OUR_PICTURE, AGAIN = 0x5001, 0x5002, 0x5003
VIDEO = {96: forward(90000, 102), 97: Route(action=Action.UNWRAP, payload_type=102)}
BACK = {102: forward(90000, 96)}


class Call:
    """A browser with voice and picture on one transport; LEFT is the phone's voice, RIGHT its picture."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.plane = scene, scene.plane
        self.browser = Phone()
        scene.phones.append(self.browser)
        self.set_keys(key(GCM, 1), key(GCM, 2))

    def set_keys(self, ours: SrtpKey, theirs: SrtpKey) -> None:
        self.ours, self.theirs = ours, theirs
        self.peer = SrtpSession(theirs, ours)
        self.opened = len(self.browser.received)

    async def open(self) -> Call:
        plane, browser = self.plane, self.browser
        [bound] = await plane.open_shared(SHARED, ["127.0.0.1"], 0, receive_buffer=1 << 20, send_buffer=1 << 20)
        browser.to = bound.address
        plane.open_flow(VOICE, SHARED, FlowConfig(secure=True, mux=True, max_packets_per_second=100_000))
        plane.start_stream(VOICE, OUR_VOICE, 1, 1, 48000)
        await self.scene.done()
        browser.send(binding_check("ours:peer", "password" * 3))
        await until(lambda: self.scene.handler.checks)
        path = self.scene.handler.checks[0][0]
        plane.admit_pair(VOICE, path, browser.address)
        plane.select(VOICE, path, browser.address)
        self.keyed()
        plane.route(VOICE, LEFT, {111: forward(48000, 96)})
        plane.route(LEFT, VOICE, {0: forward(8000, 0)})
        plane.set_open(VOICE, True)
        self.picture()
        await self.scene.done()
        return self

    def keyed(self) -> None:
        self.plane.set_receive_key(VOICE, self.theirs)
        self.plane.set_send_key(VOICE, self.ours)

    def picture(self) -> None:
        """Open the second stream, after the first has its keys."""
        plane = self.plane
        plane.open_bundled(PICTURE, VOICE)
        plane.start_stream(PICTURE, OUR_PICTURE, 10, 10, 90000, ends_frames=True)
        plane.start_stream(RIGHT, 0x7777, 500, 500, 90000, ends_frames=True)
        plane.route(PICTURE, RIGHT, VIDEO)
        plane.route(RIGHT, PICTURE, BACK)
        plane.set_open(PICTURE, True)

    def send(self, packet: bytes) -> None:
        self.browser.send(self.peer.protect(packet))

    async def opens(self, count: int) -> list[bytes]:
        """RTP packets that the browser could open under the present keys, so many at least."""
        found: list[bytes] = []

        def look() -> bool:
            received = self.browser.take()
            while self.opened < len(received):
                data = received[self.opened]
                self.opened += 1
                if data[0] >> 6 == 2 and not 192 <= data[1] <= 223 and (plain := self.peer.unprotect(data)):
                    found.append(plain)
            return len(found) >= count

        await until(look)
        return found

    async def sees(self, count: int) -> list[RtpPacket]:
        """The same, as values."""
        return [RtpPacket.parse(data) for data in await self.opens(count)]


def video(number: int, payload: bytes = b"slice", *, stamp: int = 0, marker: bool = False, ssrc: int = 20) -> bytes:
    return bytes(RtpPacket(96, number & 0xFFFF, stamp, ssrc, payload, marker))


def extended(packet: bytes, elements: bytes, profile: int = 0xBEDE) -> bytes:
    """An RTP packet with a header extension (RFC 8285) of these octets, filled up to whole words."""
    elements += bytes(-len(elements) % 4)
    head = bytes((packet[0] | 0x10,)) + packet[1:12]
    return head + profile.to_bytes(2, "big") + (len(elements) // 4).to_bytes(2, "big") + elements + packet[12:]
