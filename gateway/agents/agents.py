"""All agents: which program has the call to which name, where it is, and who may come in its place."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field

import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from gateway.agents.connection import POLICY, AgentConnection, Form, Link
from gateway.call.status import Cause
from gateway.legs.application import Session

log = structlog.get_logger(__name__)

CONNECT_SECONDS = 5.0
"""What an agent's server may take to let us in."""
MAX_MESSAGE = 65_536
"""Octets of one message."""
MAX_WAITING = 512
"""Messages that may wait for a program that reads slowly: ten seconds of sound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """One agent."""

    url: str | None = None
    """Where its program listens; None: it comes to us, with `token`."""
    token: str | None = None
    may_call: tuple[str, ...] = ()
    """Patterns of what it may pass its callers on to."""
    form: Form = field(default_factory=Form)


class Agents:
    """Calls to agents by their names, and the programs that wait for them."""

    def __init__(
        self, agents: Mapping[str, AgentSettings], clock: Callable[[], float], new_id: Callable[[], str]
    ) -> None:
        self._agents = dict(agents)
        self._clock = clock
        self._new_id = new_id
        self._waiting: dict[str, deque[AgentConnection]] = {name: deque() for name in self._agents}

    def may_call(self, name: str) -> tuple[str, ...]:
        """What the agent of that name may pass its callers on to."""
        found = self._agents.get(name)
        return found.may_call if found is not None else ()

    def admits(self, name: str, token: str) -> bool:
        """Whether who shows this token may take the calls of that agent."""
        found = self._agents.get(name)
        known = found.token if found is not None and found.url is None else None
        return hmac.compare_digest(token.encode(), (known or "").encode()) and bool(known)

    def connected(self, name: str, link: Link) -> AgentConnection:
        """A program that was admitted waits for its call."""
        waiting = self._waiting[name]
        for gone in [each for each in waiting if each.over]:
            waiting.remove(gone)
        connection = AgentConnection(link, self._agents[name].form, self._clock)
        waiting.append(connection)
        log.info("agent waits", agent=name, waiting=self.waiting(name))
        return connection

    def waiting(self, name: str) -> int:
        """How many programs wait for a call to that agent."""
        return sum(not each.over for each in self._waiting[name])

    async def attend(self, session: Session, name: str) -> None:
        """One call to the agent of that name, from its INVITE to its end."""
        settings = self._agents.get(name)
        await session.ring()
        async with contextlib.AsyncExitStack() as stack:
            try:
                connection = await stack.enter_async_context(self._reached(name, settings))
            except OSError as error:
                log.warning("agent not reached", agent=name, reason=str(error)[:200])
                await session.reject(Cause.UNAVAILABLE)
                return
            await session.answer()
            log.info("agent talks", agent=name, caller=session.caller.uri[:80])
            await connection.talk(session, self._new_id())

    @contextlib.asynccontextmanager
    async def _reached(self, name: str, settings: AgentSettings | None) -> AsyncIterator[AgentConnection]:
        """A program that has no call yet; raises OSError where there is none."""
        if settings is not None and settings.url is not None:
            async with _dialled(settings, settings.url, self._clock) as connection:
                yield connection
            return
        waiting = self._waiting.get(name, deque())
        while waiting:
            connection = waiting.popleft()
            if not connection.over:
                try:
                    yield connection
                finally:
                    connection.close(POLICY, "the caller has gone")
                return
        raise OSError("no program waits for its calls")


class _Outgoing:
    """`Link` of a connection of ours."""

    def __init__(self, socket: ClientConnection) -> None:
        self.failed: Callable[[], None] = lambda: None
        """Hears that too much waits."""
        self._socket = socket
        self._queue: deque[str | bytes] = deque()
        self._wake = asyncio.Event()
        self._closing: tuple[int, str] | None = None

    def send(self, message: str | bytes) -> None:
        if self._closing is not None:
            return
        if len(self._queue) >= MAX_WAITING:
            self._queue.clear()
            self.close(POLICY, "too slow")
            self.failed()
            return
        self._queue.append(message)
        self._wake.set()

    def close(self, code: int, reason: str) -> None:
        if self._closing is None:
            self._closing = code, reason
            self._wake.set()

    async def drain(self) -> None:
        """Send until it is closed."""
        while True:
            while self._queue:
                await self._socket.send(self._queue.popleft())
            if self._closing is not None:
                await self._socket.close(*self._closing)
                return
            self._wake.clear()
            await self._wake.wait()


@contextlib.asynccontextmanager
async def _dialled(settings: AgentSettings, url: str, clock: Callable[[], float]) -> AsyncIterator[AgentConnection]:
    """A connection of ours to a program's server; raises OSError."""
    headers = {"Authorization": f"Bearer {settings.token}"} if settings.token else {}
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            socket = await connect(url, additional_headers=headers, compression=None, max_size=MAX_MESSAGE, proxy=None)
    except (WebSocketException, ValueError, TimeoutError) as error:
        raise OSError(f"the handshake failed: {type(error).__name__}") from None
    link = _Outgoing(socket)
    connection = AgentConnection(link, settings.form, clock)
    link.failed = connection.lost

    async def hear() -> None:
        try:
            async for message in socket:
                connection.received(message)
        except ConnectionClosed:
            pass
        finally:
            connection.lost()

    async def write() -> None:
        try:
            await link.drain()
        except ConnectionClosed:
            pass
        finally:
            connection.lost()

    hearing, writing = asyncio.ensure_future(hear()), asyncio.ensure_future(write())
    try:
        yield connection
    finally:
        connection.close(POLICY, "the caller has gone")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_SECONDS):
                await writing
        hearing.cancel()
        writing.cancel()
        await asyncio.gather(hearing, writing, return_exceptions=True)
        socket.transport.abort()
