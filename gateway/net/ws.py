"""SIP over WebSocket (RFC 7118): connections whose sockets belong to the web server, and those that we make."""

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
"""What servers serve SIP at where a URI cannot say it: PBXs at this or at any path, and so do we."""


class SocketOwner(Protocol):
    """The owner of the socket of a connection: a web server, or the dialler here."""

    def write(self, data: bytes) -> None:
        """Send one SIP message."""

    def shut(self, code: int) -> None:
        """Close the socket with a code (RFC 6455 section 7.4)."""

    def proved(self) -> None:
        """Keep the socket: its peer has shown who it is."""


class WebSocketConnection:
    """One connection; a browser's is made by `UserAgent.websocket`.

    The owner of the socket calls `received` for each WebSocket message, which holds exactly one SIP message (section
    5), and `lost` once when the socket is gone.
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
        """One WebSocket message came."""
        self.heard = self._now()
        self._connections.heard(self.flow)
        self.has_ponged |= self._pong_due and len(data) == len(KeepAlive.PONG.value) and not data.strip()
        self._receive(data.encode("utf-8", "replace") if isinstance(data, str) else data, self.flow)

    def lost(self) -> None:
        """The socket is gone."""
        self._connections.remove(self)

    def send(self, data: bytes) -> None:
        """Send one SIP message."""
        self._socket.write(data)

    def serves(self, host: str) -> bool:
        """Whether it is a connection of ours to `host`, whose certificate was verified."""
        return not self.incoming and self.flow.name == host

    def ping(self) -> None:
        """Send a keep-alive (RFC 7118 section 6)."""
        self._pong_due = True
        self._socket.write(KeepAlive.PING.value)

    def stop_waiting(self) -> None:
        """What comes from now on answers no keep-alive that was sent before."""
        self._pong_due = False

    def close(self) -> None:
        """Ask whoever has the socket to close it."""
        self._socket.shut(_NORMAL)

    def send_away(self) -> None:
        """Close it so that its client connects again, and perhaps elsewhere."""
        self._socket.shut(_SERVICE_RESTART)

    def drop(self) -> None:
        """As `close`; whoever has the socket bounds what waits for its reader."""
        self._socket.shut(_NORMAL)

    def proved(self) -> None:
        """Have whoever has the socket keep it."""
        self._socket.proved()

    def overdue(self, now: float, limits: StreamLimits) -> bool:
        """Whether nothing has come for too long."""
        return now - self.heard > limits.idle


def send_away_idle(connections: Iterable[Connection], sessions: Iterable[InviteSession]) -> None:
    """Of clients that have connected to us by WebSocket those that have none of these sessions."""
    sessions = list(sessions)
    flows = [one.source for one in sessions]
    flows += [flow for one in sessions if one.dialog is not None and (flow := one.dialog.flow) is not None]
    used = {(flow.transport, flow.host, flow.port) for flow in flows}
    idle = [one for one in connections if (one.flow.transport, one.flow.host, one.flow.port) not in used]
    for one in idle:
        if isinstance(one, WebSocketConnection) and one.incoming:
            one.send_away()


class _Queue:
    """Octets that wait to be sent by a socket; a reader that leaves too much unread is cut off."""

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
        """A socket of ours gives way to nobody."""

    async def send(self) -> None:
        """Send until it is shut."""
        while (data := await self._messages.get()) is not None:
            self._waiting -= len(data)
            await self._socket.send(data, text=True)


class WebSocketDialer(Dialer):
    """Connects to peers that are SIP servers over WebSocket ("ws", "wss")."""

    def __init__(
        self,
        connections: Connections,
        receive: Callable[[bytes, Flow], None],
        failed: Callable[[Flow], None],
        tls: Tls,
        largest: int,
    ) -> None:
        """`largest` is the size of a message, in bytes, that is still taken."""
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
        except (WebSocketException, ValueError) as error:  # ValueError: redirected to another place
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
        """Stop dialling, and close what is open."""
        await super().close()
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
