"""A phone of three plain RTP streams, voice, picture and text, that notes where the timestamps of each begin."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.embedded.plane.packet import RtpPacket
from gateway.media.embedded.timeline import Timeline
from gateway.media.engine import Party
from sdp import SessionDescription
from tests.media.engine_support import is_rtcp, until

RATES = {"audio": 8000, "video": 90_000, "text": 1000}
"""Hz."""
_FORMATS = {"audio": (0, "PCMU/8000"), "video": (97, "VP8/90000"), "text": (98, "t140/1000")}


class _Stream(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.transport: Any = None
        self.remote: tuple[str, int] = ("", 0)
        self.firsts: dict[int, int] = {}
        """First timestamp of each source."""

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if not is_rtcp(data):
            packet = RtpPacket.parse(data)
            self.firsts.setdefault(packet.ssrc, packet.timestamp)


class StreamPhone:
    """Sends a packet of each where the last description says, and begins with that of nobody again."""

    def __init__(self) -> None:
        self._streams = {kind: _Stream() for kind in RATES}
        self._number = 0

    async def open(self) -> StreamPhone:
        loop = asyncio.get_running_loop()
        for stream in self._streams.values():
            opening = loop.create_datagram_endpoint(lambda made=stream: made, local_addr=("127.0.0.1", 0))  # type: ignore[misc]
            stream.transport, _ = await opening
        return self

    def sdp(self) -> str:
        """An offer or an answer."""
        self._number += 1
        lines = ["v=0", f"o=phone 1 {self._number} IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0"]
        for kind, (number, name) in _FORMATS.items():
            port = self._streams[kind].transport.get_extra_info("sockname")[1]
            lines += [f"m={kind} {port} RTP/AVP {number}", f"a=rtpmap:{number} {name}"]
        return "".join(f"{line}\r\n" for line in lines)

    def take(self, sdp: str) -> None:
        """Send where this description says."""
        for media in SessionDescription.parse(sdp).media:
            assert media.port
            self._streams[media.kind].remote = ("127.0.0.1", media.port)

    def speak(self) -> None:
        """One packet of each stream."""
        self._number += 1
        for kind, stream in self._streams.items():
            packet = RtpPacket(_FORMATS[kind][0], self._number, self._number * RATES[kind] // 50, 7, b"\x10spoken")
            stream.transport.sendto(bytes(packet), stream.remote)

    def begun(self) -> dict[str, list[int]]:
        """The first timestamps of each source so far, oldest first."""
        return {kind: list(stream.firsts.values()) for kind, stream in self._streams.items()}

    async def __aenter__(self) -> StreamPhone:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        for stream in self._streams.values():
            stream.transport.close()


async def hear_each_other(one: StreamPhone, other: StreamPhone, sources: int) -> None:
    """Both have had so many sources of each stream, one after the other."""

    def heard() -> bool:
        one.speak()
        other.speak()
        return all(len(firsts) == sources for each in (one, other) for firsts in each.begun().values())

    await until(heard)


async def agree_anew(engine: EmbeddedEngine, phones: dict[Party, StreamPhone]) -> None:
    """Offer both sides of the call what was made anew, and join them."""
    (first, _), (second, _) = phones.items()
    for party, peer in ((first, second), (second, first)):
        phones[party].take(await engine.create_offer("call", party, peer))
        await engine.answer("call", party, None, phones[party].sdp())
    await engine.join("call", first.tag, second.tag)


def stepped(rate: int, *passed: float) -> list[float]:
    """What `steps` are of a stream of so many Hz that begins at 0 and again so many seconds after that."""
    line = Timeline(0, 0.0)
    return [(line.at(new, rate) - line.at(old, rate)) / rate for old, new in pairwise((0.0, *passed))]


def steps(phone: StreamPhone) -> dict[str, list[float]]:
    """Seconds, by the clock of each stream, between where one source began and where the next one did."""
    return {
        kind: [((new - old) & 0xFFFFFFFF) / RATES[kind] for old, new in pairwise(firsts)]
        for kind, firsts in phone.begun().items()
    }
