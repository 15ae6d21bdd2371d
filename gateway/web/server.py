"""uvicorn inside a loop that is already running: no signal handlers, real ports, hard limits."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Generator, Sequence
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from gateway.handshakes import Handshakes
from gateway.web.connections import ConnectionTable
from gateway.web.forwarded import ForwardedFor
from gateway.web.protocols import HttpProtocol, WebSocketProtocol
from gateway.web.settings import WebSettings

_STOP_SECONDS = 3
_BACKLOG = 1_024


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield  # signals belong to the process that runs the gateway, not to one of its front ends


class WebServer:
    """One web server on one address or several; made by `serve`."""

    def __init__(
        self,
        server: uvicorn.Server,
        listeners: Sequence[socket.socket],
        close_sockets: Callable[[], None],
        written: Callable[[], Awaitable[None]],
        handshakes: Handshakes | None = None,
    ) -> None:
        self._handshakes = handshakes
        self._server = server
        self._listeners = listeners
        self.close_sockets = close_sockets
        """Closes every WebSocket with 1001 and ends the HTTP sessions."""
        self._written = written
        self._task = asyncio.create_task(server.serve(sockets=list(listeners)))
        self.address: tuple[str, int] = listeners[0].getsockname()[:2]
        """Host and port it really listens on, the first ones."""

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
        """Close sockets with 1001, let answers under way finish for a moment, release the ports; idempotent."""
        self.close_sockets()
        await asyncio.sleep(0)
        self._server.should_exit = True
        if self._handshakes is not None:
            self._handshakes.close()
        await asyncio.wait([self._task])
        for listener in self._listeners:
            listener.close()
        await self._written()


async def _nothing_waits() -> None:
    """An application that keeps nothing in files."""


async def bind(host: str, port: int) -> socket.socket:
    """A socket for `serve` that takes connections to `host`:`port` (0: any free one). Raises OSError."""
    return await asyncio.to_thread(_bind, host, port)


def _bind(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.create_server((address[0], port), family=family, backlog=_BACKLOG)
    # asyncio sets it only on sockets made with an explicit protocol; without it every answer waits
    # 40 ms for the client's delayed ACK between its head and its body.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _handshakes(tls: ssl.SSLContext | None, settings: WebSettings) -> Handshakes | None:
    if tls is None:
        return None
    return Handshakes(tls, settings.max_connections, settings.max_connections_per_address, settings.request_timeout)


def _within(handshakes: Handshakes, protocol: type[asyncio.Protocol]) -> Any:
    """Return what uvicorn calls to make `protocol`, which then begins inside TLS."""
    return lambda **arguments: handshakes.incoming(partial(protocol, **arguments))


async def serve(
    app: ASGIApp,
    host: str,
    port: int,
    tls: ssl.SSLContext | None = None,
    settings: WebSettings | None = None,
    also: Sequence[socket.socket] = (),
) -> WebServer:
    """Listen on `host`:`port` (0: any free one) and serve `app` in the running loop.

    `tls` is a ready server context, or None for plain HTTP; `also` are further sockets of `bind`, alike in everything,
    counted by the same limits and closed with the server. Raises OSError when the address cannot be bound.
    """
    settings = settings or WebSettings()
    listener = await bind(host, port)
    table = ConnectionTable(settings.max_connections, settings.max_connections_per_address, settings.proxies)
    backlog = {"longest_backlog": settings.longest_backlog, "table": table}
    limits = {"head_seconds": settings.request_timeout, "table": table}
    handshakes = _handshakes(tls, settings)
    protocol = type("HttpProtocol", (HttpProtocol,), limits)
    config = uvicorn.Config(
        ForwardedFor(app, settings.proxies),
        ws=type("WebSocketProtocol", (WebSocketProtocol,), backlog),
        http=protocol if handshakes is None else _within(handshakes, protocol),
        proxy_headers=False,
        ws_max_size=settings.max_message,
        ws_per_message_deflate=False,
        ws_ping_interval=settings.ping_interval,
        ws_ping_timeout=settings.ping_timeout,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=_STOP_SECONDS,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
    )
    config.load()
    state = getattr(app, "state", None)
    close_sockets: Callable[[], None] = getattr(state, "close_sockets", lambda: None)
    written: Callable[[], Awaitable[None]] = getattr(state, "written", _nothing_waits)
    server = WebServer(_Server(config), (listener, *also), close_sockets, written, handshakes)
    await server.started()
    return server
