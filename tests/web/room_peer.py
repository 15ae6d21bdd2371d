"""Members of rooms, over the WebSocket of the tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from gateway.web.app import WebServer


class Peer:
    """A client of either protocol."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def send(self, **message: Any) -> None:
        """Send one message."""
        await self.socket.send(json.dumps(message))

    async def next(self) -> Any:
        """The next message."""
        return json.loads(await asyncio.wait_for(self.socket.recv(), 30))

    async def ends(self) -> tuple[int, str]:
        """How the server closes the connection."""
        with pytest.raises(ConnectionClosed) as closed:
            await self.next()
        assert closed.value.rcvd is not None
        return closed.value.rcvd.code, closed.value.rcvd.reason


@contextlib.asynccontextmanager
async def joined(server: WebServer, path: str) -> AsyncIterator[Peer]:
    """A peer on that path."""
    async with connect(f"ws://127.0.0.1:{server.port}{path}", compression=None, open_timeout=30) as socket:
        yield Peer(socket)
