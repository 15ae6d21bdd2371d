"""uvicorn inside a loop that is already running: no signal handlers, real ports, hard limits."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Generator
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn._types import ASGIReceiveEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from gateway.web.limits import TokenBucket
from gateway.web.outbox import ABORT_EXTENSION
from gateway.web.settings import WebSettings

_MAX_FRAGMENTS = 64
_MAX_UNREAD_PONGS = 262_144
_PINGS_PER_SECOND = 10.0
_PING_BURST = 50.0
_BITE = 2_048
_MAX_AFTER_CLOSE = 65_536
_MAX_HEAD = 32_768
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_STOP_SECONDS = 3
_BACKLOG = 1_024


class _WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket for strangers: small bites, a cap on fragments and on unread pongs, a way to drop it.

    One read can hold tens of thousands of tiny frames, a second's work: they are parsed a bite at a
    time, and not before the application has taken the messages of the bite before.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._backlog = bytearray()
        self._feeding = False
        self._after_close = 0
        self._pings = TokenBucket(_PINGS_PER_SECOND, _PING_BURST, _PING_BURST, self.loop.time())

    def data_received(self, data: bytes) -> None:
        if self.close_sent:
            self._after_close += len(data)
            if self._after_close > _MAX_AFTER_CLOSE:
                self.transport.abort()
                return
        self._backlog += data
        if not self._feeding:
            self._feed()

    def _feed(self) -> None:
        self._feeding = False
        bite = bytes(self._backlog[:_BITE])
        del self._backlog[:_BITE]
        super().data_received(bite)
        self._feed_later()

    def _feed_later(self) -> None:
        if self.transport.is_closing():
            self._backlog.clear()
        elif self._backlog:
            # Nothing more is read from the network meanwhile: what waits here stays below one read.
            self.transport.pause_reading()
            if not self._feeding and not self.read_paused:
                self._feeding = True
                self.loop.call_soon(self._feed)
        elif not self.read_paused:
            self.transport.resume_reading()

    async def receive(self) -> ASGIReceiveEvent:
        message = await super().receive()
        self._feed_later()
        return message

    async def run_asgi(self) -> None:
        extensions: dict[str, Any] = self.scope["extensions"]
        extensions[ABORT_EXTENSION] = self.transport.abort
        await super().run_asgi()

    def handle_cont(self, event: Frame) -> None:
        if self.close_sent:
            return
        if len(self.frames) >= _MAX_FRAGMENTS:
            self.conn.fail(1009, "too many fragments")
            self.queue.put_nowait({"type": "websocket.disconnect", "code": 1009})
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
            self.transport.close()
            return
        super().handle_cont(event)

    def handle_ping(self) -> None:
        unread = self.transport.get_write_buffer_size()
        if unread > _MAX_UNREAD_PONGS or not self._pings.take(self.loop.time()):
            self.transport.abort()
            return
        super().handle_ping()


class _HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP, with a limit on the size of a request's head and on the time it may take."""

    head_seconds = 10.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn's own
        super().connection_made(transport)
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_timer.cancel()
        super().connection_lost(exc)

    def _begin_head(self) -> None:
        self._in_head = True
        self._head_size = 0
        self._head_timer = self.loop.call_later(self.head_seconds, self.transport.abort)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._in_head:
            return
        self._head_size += len(data)
        if self._head_size > _MAX_HEAD:
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if not self._in_head:
            self._begin_head()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_timer.cancel()
        super().on_headers_complete()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield  # signals belong to the process that runs the gateway, not to one of its front ends


class WebServer:
    """One listening web server; made by `serve`."""

    def __init__(self, server: uvicorn.Server, listener: socket.socket, close_sockets: Callable[[], None]) -> None:
        self._server = server
        self._listener = listener
        self.close_sockets = close_sockets
        """Closes every WebSocket with 1001 and ends the HTTP sessions."""
        self._task = asyncio.create_task(server.serve(sockets=[listener]))
        self.address: tuple[str, int] = listener.getsockname()[:2]
        """Host and port it really listens on."""

    @property
    def port(self) -> int:
        """The port, also when port 0 was asked for."""
        return self.address[1]

    async def started(self) -> None:
        """Wait until connections are accepted; raises what went wrong instead."""
        while not self._server.started:
            if self._task.done():
                self._task.result()
                raise OSError("the web server did not start")
            await asyncio.sleep(0)

    async def stop(self) -> None:
        """Close sockets with 1001, let answers under way finish for a moment, release the port; idempotent."""
        self.close_sockets()
        await asyncio.sleep(0)
        self._server.should_exit = True
        await asyncio.wait([self._task])
        self._listener.close()


def _bind(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.create_server((address[0], port), family=family, backlog=_BACKLOG)
    # asyncio sets it only on sockets made with an explicit protocol; without it every answer waits
    # 40 ms for the client's delayed ACK between its head and its body.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


async def serve(
    app: ASGIApp, host: str, port: int, tls: ssl.SSLContext | None = None, settings: WebSettings | None = None
) -> WebServer:
    """Listen on `host`:`port` (0: any free one) and serve `app` in the running loop.

    `tls` is a ready server context, or None for plain HTTP. Raises OSError when the address cannot be bound.
    """
    settings = settings or WebSettings()
    listener = await asyncio.to_thread(_bind, host, port)
    config = uvicorn.Config(
        app,
        ws=_WebSocketProtocol,
        http=type("HttpProtocol", (_HttpProtocol,), {"head_seconds": settings.request_timeout}),
        ws_max_size=settings.max_message,
        ws_per_message_deflate=False,
        ws_ping_interval=settings.ping_interval,
        ws_ping_timeout=settings.ping_timeout,
        limit_concurrency=settings.max_connections + settings.max_sessions,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=_STOP_SECONDS,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
    )
    config.load()
    config.ssl = tls
    state = getattr(app, "state", None)
    close_sockets: Callable[[], None] = getattr(state, "close_sockets", lambda: None)
    server = WebServer(_Server(config), listener, close_sockets)
    await server.started()
    return server
