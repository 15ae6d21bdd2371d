"""The way out of a WebSocket: a bounded queue, one writer, and a socket dropped when its reader is too slow."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from enum import IntEnum
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from gateway.web.limits import TokenBucket
from gateway.web.settings import WebSettings

_FLUSH_SECONDS = 2.0
ABORT_EXTENSION = "gateway.abort"
"""ASGI scope extension: a callable that drops the connection without flushing (see `server`)."""
HOLD_EXTENSION = "gateway.hold"
"""ASGI scope extension: a callable that gets whether the connection gives way to nobody (`ConnectionTable`)."""


class Close(IntEnum):
    """WebSocket close codes (RFC 6455 section 7.4.1 and its registry)."""

    NORMAL = 1000
    GOING_AWAY = 1001
    UNSUPPORTED_DATA = 1003
    POLICY = 1008
    SERVICE_RESTART = 1012
    TRY_LATER = 1013


class Outbox:
    """What waits to be sent to one client; `send` never blocks and never raises."""

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._queue: deque[str | bytes] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self._closing: tuple[int, str] | None = None
        self.overflowed = asyncio.Event()

    def widen(self, messages: int) -> None:
        """Let so many messages more wait; fewer where negative."""
        self._max_messages += messages

    @property
    def closed(self) -> bool:
        """Whether nothing more will be sent."""
        return self._closing is not None

    @property
    def free_bytes(self) -> int:
        """How much may still wait."""
        return 0 if self.closed else self._max_bytes - self._bytes

    def send(self, message: str | bytes) -> None:
        """Queue one message, text or binary; beyond the limits the connection ends."""
        if self.closed:
            return
        if len(self._queue) >= self._max_messages or self._bytes + len(message) > self._max_bytes:
            self._queue.clear()
            self.close(Close.POLICY, "too slow")
            self.overflowed.set()
            return
        self._queue.append(message)
        self._bytes += len(message)
        self._wake.set()

    def close(self, code: int, reason: str = "") -> None:
        """Close the socket after what is queued; the first call decides."""
        if self._closing is None:
            self._closing = (code, reason)
            self._wake.set()

    async def drain(self, websocket: WebSocket) -> None:
        """Send until closed, then close the socket."""
        while True:
            while self._queue:
                message = self._queue.popleft()
                self._bytes -= len(message)
                if isinstance(message, str):
                    await websocket.send_text(message)
                else:
                    await websocket.send_bytes(message)
            if self._closing is not None:
                code, reason = self._closing
                await websocket.close(code, reason)
                return
            self._wake.clear()
            await self._wake.wait()


async def _read_all(websocket: WebSocket, outbox: Outbox, on_message: Callable[[str | bytes], None]) -> None:
    """Every message, text or binary; how many there may be is for whoever takes them to say."""
    while not outbox.closed:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return
        text = message.get("text")
        on_message(message.get("bytes", b"") if text is None else text)


class Line:
    """An accepted WebSocket: its client's address and outbox, and how many messages the client may send at once."""

    def __init__(self, websocket: WebSocket, settings: WebSettings) -> None:
        self.outbox = Outbox(settings.send_queue_messages, settings.send_queue_bytes)
        self.address = websocket.client.host if websocket.client else ""
        self._websocket = websocket
        self._per_peer = settings.messages_per_peer
        now = asyncio.get_running_loop().time()
        self._allowance = TokenBucket(settings.messages_per_second, settings.message_burst, settings.message_burst, now)

    def widen(self, peers: int) -> None:
        """Count so many more peers that the client signals with; fewer where negative.

        The allowance for each flows in at the rate: peers that come and go in a loop earn the client nothing.
        """
        self.outbox.widen(peers * self._per_peer)
        self._allowance.widen(peers * self._per_peer)

    def enter(self, peers: int) -> None:
        """Count the peers of a room that the client joins, and let it call all of them at once."""
        self.widen(peers)
        self._allowance.give(peers * self._per_peer)

    async def converse(self, on_text: Callable[[str], Awaitable[None]]) -> None:
        """Run until either side ends it: messages to `on_text` in order, the outbox to the client.

        Messages beyond the limits wait unread in the socket, which slows their sender.
        """
        await _run(self._websocket, self.outbox, self._read(on_text))

    async def converse_unpaced(self, on_message: Callable[[str | bytes], None]) -> None:
        """The same for a protocol that takes binary messages too and has limits of its own on their number."""
        await _run(self._websocket, self.outbox, _read_all(self._websocket, self.outbox, on_message))

    async def _read(self, on_text: Callable[[str], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        while not self.outbox.closed:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return None
            text = message.get("text")
            if text is None:
                return self.outbox.close(Close.UNSUPPORTED_DATA, "text only")
            pause = self._allowance.borrow(loop.time())
            if pause:
                await asyncio.sleep(pause)
            await on_text(text)
        return None


async def _run(websocket: WebSocket, outbox: Outbox, reading: Coroutine[Any, Any, None]) -> None:
    reader = asyncio.create_task(reading)
    writer = asyncio.create_task(outbox.drain(websocket))
    overflow = asyncio.create_task(outbox.overflowed.wait())
    tasks: list[asyncio.Task[object]] = [reader, writer, overflow]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if outbox.closed and not writer.done():
            # Its close frame (or the answer to the last message) may still be on the way.
            await asyncio.wait([writer], timeout=0 if outbox.overflowed.is_set() else _FLUSH_SECONDS)
        if not writer.done() and outbox.closed:
            abort(websocket)
    finally:
        outbox.close(Close.NORMAL)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception) and not isinstance(result, WebSocketDisconnect | RuntimeError):
            raise result


def abort(websocket: WebSocket) -> None:
    """Drop the connection at once, if the server offers a way."""
    drop = (websocket.scope.get("extensions") or {}).get(ABORT_EXTENSION)
    if drop is not None:
        drop()
