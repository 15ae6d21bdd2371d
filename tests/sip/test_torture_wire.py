"""RFC 4475 on the wire: each message over UDP and over TCP to real sockets, with the answer it is to get."""

from __future__ import annotations

import asyncio
import csv
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.net import Flow, IncomingSession, UserAgent
from gateway.net.tap import Direction
from gateway.sip.transactions.admission import AdmissionLimits
from gateway.sip.transactions.layer import StackConfig
from tests.net.peers import ANSWER, Application, Recorder, started

RFC4475 = Path(__file__).parents[1] / "data" / "rfc4475"

CLOSED = -1
"""The stream is closed, since the next message's place is lost; what can be answered is answered before."""
WAITS = -2
"""The stream waits for the rest of the body that was announced."""

UDP: dict[str, int | None] = {
    "wsinv": 481,
    "intmeth": 501,
    "esc01": 200,
    "escnull": 200,
    "esc02": 501,
    "lwsdisp": 200,
    "longreq": 200,
    "dblreq": 200,
    "semiuri": 200,
    "transports": 200,
    "mpart01": 405,
    "unreason": None,
    "noreason": None,
    "badinv01": 400,
    "clerr": 400,
    "ncl": 400,
    "scalar02": 400,
    "scalarlg": None,
    "quotbal": 400,
    "ltgtruri": 400,
    "lwsruri": 400,
    "lwsstart": 400,
    "trws": 400,
    "escruri": 400,
    "baddate": 200,
    "regbadct": 400,
    "badaspec": 400,
    "baddn": 400,
    "badvers": 505,
    "mismatch01": 400,
    "mismatch02": 400,
    "bigcode": None,
    "badbranch": 200,
    "insuf": 400,
    "unkscm": 416,
    "novelsc": 416,
    "unksm2": 200,
    "bext01": 420,
    "invut": 415,
    "regaut01": 200,
    "multi01": 400,
    "mcl01": 400,
    "bcast": None,
    "zeromf": 200,
    "cparam01": 200,
    "cparam02": 200,
    "regescrt": 200,
    "sdp01": 406,
    "inv2543": 200,
    "test": None,
}
"""Status of the first final answer over UDP, None for silence. The sockets belong to a user agent whose application
lets everybody in, answers calls, takes every REGISTER and has MESSAGE switched off (mpart01)."""

TCP: dict[str, int | tuple[int, ...] | None] = {
    **UDP,
    "clerr": WAITS,
    "ncl": (400, CLOSED),
    "mcl01": (400, CLOSED),
    # No Content-Length: lawful in a datagram, not in a stream (RFC 3261 18.3).
    "inv2543": (400, CLOSED),
    # The INVITE behind the REGISTER says less than its body has: where the next message begins is lost.
    "dblreq": CLOSED,
}
"""The same over TCP, where a message ends by its Content-Length."""


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


def rows() -> list[str]:
    with (RFC4475 / "EXPECT.tsv").open() as table:
        return [row["file"] for row in csv.DictReader(table, delimiter="\t")]


def test_every_row_of_the_table_has_its_answer() -> None:
    """No message of the corpus is left out, and the corpus is in the repository (finding T1)."""
    assert sorted(rows()) == sorted(UDP) == sorted(TCP) == sorted(path.stem for path in RFC4475.glob("*.dat"))


@pytest.mark.parametrize("name", UDP)
async def test_a_torture_message_over_udp_gets_its_answer(name: str) -> None:
    """The status that its section of RFC 4475 wants, or silence."""
    expected = UDP[name]
    assert (await over_udp((RFC4475 / f"{name}.dat").read_bytes()))[:1] == ([] if expected is None else [expected])


@pytest.mark.parametrize("name", TCP)
async def test_a_torture_message_over_tcp_gets_its_answer(name: str) -> None:
    """And the stream goes on behind it, unless its end cannot be told."""
    expected = TCP[name]
    wanted = [] if expected is None else list(expected) if isinstance(expected, tuple) else [expected]
    assert await over_tcp((RFC4475 / f"{name}.dat").read_bytes()) == wanted
