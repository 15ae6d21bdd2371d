"""RFC 4475 and 5118 at the whole gateway: what strangers are told, and what a trunk that is known by its address is.

The user agent alone, whose application lets everybody in, gives the answers of tests/sip/test_torture_wire.py.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.app import GatewayApp
from gateway.net.tap import Direction
from gateway.sip.flow import Flow
from tests.interop.gateway import config_on_free_ports
from tests.ports import free_ports
from tests.sip.ipv6_messages import MESSAGES
from tests.sip.wire import CLOSED, WAITS, marker, statuses

RFC4475 = Path(__file__).parents[1] / "data" / "rfc4475"
STRANGER, TRUNK = 45, 44
SIDES = (("stranger", STRANGER), ("trunk", TRUNK))
"""Networks of loopback; the second is the trunk's. Each message has an address of its own, so that no answer is taken
for another's."""

CALL, OTHER = (401, 200), (401, 501)
"""What a stranger is told, then a trunk: a call, which the trunk's is answered by the echo; an unknown method."""
CALL6 = (401, 488)
"""A call whose media is at an IPv6 address, while this gateway's media is IPv4 alone."""
REGISTER = (401, 401)
"""Trunks do not register here; they are challenged like anybody."""
SILENT = (None, None)
BAD = (400, 400)
"""Told to everybody: it costs the gateway nothing, and is no longer than the message."""

UDP: dict[str, tuple[int | None, int | None]] = {
    "wsinv": (481, 481),
    "intmeth": OTHER,
    "esc01": CALL,
    "escnull": REGISTER,
    "esc02": OTHER,
    "lwsdisp": (200, 200),  # OPTIONS is for everybody, in short form
    "longreq": CALL,
    "dblreq": REGISTER,
    "semiuri": (200, 200),
    "transports": (200, 200),
    "mpart01": (401, 415),
    "unreason": SILENT,
    "noreason": SILENT,
    "badinv01": BAD,
    "clerr": BAD,
    "ncl": BAD,
    "scalar02": BAD,
    "scalarlg": SILENT,
    "quotbal": CALL,
    "ltgtruri": BAD,
    "lwsruri": BAD,
    "lwsstart": BAD,
    "trws": BAD,
    "escruri": BAD,
    "baddate": CALL,
    "regbadct": REGISTER,  # its Contact is looked at once it is known who registers
    "badaspec": BAD,
    "baddn": BAD,  # its empty line is missing
    "badvers": (505, 505),
    "mismatch01": BAD,
    "mismatch02": BAD,
    "bigcode": SILENT,
    "badbranch": (200, 200),
    "insuf": BAD,
    "unkscm": (416, 416),
    "novelsc": (416, 416),
    "unksm2": (None, 401),  # a challenge is longer than this message, and a stranger is sent no more than it sent
    "bext01": (420, 420),
    "invut": (401, 415),
    "regaut01": REGISTER,
    "multi01": BAD,
    "mcl01": BAD,
    "bcast": SILENT,
    "zeromf": (200, 200),
    "cparam01": REGISTER,
    "cparam02": REGISTER,
    "regescrt": REGISTER,
    "sdp01": (401, 406),
    "inv2543": CALL,
    "test": SILENT,
    "4.1 a reference in brackets": (None, 401),  # as unksm2
    "4.2 without brackets": BAD,
    "4.3 5070 is part of the address": REGISTER,
    "4.4 5070 is the port": REGISTER,
    "4.5 received in brackets": (200, 200),
    "4.5 received without": (200, 200),
    "4.6 SDP with an address": CALL6,
    "4.7 both families in the headers": (200, 200),
    "4.8 both families in the SDP": CALL6,
    "4.9 addresses mapped from IPv4": CALL6,
    "4.10 three colons": (200, 200),
}
"""Status of the first final answer to a stranger and to the trunk, None for silence."""

TCP: dict[str, tuple[list[int], list[int]]] = {
    "clerr": ([WAITS], [WAITS]),
    "baddn": ([200], [200]),
    "ncl": ([400, CLOSED], [400, CLOSED]),
    "mcl01": ([400, CLOSED], [400, CLOSED]),
    "inv2543": ([400, CLOSED], [400, CLOSED]),
    # In a stream the octets behind the first request are a second one, and what is behind that is none.
    "dblreq": ([401, 401, CLOSED], [401, 400, CLOSED]),
    # A connection proves the address, so that a challenge may be longer than what it answers.
    "unksm2": ([401], [401]),
    "4.1 a reference in brackets": ([401], [401]),
}
"""Where a stream differs."""

HEADERS = {401: b"\r\nWWW-Authenticate: Digest ", 405: b"\r\nAllow: ", 415: b"\r\nAccept: ", 420: b"\r\nUnsupported: "}
"""What an answer has to bring so that the peer can do better."""


def message(name: str) -> bytes:
    """The message on the wire; those of RFC 5118, which are all one call, told apart by their names."""
    if name in MESSAGES:
        data = MESSAGES[name][0]
        number = str(list(MESSAGES).index(name)).encode()
        return data.replace(b"SSG9559905523997077@", b"S%s@" % number).replace(b"as3-111", b"as3-%s" % number)
    return (RFC4475 / f"{name}.dat").read_bytes()


