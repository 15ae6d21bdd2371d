"""One message to a real socket, and what comes back."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.identity.model import Binding
from gateway.net import Flow, IncomingSession, InviteSession, Refused, Reply, UserAgent, Verdict
from gateway.net.tap import Direction
from gateway.sip.auth.server import DigestServer
from gateway.sip.message.build import Refusal
from gateway.sip.message.message import Request
from gateway.sip.registration.registrar import RegistrarPolicy, decide
from gateway.sip.transactions.admission import AdmissionLimits
from gateway.sip.transactions.config import StackConfig
from tests.net.peers import ANSWER, Application, started

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


class Office(Application):
    """Answers calls, decides on every REGISTER, and asks for a digest where somebody shows other credentials."""

    def __init__(self) -> None:
        super().__init__()
        self.digest = DigestServer("gw", bytes(16), ("MD5",))

    def invited(self, session: InviteSession, identity: str | None) -> None:
        assert isinstance(session, IncomingSession)
        session.listen(lambda _: None)
        session.answer(ANSWER)

    async def authenticate(self, request: Request, source: Flow) -> Verdict:
        if not request.authorization or any(one.scheme == "Digest" for one in request.authorization):
            return self.verdict
        challenges = self.digest.challenges(0.0, source=source.host)
        return Refused(401, headers=tuple(("WWW-Authenticate", str(value)) for value in challenges))

    async def answer_register(self, request: Request, source: Flow, identity: str | None) -> Reply:
        changes = decide(request, [], RegistrarPolicy(), 0.0, make=Binding)
        return Reply(changes.status) if isinstance(changes, Refusal) else Reply(200)


@asynccontextmanager
async def server() -> AsyncIterator[UserAgent]:
    """A user agent on UDP and TCP for which this machine is proven, so that answers come whole."""
    stack = StackConfig(admission=AdmissionLimits(rate=0, trusted=("127.0.0.1", "::1")))
    agent = await started(Office(), listen_tcp=(("127.0.0.1", 0),), stack=stack, close_timeout=0.01)
    try:
        yield agent
    finally:
        await agent.close()


async def over_udp(data: bytes) -> list[int]:
    """The status codes of the answers to a datagram."""
    return statuses(await answers_over_udp(data))


async def answers_over_udp(data: bytes) -> bytes:
    """All that is sent for a datagram, wherever its Via has it go."""
    async with server() as agent:
        out = Out()
        agent.taps.add(out)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.connect(agent.listening[0][1:])
            sender.send(data)
            sender.send(marker("UDP"))
            async with asyncio.timeout(30):
                while not any(b"marker" in message for message in out.messages):
                    out.news.clear()
                    await out.news.wait()
        return b"".join(message for message in out.messages if b"marker" not in message)


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
