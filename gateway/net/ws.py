"""SIP over WebSocket (RFC 7118): connections accepted by the web server, and outgoing connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.typing import Subprotocol

from gateway.net.connections import Connection, Connections, StreamLimits
from gateway.net.dialer import Dialer
from gateway.net.tls import Tls
from gateway.sip.flow import Flow
from gateway.sip.invite.session import InviteSession
from gateway.sip.message.parser import KeepAlive

_SUBPROTOCOL = Subprotocol("sip")
_NORMAL, _SERVICE_RESTART = 1000, 1012
"""Close codes (RFC 6455 section 7.4.1 and its registry)."""
_PATH = "/ws"
"""Path of SIP servers, which a SIP URI cannot carry; PBXs and this gateway serve SIP there."""


class SocketOwner(Protocol):
    """Owner of a connection's socket: a web server or the dialer."""

    def write(self, data: bytes) -> None:
        """Send one SIP message."""

    def shut(self, code: int) -> None:
        """Close the socket with a close code (RFC 6455 section 7.4)."""

    def proved(self) -> None:
        """Keep the socket, because its peer has authenticated."""


class WebSocketConnection:
    """A WebSocket connection; a browser's is made by `UserAgent.websocket`.

    The socket's owner calls `received` for each WebSocket message, exactly one SIP message (section 5), and `lost` once
    at the end.
    """

    def __init__(
        self,
        connections: Connections,
        flow: Flow,
        bound: tuple[str, int] | None,
        receive: Callable[[bytes, Flow], None],
        socket: SocketOwner,
        now: Callable[[], float],
        *,
        incoming: bool = True,
    ) -> None:
        self.flow = flow
        self.incoming = incoming
        self.bound = bound
        self._connections = connections
        self._receive = receive
        self._socket = socket
        self._now = now
        self.heard = now()
        self.flow_timer = 0.0
        self.has_ponged = False
        self._pong_due = False
        connections.add(self)

    def received(self, data: bytes | str) -> None:
        """Process one WebSocket message."""
        self.heard = self._now()
        self._connections.heard(self.flow)
        self.has_ponged |= self._pong_due and len(data) == len(KeepAlive.PONG.value) and not data.strip()
        self._receive(data.encode("utf-8", "replace") if isinstance(data, str) else data, self.flow)

    def lost(self) -> None:
        """Forget the closed connection."""
        self._connections.remove(self)

    def send(self, data: bytes) -> None:
        """Send one SIP message."""
        self._socket.write(data)

    def serves(self, host: str) -> bool:
        """Return True for an outgoing connection to `host`; the handshake verified the certificate."""
        return not self.incoming and self.flow.name == host

    def ping(self) -> None:
        """Send a keep-alive (RFC 7118 section 6)."""
        self._pong_due = True
        self._socket.write(KeepAlive.PING.value)

    def stop_waiting(self) -> None:
        """Stop counting received data as a pong of an earlier keep-alive."""
        self._pong_due = False

    def close(self) -> None:
        """Ask the owner to close the socket."""
        self._socket.shut(_NORMAL)

    def send_away(self) -> None:
        """Close the connection with 1012, so that the client connects again, perhaps elsewhere."""
        self._socket.shut(_SERVICE_RESTART)

    def drop(self) -> None:
        """Close like `close`: the owner bounds the unsent data."""
        self._socket.shut(_NORMAL)

    def proved(self) -> None:
        """Ask the owner to keep the socket."""
        self._socket.proved()

    def overdue(self, now: float, limits: StreamLimits) -> bool:
        """Return True if the connection has been idle for too long."""
        return now - self.heard > limits.idle


def send_away_idle(connections: Iterable[Connection], sessions: Iterable[InviteSession]) -> None:
    """Close incoming WebSockets without any of these sessions, with 1012."""
    sessions = list(sessions)
    flows = [one.source for one in sessions]
    flows += [flow for one in sessions if one.dialog is not None and (flow := one.dialog.flow) is not None]
    used = {(flow.transport, flow.host, flow.port) for flow in flows}
    idle = [one for one in connections if (one.flow.transport, one.flow.host, one.flow.port) not in used]
    for one in idle:
        if isinstance(one, WebSocketConnection) and one.incoming:
            one.send_away()


class _Queue:
    """Messages waiting to be sent on a socket; a slow reader is cut off."""

    def __init__(self, socket: ClientConnection, limit: int) -> None:
        self._socket = socket
        self._limit = limit
        self._messages: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._waiting = 0

    def write(self, data: bytes) -> None:
        self._waiting += len(data)
        if self._waiting > self._limit:
            self._socket.transport.abort()
        else:
            self._messages.put_nowait(data)

    def shut(self, code: int) -> None:
        self._messages.put_nowait(None)

    def proved(self) -> None:
        """Do nothing: outgoing connections are never evicted."""

    async def send(self) -> None:
        """Send messages until `shut`."""
        while (data := await self._messages.get()) is not None:
            self._waiting -= len(data)
            await self._socket.send(data, text=True)


class WebSocketDialer(Dialer):
    """Connects to SIP servers over WebSocket ("ws", "wss")."""

    def __init__(
        self,
        connections: Connections,
        receive: Callable[[bytes, Flow], None],
        failed: Callable[[Flow], None],
        tls: Tls,
        largest: int,
    ) -> None:
        """`largest` is the largest accepted message in bytes."""
        super().__init__(connections, failed)
        self._receive = receive
        self._tls = tls
        self._largest = largest
        self._running: set[asyncio.Task[None]] = set()

    async def connect(self, flow: Flow) -> WebSocketConnection:
        name = flow.name or flow.host
        name = f"[{name}]" if ":" in name else name
        secure = flow.transport == "wss"
        try:
            socket = await connect(
                f"{flow.transport}://{name}:{flow.port}{_PATH}",
                host=flow.host,
                port=flow.port,
                subprotocols=[_SUBPROTOCOL],
                ssl=self._tls.client if secure else None,
                compression=None,
                max_size=self._largest,
                proxy=None,
            )
        except (WebSocketException, ValueError) as error:  # ValueError: redirect to a different place
            raise OSError(f"the handshake failed: {error}") from None
        if socket.subprotocol != _SUBPROTOCOL:
            await socket.close()
            raise OSError("the server does not speak SIP")
        return self._take(socket, flow)

    def _take(self, socket: ClientConnection, flow: Flow) -> WebSocketConnection:
        queue = _Queue(socket, self._connections.limits.backlog)
        own = Flow(flow.transport, flow.host, flow.port, self._connections.name(), flow.name, dialled=True)
        connection = WebSocketConnection(
            self._connections,
            own,
            None,
            self._receive,
            queue,
            asyncio.get_running_loop().time,
            incoming=False,
        )

        async def run() -> None:
            sender = asyncio.create_task(queue.send())
            sender.add_done_callback(lambda _: self._spawn(socket.close()))
            try:
                async for message in socket:
                    connection.received(message)
            except ConnectionClosed:
                pass
            finally:
                sender.cancel()
                await asyncio.gather(sender, return_exceptions=True)
                connection.lost()

        self._spawn(run())
        return connection

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def close(self) -> None:
        """Stop connecting and close open connections."""
        await super().close()
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