class Answers:
    """A tap that keeps what goes out, by the address it goes to."""

    def __init__(self) -> None:
        self.sent: dict[str, list[bytes]] = {}
        self.news = asyncio.Event()

    def message(self, direction: Direction, data: bytes, flow: Flow, time: float) -> None:
        if direction is Direction.OUT:
            self.sent.setdefault(flow.host, []).append(data)
            self.news.set()


class Bench:
    """A gateway with a trunk known by its network, whose every number leads to the echo."""

    def __init__(self, app: GatewayApp) -> None:
        host, _, port = app.sip_hostport.rpartition(":")
        self.place = (host, int(port))
        self.answers = Answers()
        app._user_agent.taps.add(self.answers)
        self._numbers = itertools.count(1)

    def address(self, network: int) -> str:
        number = next(self._numbers)
        return f"127.{network}.{number // 200}.{number % 200 + 1}"

    async def over_udp(self, data: bytes, network: int, expected: int | None) -> list[bytes]:
        """The responses to a datagram, wherever its Via has them go."""
        source = self.address(network)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind((source, 0))
            sender.connect(self.place)
            sender.send(data)
            # Long enough that a stranger, too, is sent its challenge.
            sender.send(marker("UDP").replace(b"CSeq:", b"Subject: " + b"x" * 300 + b"\r\nCSeq:"))
            async with asyncio.timeout(30):
                while not self._is_done(source, expected):
                    self.answers.news.clear()
                    await self.answers.news.wait()
        return [one for one in self.answers.sent[source] if b"marker" not in one and one.startswith(b"SIP/2.0")]

    def _is_done(self, source: str, expected: int | None) -> bool:
        sent = self.answers.sent.get(source, [])
        return any(b"marker" in one for one in sent) and (expected is None or statuses(b"".join(sent)) != [])

    async def over_tcp(self, data: bytes, network: int, expected: list[int]) -> list[int]:
        """The responses on the connection, and how it ended before all that is expected had come."""
        reader, writer = await asyncio.open_connection(*self.place, local_addr=(self.address(network), 0))
        writer.write(data if b"\r\n\r\n" in data else data + b"\r\n")
        writer.write(marker("TCP"))
        got = b""
        try:
            async with asyncio.timeout(0.3 if WAITS in expected else 2):
                while b"marker" not in got or len(statuses(got)) < len(expected):
                    more = await reader.read(65_536)
                    if not more:
                        return [*statuses(got), CLOSED]
                    got += more
        except TimeoutError:
            return [*statuses(got), WAITS]
        finally:
            writer.close()
        return statuses(got)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def benches(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, Bench]]:
    """One gateway for each transport and side: the same message twice would be a retransmission."""
    async with AsyncExitStack() as stack:
        made = {}
        for name in ("udp stranger", "udp trunk", "tcp stranger", "tcp trunk"):
            (port,) = free_ports(1)
            trunk = {"name": "pbx", "uri": "sip:127.0.0.99:5099", "sources": [f"127.{TRUNK}.0.0/16"]}
            config = config_on_free_ports(
                tmp_path_factory.mktemp("torture"),
                SIP__LISTEN=f"{name[:3]}:127.0.0.1:{port}",
                SIP__LIMITS__REQUESTS_PER_SECOND="10000",
                # Many of its messages are new calls: a busy machine would have most of them wait.
                LIMITS__LOAD="0",
                TRUNKS=json.dumps([trunk]),
                ROUTES=json.dumps([{"match": match, "to": "service:echo"} for match in ("*", "sip:*@*", "sips:*@*")]),
            )
            app = GatewayApp(config)
            stack.push_async_callback(app.stop)
            await app.start()
            made[name] = Bench(app)
        yield made


def test_every_message_has_its_answers() -> None:
    """The corpus of RFC 4475 and all of RFC 5118; nothing is left out."""
    assert sorted(UDP) == sorted([*(path.stem for path in RFC4475.glob("*.dat")), *MESSAGES])
    assert set(TCP) < set(UDP)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_datagram_gets_its_answer(benches: dict[str, Bench], subtests: pytest.Subtests) -> None:
    """The one of the table, with the header that says more; to a stranger no octet more than it sent."""
    for name, (side, network) in itertools.product(UDP, SIDES):
        with subtests.test(f"{name}-{side}"):
            expected = UDP[name][side == "trunk"]
            data = message(name)
            got = await benches[f"udp {side}"].over_udp(data, network, expected)
            finals = [one for one in got if statuses(one) and statuses(one)[0] >= 200]
            assert [statuses(one)[0] for one in finals][:1] == ([] if expected is None else [expected])
            if expected in HEADERS:
                assert HEADERS[expected] in finals[0].replace(b":Digest", b": Digest")
            if side == "stranger":
                assert sum(map(len, got)) <= len(data)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_message_of_a_stream_gets_its_answer(benches: dict[str, Bench], subtests: pytest.Subtests) -> None:
    """And the stream goes on behind it, unless its end cannot be told."""
    for name, (side, network) in itertools.product(UDP, SIDES):
        with subtests.test(f"{name}-{side}"):
            index = int(side == "trunk")
            wanted = TCP[name][index] if name in TCP else [each for each in UDP[name][index : index + 1] if each]
            assert await benches[f"tcp {side}"].over_tcp(message(name), network, wanted) == wanted
