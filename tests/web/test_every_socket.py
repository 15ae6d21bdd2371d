"""What holds at every WebSocket there is: a megabyte closes it, who does not read is dropped, others talk on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket as sockets
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import MagicMock

import pytest
from starlette.routing import BaseRoute, WebSocketRoute
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from gateway.web.app import WaysIn, WebServer, WebSettings, create_app, serve
from gateway.web.sip_ws import SUBPROTOCOL
from tests.rows import by_row
from tests.web.fake import FakeGateway

SETTINGS = WebSettings(open_rooms=True, send_queue_bytes=100_000)
NAMES = {"room_id": "r", "peer_id": "p", "name": "agent"}
_SOCKETS = [
    *(("/", None), ("/rpc", None), ("/rtc/signal?room=r", None), ("/webrtc/signaling/r/p", None)),
    *(("/api/agents/agent", None), ("/", SUBPROTOCOL), ("/sip", SUBPROTOCOL), ("/ws", SUBPROTOCOL)),
]


class Agents:
    """Admits every program but those that guess."""

    def admits(self, name: str, token: str) -> bool:
        return token != "guess"

    def connected(self, name: str, outbox: Any) -> Any:
        return MagicMock()


def application(settings: WebSettings = SETTINGS) -> Any:
    gateway = FakeGateway()
    gateway.conferencing.agents = Agents()  # type: ignore[assignment]
    return create_app(gateway, settings, WaysIn(sip=lambda *_: MagicMock()))


@contextlib.asynccontextmanager
async def running(settings: WebSettings = SETTINGS) -> AsyncIterator[WebServer]:
    server = await serve(application(settings), "127.0.0.1", 0, settings=settings)
    try:
        yield server
    finally:
        await server.stop()


def _websockets(routes: list[BaseRoute]) -> set[str]:
    found = {route.path.format(**NAMES) for route in routes if isinstance(route, WebSocketRoute)}
    for router in (getattr(route, "original_router", None) for route in routes):  # what FastAPI has included
        found |= _websockets(router.routes) if router is not None else set()
    return found


def test_no_socket_is_forgotten_here() -> None:
    """Whoever adds one has it tried."""
    assert _websockets(application().routes) == {path.partition("?")[0] for path, _ in _SOCKETS}


@by_row("message", ["x" * 1_000_000, b"x" * 1_000_000], ids=["text", "binary"])
@by_row(("path", "subprotocol"), _SOCKETS)
async def test_a_megabyte_closes_that_socket_alone(path: str, subprotocol: str | None, message: str | bytes) -> None:
    """1009 before it is all there; the neighbour at the same path is asked and answers."""
    offered = None if subprotocol is None else [Subprotocol(subprotocol)]
    headers = {"Authorization": "Bearer token"}
    async with running() as server:
        url = f"ws://127.0.0.1:{server.port}{path}"
        other = url.replace("/r/p", "/r/q")
        async with (
            connect(other, subprotocols=offered, additional_headers=headers) as neighbour,
            connect(url, subprotocols=offered, additional_headers=headers) as socket,
        ):
            with contextlib.suppress(ConnectionClosed):
                await socket.send(message)
            await asyncio.wait_for(socket.wait_closed(), 30)
            assert socket.close_code == 1009
            await asyncio.wait_for(await neighbour.ping(), 30)


async def _deaf(server: WebServer, path: str) -> sockets.socket:
    """A client that reads nothing after its handshake."""
    raw = sockets.socket()
    raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4_096)
    raw.connect(("127.0.0.1", server.port))
    raw.setblocking(False)
    request = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(raw, request.encode())
    assert b" 101 " in await loop.sock_recv(raw, 300)
    return raw


@pytest.mark.parametrize("form", ["/webrtc/signaling/r/{}", "/rtc/signal?room=r"])
async def test_a_peer_of_a_room_that_does_not_read_is_dropped(form: str) -> None:
    """Whoever writes to it is told that it has gone, and its own queue is all that was kept."""
    async with running() as server:
        with contextlib.closing(await _deaf(server, form.format("deaf"))):
            async with connect(f"ws://127.0.0.1:{server.port}{form.format('ann')}", max_queue=None) as ann:
                peers: list[str] = []
                while not peers:
                    told = json.loads(await asyncio.wait_for(ann.recv(), 30))
                    peers = [told["peer_id"]] if told["type"] == "peer_joined" else told.get("peers", [])
                sdp = "s" * 60_000
                offer: dict[str, Any] = {"type": "offer", "offer": {"type": "offer", "sdp": sdp}}
                if form.startswith("/rtc"):
                    offer = {"type": "offer", "sdp": sdp, "target": peers[0]}
                gone = asyncio.create_task(_left(ann))
                for _ in range(100):
                    if gone.done():
                        break
                    await ann.send(json.dumps(offer | {"target_peer_id": peers[0]}))
                    await asyncio.sleep(0)
                await asyncio.wait_for(gone, 30)


async def _left(socket: Any) -> None:
    while "left" not in json.loads(await socket.recv())["type"]:
        pass


async def test_a_program_guesses_no_faster_than_a_user() -> None:
    """After two wrong tokens not even the right one lets in."""

    async def tried(token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        try:
            async with connect(f"ws://127.0.0.1:{server.port}/api/agents/agent", additional_headers=headers):
                return 101
        except InvalidStatus as refused:
            return refused.response.status_code

    async with running(WebSettings(failure_burst=2, failures_per_second=0.0001)) as server:
        assert [await tried(token) for token in ("right", "guess", "guess", "right")] == [101, 401, 401, 401]
