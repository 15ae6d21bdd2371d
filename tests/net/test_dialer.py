"""Connections that we make: what becomes of what waits for them."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from gateway.net.connections import Connection, Connections, StreamLimits
from gateway.net.dialer import Dialer
from gateway.net.tls import Tls, TlsFiles
from gateway.net.ws import WebSocketDialer
from gateway.sip.flow import Flow
from tests.net.certificates import Authority
from tests.rows import by_row


class Failures:
    """The flows that nothing could be sent to."""

    def __init__(self) -> None:
        self.flows: asyncio.Queue[Flow] = asyncio.Queue()

    async def next(self) -> Flow:
        return await asyncio.wait_for(self.flows.get(), 30)


def websockets_of(failures: Failures, files: TlsFiles | None = None) -> WebSocketDialer:
    connections = Connections(StreamLimits(), lambda flow: None)
    return WebSocketDialer(
        connections, lambda data, flow: None, failures.flows.put_nowait, Tls(files or TlsFiles()), 65_536
    )


@by_row("elsewhere", ["ws://127.0.0.2:9/ws", "http://127.0.0.2/", "wss://127.0.0.2:9/", "nonsense"])
async def test_a_server_that_redirects_elsewhere_is_none_each_time_it_is_asked(elsewhere: str) -> None:
    """What waits for the connection fails, and so does what comes after it."""
    asked: list[str] = []

    def redirect(connection: ServerConnection, request: Request) -> Response:
        asked.append(request.path)
        response = connection.respond(HTTPStatus.FOUND, "")
        response.headers["Location"] = elsewhere
        return response

    async def nothing(socket: ServerConnection) -> None:
        """Nobody comes so far."""

    failures = Failures()
    dialer = websockets_of(failures)
    async with serve(nothing, "127.0.0.1", 0, process_request=redirect) as server:
        flow = Flow("ws", "127.0.0.1", next(iter(server.sockets)).getsockname()[1])
        for count in (1, 2):
            dialer.send(b"hello", flow)
            assert await failures.next() == flow
            assert len(asked) >= count
    await dialer.close()


async def test_a_connection_that_fails_as_nobody_foresaw_gives_its_place_back() -> None:
    """Whoever waits is told, and the next message dials anew."""
    dialled: list[Flow] = []

    class Broken(Dialer):
        async def connect(self, flow: Flow) -> Connection:
            dialled.append(flow)
            raise LookupError("a mistake")

    failures = Failures()
    dialer = Broken(Connections(StreamLimits(), lambda flow: None), failures.flows.put_nowait)
    flow = Flow("tcp", "127.0.0.1", 9)
    for _ in range(2):
        dialer.send(b"hello", flow)
        assert await failures.next() == flow
    assert dialled == [flow, flow]


@pytest.mark.parametrize("first", ["ws", "wss"])
async def test_what_is_to_be_encrypted_does_not_wait_for_a_plain_connection(first: str, tmp_path: Path) -> None:
    """Both to one place at once: only the one that the server speaks brings anything."""
    authority = Authority(tmp_path)
    came: asyncio.Queue[str | bytes] = asyncio.Queue()

    async def take(socket: ServerConnection) -> None:
        async for message in socket:
            came.put_nowait(message)

    failures = Failures()
    dialer = websockets_of(failures, authority.files("127.0.0.1"))
    async with serve(take, "127.0.0.1", 0, subprotocols=[Subprotocol("sip")]) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        second = "wss" if first == "ws" else "ws"
        for transport in (first, second):
            dialer.send(transport.encode(), Flow(transport, "127.0.0.1", port))
        assert await failures.next() == Flow("wss", "127.0.0.1", port)
        assert await asyncio.wait_for(came.get(), 30) == "ws"
        assert came.empty()
        await dialer.close()
