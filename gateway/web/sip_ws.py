"""SIP over WebSocket (RFC 7118): sockets that offer the subprotocol "sip"; their messages are the SIP side's."""

from __future__ import annotations

from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Match, WebSocketRoute
from starlette.types import ASGIApp, Scope
from starlette.websockets import WebSocket

from gateway.web.outbox import Close
from gateway.web.settings import WebSettings
from gateway.web.sockets import Socket, SocketGate

SUBPROTOCOL = "sip"
"""What both sides name in Sec-WebSocket-Protocol (RFC 7118 section 4)."""
PATHS = ("/sip", "/ws", "/")
"""Where clients look for it; a socket for the same path without the subprotocol is another front end's."""


class SipConnection(Protocol):
    """The SIP side of one socket."""

    def received(self, data: bytes | str) -> None:
        """One WebSocket message came: exactly one SIP message (RFC 7118 section 5)."""

    def lost(self) -> None:
        """The socket is gone."""


class SipSocket:
    """Accepted socket, as the SIP side drives it."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket

    def write(self, data: bytes) -> None:
        """Send one SIP message."""
        try:
            self._socket.outbox.send(data.decode())
        except UnicodeDecodeError:
            self._socket.outbox.send(data)

    def shut(self, code: int) -> None:
        """Close it with a code after what is queued."""
        self._socket.outbox.close(code)

    def proved(self) -> None:
        """Have it give way to nobody: its peer has shown who it is."""
        self._socket.hold(True)


class SipSide(Protocol):
    """Takes a socket into use; None beyond the limits."""

    def __call__(
        self, transport: str, peer: tuple[str, int], here: tuple[str, int] | None, socket: SipSocket
    ) -> SipConnection | None: ...


class _SipRoute(WebSocketRoute):
    """A path for those alone who offer the subprotocol."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if SUBPROTOCOL not in (scope.get("subprotocols") or ()):
            return Match.NONE, {}
        return super().matches(scope)


def create_routes(sip: SipSide, gate: SocketGate) -> list[BaseRoute]:
    """WS /sip, /ws and / for the subprotocol "sip"; the origin and the number of sockets are the gate's business."""

    async def serve(websocket: WebSocket) -> None:
        async with gate.entered(websocket, subprotocol=SUBPROTOCOL) as socket:
            if socket is None:
                return
            connection = sip(
                websocket.scope["scheme"],
                (socket.address, websocket.client.port if websocket.client else 0),
                _here(websocket),
                SipSocket(socket),
            )
            if connection is None:
                socket.outbox.close(Close.TRY_LATER, "too many connections")
                await socket.outbox.drain(websocket)
                return
            try:
                await socket.converse_unpaced(connection.received)
            finally:
                connection.lost()

    return [_SipRoute(path, serve) for path in PATHS]


def _here(websocket: WebSocket) -> tuple[str, int] | None:
    """Our own address as the connection came to it; None where the server does not know it."""
    host, port = websocket.scope.get("server") or ("", None)
    return (host, port) if host and port else None


def create_sip_app(sip: SipSide, settings: WebSettings) -> ASGIApp:
    """An application of nothing else, for a listener of SIP's own; `app.state.close_sockets()` as in `create_app`."""
    gate = SocketGate(settings)
    app: Any = Starlette(routes=create_routes(sip, gate))
    app.state.close_sockets = gate.close_all
    application: ASGIApp = app
    return application
