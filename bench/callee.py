"""The phones' end of many calls: one SIP socket that answers every INVITE at once, an RTP socket for each.

As small as sipp's built-in callee, so that what is measured is the gateway.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from typing import Any, Self

from sdp import SessionDescription

Socket = socket.socket


@dataclass(slots=True)
class PhoneCall:
    """What one call is for the phone."""

    socket: Socket
    rtcp: Socket
    """The port after the other: what the gateway reports there would come to whoever has it."""
    remote: tuple[str, int]
    """Where the gateway wants the phone's RTP."""
    payload_type: int
    """The first format of the gateway's offer that the phone has."""


@dataclass(slots=True)
class Callee(asyncio.DatagramProtocol):
    """Answers with `formats`, best first; calls are found by the number that was dialled."""

    formats: tuple[int, ...] = (0,)
    calls: dict[str, PhoneCall] = field(default_factory=dict)
    ended: int = 0
    _waiting: dict[str, asyncio.Event] = field(default_factory=dict)
    _transport: Any = None

    @classmethod
    async def open(cls, formats: tuple[int, ...] = (0,)) -> Self:
        """Listen on a free port of loopback."""
        callee = cls(formats)
        loop = asyncio.get_running_loop()
        raw = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        raw.bind(("127.0.0.1", 0))
        callee._transport, _ = await loop.create_datagram_endpoint(lambda: callee, sock=raw)
        return callee

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._transport.get_extra_info("sockname")[1]
        return port

    async def call(self, number: str) -> PhoneCall:
        """The call of that number once its ACK has come; raises TimeoutError after 20 s."""
        async with asyncio.timeout(20):
            await self._waiting.setdefault(number, asyncio.Event()).wait()
        return self.calls[number]

    def close(self) -> None:
        """Close every socket."""
        self._transport.close()
        for call in self.calls.values():
            call.socket.close()
            call.rtcp.close()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        method, _, rest = first.partition(" ")
        number = rest.partition(":")[2].partition("@")[0]
        if method == "INVITE":
            self._respond(number, lines, addr, self._answer(number, body))
        elif method == "ACK":
            self._waiting.setdefault(number, asyncio.Event()).set()
        elif method in ("BYE", "CANCEL", "OPTIONS", "UPDATE"):
            self.ended += method == "BYE"
            self._respond(number, lines, addr, "")

    def _answer(self, number: str, body: bytes) -> str:
        """The answer's SDP; the same for a retransmission."""
        call = self.calls.get(number)
        if call is None:
            offer = SessionDescription.parse(body)
            audio = offer.media[0]
            connection = offer.connection_of(audio)
            chosen = next((each for each in self.formats if str(each) in audio.formats), self.formats[0])
            rtp, rtcp = _pair()
            address = connection.address if connection is not None else "127.0.0.1"
            call = self.calls[number] = PhoneCall(rtp, rtcp, (address, audio.port), chosen)
        port = call.socket.getsockname()[1]
        return (
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            f"m=audio {port} RTP/AVP {call.payload_type}\r\na=sendrecv\r\n"
        )

    def _respond(self, number: str, lines: list[str], addr: Any, sdp: str) -> None:
        kept = [line for line in lines if line.partition(":")[0].lower() in _COPIED]
        kept = [line + ";tag=phone" if line.lower().startswith("to:") and "tag=" not in line else line for line in kept]
        kept.append(f"Contact: <sip:{number}@127.0.0.1:{self.port}>")
        if sdp:
            kept.append("Content-Type: application/sdp")
        text = "\r\n".join(["SIP/2.0 200 OK", *kept, f"Content-Length: {len(sdp)}", "", sdp])
        self._transport.sendto(text.encode(), addr)


def _pair() -> tuple[Socket, Socket]:
    """Sockets for RTP and, on the next port, RTCP (RFC 3550 section 11)."""
    while True:
        rtp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        rtcp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        rtp.bind(("127.0.0.1", 0))
        rtp.setblocking(False)
        try:
            rtcp.bind(("127.0.0.1", rtp.getsockname()[1] + 1))
        except (OSError, OverflowError):
            rtp.close()
            rtcp.close()
        else:
            return rtp, rtcp


_COPIED = frozenset({"via", "from", "to", "call-id", "cseq", "record-route"})
