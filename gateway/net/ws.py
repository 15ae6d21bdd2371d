"""SIP over WebSocket (RFC 7118): a connection whose socket belongs to the web server."""

from __future__ import annotations

from collections.abc import Callable

from gateway.net.connections import Connections, StreamLimits
from gateway.sip.flow import Flow


class WebSocketConnection:
    """One browser's connection; made by `UserAgent.websocket`.

    The web server calls `received` for each WebSocket message, which holds exactly one SIP message (section 5),
    and `lost` once when the socket is gone; `write` and `shut` are its own ways to send and to close.
    """

    incoming = True

    def __init__(
        self,
        connections: Connections,
        flow: Flow,
        bound: tuple[str, int] | None,
        receive: Callable[[bytes, Flow], None],
        write: Callable[[bytes], None],
        shut: Callable[[], None],
        now: Callable[[], float],
    ) -> None:
        self.flow = flow
        self.bound = bound
        self._connections = connections
        self._receive = receive
        self._write = write
        self._shut = shut
        self._now = now
        self._heard = now()
        connections.add(self)

    def received(self, data: bytes | str) -> None:
        """One WebSocket message came."""
        self._heard = self._now()
        self._receive(data.encode("utf-8", "replace") if isinstance(data, str) else data, self.flow)

    def lost(self) -> None:
        """The socket is gone."""
        self._connections.remove(self)

    def send(self, data: bytes) -> None:
        """Send one SIP message."""
        self._write(data)

    def close(self) -> None:
        """Ask the web server to close the socket."""
        self._shut()

    def overdue(self, now: float, limits: StreamLimits) -> bool:
        """Whether nothing has come for too long."""
        return now - self._heard > limits.idle
