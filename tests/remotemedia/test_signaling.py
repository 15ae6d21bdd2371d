"""The signalling connection over losses: made anew with growing pauses, announced again, given up with a word."""

from __future__ import annotations

import asyncio
import contextlib
import http
import json
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from gateway.remotemedia import SignalingError, WebRtcTransport, WebRtcTransportConfig
from gateway.remotemedia.server import serve as webrtc_server


class SignalingServer:
    """Says yes to everything; refuses the next `refusals` connections."""

    def __init__(self) -> None:
        self.announced: asyncio.Queue[str] = asyncio.Queue()
        self.refusals = 0
        self.refused: list[float] = []
        """When each was, by the loop's clock (s)."""
        self.sockets: list[ServerConnection] = []

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Its URL."""
        async with serve(self._converse, "127.0.0.1", 0, process_request=self._admit) as server:
            yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"

    def _admit(self, socket: ServerConnection, _: Request) -> Response | None:
        if not self.refusals:
            return None
        self.refusals -= 1
        self.refused.append(asyncio.get_running_loop().time())
        return socket.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, "not now")

    async def _converse(self, socket: ServerConnection) -> None:
        self.sockets.append(socket)
        async for text in socket:
            asked = json.loads(text)
            await socket.send(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": {}}))
            if asked["method"] == "announce":
                self.announced.put_nowait(asked["params"]["peer_id"])


def settings(url: str, tries: int) -> WebRtcTransportConfig:
    """Short pauses."""
    return WebRtcTransportConfig(signaling_url=url, peer_id="one", reconnect_tries=tries, reconnect_delay=0.05)


async def test_a_lost_connection_is_made_anew_and_announced_each_time() -> None:
    """After tries that fail as well, with pauses that double; the next loss begins with the first pause."""
    server = SignalingServer()
    async with asyncio.timeout(30), server.running() as url:
        transport = WebRtcTransport(settings(url, 4))
        await transport.start()
        assert await server.announced.get() == "one"
        for _ in range(2):
            server.refusals = 3
            server.refused.clear()
            await server.sockets[-1].close()
            assert await server.announced.get() == "one"
            first, second, third = server.refused
            assert second - first >= 0.1
            assert third - second >= 0.2
        await transport.stop()


async def test_the_command_ends_with_a_sentence_where_signalling_does_not_come_back() -> None:
    """After the tries that are configured: nobody could call it any more."""
    server = SignalingServer()
    async with asyncio.timeout(30), server.running() as url:
        running = asyncio.create_task(webrtc_server(settings(url, 2), asyncio.Event()))
        await server.announced.get()
        server.refusals = 3
        await server.sockets[-1].close()
        with pytest.raises(SignalingError, match="does not come back"):
            await running
        assert server.refusals == 1


async def test_the_command_ends_when_it_is_told_to() -> None:
    """Without an error, also while signalling is away."""
    server, stopped = SignalingServer(), asyncio.Event()
    async with asyncio.timeout(30), server.running() as url:
        running = asyncio.create_task(webrtc_server(settings(url, 1_000), stopped))
        await server.announced.get()
        server.refusals = 1_000
        await server.sockets[-1].close()
        while not server.refused:  # noqa: ASYNC110  # the handshake tells nobody
            await asyncio.sleep(0)
        stopped.set()
        await running
