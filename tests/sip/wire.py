"""One message to a real socket, and what comes back."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.net import Flow, IncomingSession, UserAgent
from gateway.net.tap import Direction
from gateway.sip.transactions.admission import AdmissionLimits
from gateway.sip.transactions.layer import StackConfig
from tests.net.peers import ANSWER, Application, Recorder, started

CLOSED = -1
"""The stream is closed, since the next message's place is lost; what can be answered is answered before."""


WAITS = -2
"""The stream waits for the rest of the body that was announced."""


class Out:
    """A tap that keeps what goes out."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.news = asyncio.Event()

    def message(self, direction: Direction, data: bytes, flow: Flow, time: float) -> None:
        if direction is Direction.OUT:
            self.messages.append(data)
            self.news.set()


def marker(transport: str) -> bytes:
    """A query whose answer, which takes the longest way, says that everything before it has been dealt with."""
    return (
        f"REGISTER sip:gw SIP/2.0\r\nVia: SIP/2.0/{transport} 127.0.0.1:9;rport;branch=z9hG4bKmarker\r\n"
        "From: <sip:a@b>;tag=x\r\nTo: <sip:gw>\r\nCall-ID: marker\r\nCSeq: 1 REGISTER\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def statuses(data: bytes) -> list[int]:
    """Status codes of the answers in `data`, the marker's left out."""
    heads = re.split(rb"(?=SIP/2\.0 [1-6][0-9][0-9] )", data)
    return [int(head[8:11]) for head in heads if head.startswith(b"SIP/2.0 ") and b"marker" not in head]


@asynccontextmanager
async def server() -> AsyncIterator[UserAgent]:
    """A user agent on UDP and TCP for which this machine is proven, so that answers come whole."""
    stack = StackConfig(admission=AdmissionLimits(rate=0, trusted=("127.0.0.1", "::1")))

    def on_call(session: IncomingSession, _: Recorder) -> None:
        session.answer(ANSWER)

    application = Application(on_call)
    agent = await started(application, listen_tcp=(("127.0.0.1", 0),), stack=stack, close_timeout=0.01)
    try:
        yield agent
    finally:
        await agent.close()


async def over_udp(data: bytes) -> list[int]:
    """The final answers to a datagram, wherever its Via has them go."""
    async with server() as agent:
        out = Out()
        agent.taps.add(out)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.connect(agent.listening[0][1:])
            sender.send(data)
            sender.send(marker("UDP"))
            async with asyncio.timeout(10):
                while not any(b"marker" in message for message in out.messages):
                    out.news.clear()
                    await out.news.wait()
        return statuses(b"".join(out.messages))


async def over_tcp(data: bytes) -> list[int]:
    """The final answers on the connection, and how it ended before the marker was answered, if it did."""
    async with server() as agent:
        reader, writer = await asyncio.open_connection(*agent.listening[1][1:])
        # Two files end without the empty line, which in a datagram its end stands for.
        writer.write(data if b"\r\n\r\n" in data else data + b"\r\n")
        writer.write(marker("TCP"))
        got = b""
        try:
            async with asyncio.timeout(0.7):
                while b"marker" not in got:
                    more = await reader.read(65_536)
                    if not more:
                        return [*statuses(got), CLOSED]
                    got += more
        except TimeoutError:
            return [*statuses(got), WAITS]
        finally:
            writer.close()
        return statuses(got)
