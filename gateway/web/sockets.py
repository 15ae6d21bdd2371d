"""The authenticator every WebSocket passes: Origin, how many are open, and a tidy end when the gateway stops."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.responses import JSONResponse
from starlette.websockets import WebSocket

from gateway.web.auth.authenticator import client_address, is_passed_on
from gateway.web.auth.origins import origin_allowed
from gateway.web.limits import SourceCounter
from gateway.web.outbox import HOLD_EXTENSION, Close, Line, Outbox
from gateway.web.settings import WebSettings


class Socket(Line):
    """One accepted WebSocket, and its client's address."""

    def __init__(self, websocket: WebSocket, address: str, settings: WebSettings) -> None:
        super().__init__(websocket, settings)
        self.address = address
        self.passed_on = is_passed_on(websocket)
        """By a proxy, named in the settings or not."""
        extensions = websocket.scope.get("extensions") or {}
        self._hold: Callable[[bool], None] = extensions.get(HOLD_EXTENSION, _held_by_nobody)

    def hold(self, holds: bool) -> None:
        """Keep the connection from giving way to newcomers, or no longer: its peer is known, or has a call."""
        self._hold(holds)


def _held_by_nobody(holds: bool) -> None:
    """Another server than ours bounds its connections by itself."""


class SocketGate:
    """Accepts or refuses; remembers who is inside. How many there are in all is for the server to bound."""

    def __init__(self, settings: WebSettings) -> None:
        self._settings = settings
        self._counter = SourceCounter(settings.max_connections_per_address)
        self._outboxes: set[Outbox] = set()

    def __len__(self) -> int:
        return len(self._outboxes)

    @asynccontextmanager
    async def entered(
        self,
        websocket: WebSocket,
        allowed: Callable[[WebSocket], Awaitable[bool]] | None = None,
        subprotocol: str = "bearer",
        *,
        for_pages: bool = True,
    ) -> AsyncIterator[Socket | None]:
        """Accept the socket, or answer its handshake 401 (not `allowed`), 403 or 503 and give None.

        `subprotocol` is the one that is spoken where the client offers it. Not `for_pages`: programs come here, which
        name no origin.
        """
        address = client_address(websocket)
        if not origin_allowed(websocket, self._settings, needed=for_pages):
            await _refuse(websocket, 403, "This origin may not connect.")
            yield None
            return
        if allowed is not None and not await allowed(websocket):
            await _refuse(websocket, 401, "Sign in first.")
            yield None
            return
        if not self._counter.enter(address):
            await _refuse(websocket, 503, "Too many connections.")
            yield None
            return
        socket = Socket(websocket, address, self._settings)
        self._outboxes.add(socket.outbox)
        try:
            # RFC 6455 section 4.2.2: a subprotocol that was asked for is one of those offered, or none.
            offered = websocket.scope.get("subprotocols") or []
            await websocket.accept(subprotocol=subprotocol if subprotocol in offered else None)
            if allowed is not None:
                socket.hold(True)
            yield socket
        finally:
            self._outboxes.discard(socket.outbox)
            self._counter.leave(address)

    def close_all(self) -> None:
        """The gateway stops: every socket is closed with 1001."""
        for outbox in list(self._outboxes):
            outbox.close(Close.GOING_AWAY, "the gateway stops")


async def _refuse(websocket: WebSocket, status: int, reason: str) -> None:
    if "websocket.http.response" in (websocket.scope.get("extensions") or {}):
        await websocket.send_denial_response(JSONResponse({"error": reason, "code": status}, status))
    else:
        await websocket.close()
