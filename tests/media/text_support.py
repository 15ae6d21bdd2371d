"""A phone with text: T.140 over RTP as RFC 4103 has it, written apart from the gateway's own, and no kinder."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterable
from typing import Any

from gateway.media.embedded.plane.packet import RtpPacket
from sdp import SessionDescription
from tests.media.engine_support import Phone, is_rtcp


class TextPhone(asyncio.DatagramProtocol):
    """Sends one character a packet with the two before it, and reads what comes the same way.

    What is missing for good is read as one U+FFFD (RFC 4103 section 5.4).
    """

    def __init__(
        self, t140: int = 98, red: int | None = 99, loses: Callable[[int], bool] = lambda number: False
    ) -> None:
        """`loses` says of the n-th packet, each way, whether the network loses it."""
        self.t140, self.red = t140, red
        self.voice = Phone()
        self.read = ""
        self.packets: list[RtpPacket] = []
        self.lost = 0
        self.typed_here: list[str] = []
        """What each packet on its way here was sent for, those that are lost among them."""
        self.remote: Any = None
        self.send_types: tuple[int, int | None] = (t140, red)
        self.loses = loses
        """Whether the network loses the n-th packet of a way."""
        self._came = self._went = 0
        self._number, self._timestamp = 65_530, 4_294_960_000
        self._said: list[tuple[int, bytes]] = []
        self._due: dict[int, int] = {}
        """Number of the next packet of each source."""
        self._transport: Any = None

    async def open(self) -> TextPhone:
        await self.voice.open()
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self.port: int = self._transport.get_extra_info("sockname")[1]
        return self

    async def close(self) -> None:
        self._transport.close()
        await self.voice.close()

    # Descriptions

    def section(self, *, port: int | None = None, lines: Iterable[str] = ()) -> list[str]:
        """The lines of its m=text."""
        t140, red = self.t140, self.red
        formats = f"{t140}" if red is None else f"{red} {t140}"
        said = [f"m=text {self.port if port is None else port} RTP/AVP {formats}", f"a=rtpmap:{t140} t140/1000"]
        if red is not None:
            said += [f"a=rtpmap:{red} red/1000", f"a=fmtp:{red} {t140}/{t140}/{t140}"]
        return [*said, *lines]

    def sdp(self, *, text: bool = True, refused: bool = False, lines: Iterable[str] = (), **kind: Any) -> str:
        """An offer or an answer; `refused` answers text with port 0."""
        extra = self.section(port=0 if refused else None, lines=lines) if text else []
        return self.voice.sdp(extra=extra, **kind)

    def take(self, sdp: str) -> None:
        """Send where this description says, as it numbers the formats."""
        self.voice.take(sdp)
        described = SessionDescription.parse(sdp)
        media = next(each for each in described.media if each.kind == "text")
        connection = described.connection_of(media)
        assert connection is not None
        self.remote = (connection.address, media.port)
        numbers = {value.split()[1].split("/")[0]: int(value.split()[0]) for value in media.values("rtpmap")}
        self.send_types = numbers["t140"], numbers.get("red") if self.red is not None else None

    # Text

    def type(self, text: str) -> None:
        """One character a packet, then two for the sake of redundancy alone."""
        for character in [*text, "", ""]:
            self._send(character.encode())

    def _send(self, block: bytes) -> None:
        t140, red = self.send_types
        payload, payload_type = block, t140
        if red is not None:
            heads = b"".join(
                struct.pack("!I", (0x80 | t140) << 24 | (self._timestamp - when & 0x3FFF) << 10 | len(said))
                for when, said in self._said
            )
            payload = heads + bytes([t140]) + b"".join(said for _, said in self._said) + block
            payload_type = red
        packet = RtpPacket(payload_type, self._number, self._timestamp & 0xFFFFFFFF, 0xABCD, payload, False)
        self._said = [*self._said, (self._timestamp, block)][-2:]
        self._number = self._number + 1 & 0xFFFF
        self._timestamp += 300
        self._went += 1
        if self.loses(self._went):
            self.lost += 1
        else:
            self._transport.sendto(bytes(packet), self.remote)

    def send_raw(self, packet: RtpPacket) -> None:
        self._transport.sendto(bytes(packet), self.remote)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if is_rtcp(data):
            return
        packet = RtpPacket.parse(data)
        blocks = self._blocks(packet)
        self.typed_here.append(blocks[-1].decode())
        self._came += 1
        if self.loses(self._came):
            self.lost += 1
            return
        self.packets.append(packet)
        self._take(packet, blocks)

    def _blocks(self, packet: RtpPacket) -> list[bytes]:
        """What a packet repeats, the oldest first, and what it is sent for."""
        if packet.payload_type == self.t140:
            return [packet.payload]
        assert packet.payload_type == self.red
        at, heads = 0, []
        while packet.payload[at] & 0x80:
            word = struct.unpack_from("!I", packet.payload, at)[0]
            assert word >> 24 & 0x7F == self.t140
            heads.append(word & 0x3FF)
            at += 4
        assert packet.payload[at] == self.t140
        at += 1
        blocks = []
        for length in heads:
            blocks.append(packet.payload[at : at + length])
            at += length
        return [*blocks, packet.payload[at:]]

    def _take(self, packet: RtpPacket, blocks: list[bytes]) -> None:
        """In the order of arrival: on loopback nothing overtakes."""
        due = self._due.get(packet.ssrc)
        new = len(blocks) if due is None else (packet.sequence_number - due & 0xFFFF) + 1
        if new > len(blocks):
            self.read += "\ufffd"
        self.read += b"".join(blocks[-new:]).decode()
        self._due[packet.ssrc] = packet.sequence_number + 1 & 0xFFFF
