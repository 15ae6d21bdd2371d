"""TLS of incoming connections, bounded from their accept on: what is in a handshake is in no other table yet."""

from __future__ import annotations

import asyncio
import ssl
import types
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from typing import Any, TypeVar, cast

from gateway.sources import source_of

T = TypeVar("T")

_SHARE = 4
"""Part of all connections that may be in a handshake: one in so many."""


class Handshakes:
    """Handshakes of one server; above the bound the one that began first gives way to a newcomer."""

    def __init__(self, context: ssl.SSLContext, most: int, most_per_source: int, seconds: float) -> None:
        """`most` and `most_per_source` bound whole connections; `seconds` bound each handshake."""
        self.context = context
        self.seconds = seconds
        self._most = max(1, most // _SHARE)
        self._most_per_source = most_per_source
        self._begun: OrderedDict[_Opening, str] = OrderedDict()
        self._sources: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._begun)

    def incoming(self, make: Callable[[], asyncio.Protocol]) -> asyncio.Protocol:
        """Return the protocol of a new connection; `make` gives the one that it has inside TLS."""
        return _Opening(self, make)

    def enter(self, opening: _Opening, host: str) -> bool:
        """Count a handshake; False when its source has its share of them."""
        source = source_of(host)
        if self._sources[source] >= self._most_per_source:
            return False
        if len(self._begun) >= self._most:
            next(iter(self._begun)).drop()
        self._begun[opening] = source
        self._sources[source] += 1
        return True

    def leave(self, opening: _Opening) -> None:
        """Forget a handshake; idempotent."""
        source = self._begun.pop(opening, None)
        if source is not None:
            self._sources[source] -= 1
            if not self._sources[source]:
                del self._sources[source]

    def close(self) -> None:
        """Drop all that have not ended."""
        for opening in tuple(self._begun):
            opening.drop()


class _Opening(asyncio.Protocol):
    """A connection from its accept to the end of its handshake."""

    def __init__(self, handshakes: Handshakes, make: Callable[[], asyncio.Protocol]) -> None:
        self._handshakes = handshakes
        self._make = make
        self._transport: asyncio.Transport
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        name = transport.get_extra_info("peername")
        if name is None or not self._handshakes.enter(self, name[0]):
            self._transport.abort()
            return
        loop, handshakes, held = asyncio.get_running_loop(), self._handshakes, _Held()
        securing = loop.start_tls(
            self._transport, held, handshakes.context, server_side=True, ssl_handshake_timeout=handshakes.seconds
        )
        # Its first step now: a ClientHello that is there already is read before a task has its first turn (uvloop).
        waits_for = securing.send(None)
        self._task = loop.create_task(self._secure(_begun(securing, waits_for), held))

    def connection_lost(self, exc: Exception | None) -> None:
        self._handshakes.leave(self)

    def drop(self) -> None:
        """End the connection."""
        self._handshakes.leave(self)
        if self._task is not None:
            self._task.cancel()
        self._transport.abort()

    async def _secure(self, securing: Awaitable[asyncio.Transport | None], held: _Held) -> None:
        try:
            secure = await securing
        except (OSError, ssl.SSLError):
            self._transport.abort()
        else:
            if secure is not None:
                held.go_on(secure, self._make())
        finally:
            self._handshakes.leave(self)


@types.coroutine
def _begun(securing: Coroutine[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    """Go on with a coroutine that has begun, and waits for that future."""
    while True:
        try:
            sent = yield waits_for
        except BaseException as error:
            step = partial(securing.throw, error)
        else:
            step = partial(securing.send, sent)
        try:
            waits_for = step()
        except StopIteration as end:
            return cast(T, end.value)


class _Held(asyncio.Protocol):
    """Octets that arrive inside TLS before their own protocol has the connection."""

    def __init__(self) -> None:
        self._data = b""
        self._is_over = False

    def data_received(self, data: bytes) -> None:
        self._data += data

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_over = True

    def go_on(self, secure: asyncio.Transport, protocol: asyncio.Protocol) -> None:
        """Give the connection to its own protocol."""
        if self._is_over:
            return
        secure.set_protocol(protocol)
        protocol.connection_made(secure)
        if self._data and not secure.is_closing():
            protocol.data_received(self._data)
