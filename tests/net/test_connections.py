"""Connections whose peers do not read: what they hold of us when they have to go."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from gateway.net.connections import Connection, Connections, StreamLimits
from gateway.net.stream import StreamConnection, StreamTransport
from gateway.sip.errors import SipSyntaxError
from gateway.sip.flow import Flow
from gateway.sip.message.message import Request, Response
from gateway.sip.message.parser import Limits

OUTPUT = b"x" * (32 * 1024 * 1024)
"""More than the kernel holds for a reader."""
LIMITS = StreamLimits(connections=1, reserved=0, idle=60.0, backlog=2 * len(OUTPUT))


class Nobody:
    """Wants no messages."""

    def message(self, message: Request | Response, flow: Flow, size: int) -> None:
        """A whole message."""

    def broken(self, error: SipSyntaxError, flow: Flow, data: bytes) -> None:
        """One that cannot be used."""


@asynccontextmanager
async def unread(limits: StreamLimits) -> AsyncIterator[tuple[Connections, asyncio.Transport]]:
    """The one connection, and the transport below it, that holds what its peer does not read."""
    came: asyncio.Queue[StreamConnection] = asyncio.Queue()

    class Watched(Connections):
        def add(self, connection: Connection) -> None:
            super().add(connection)
            assert isinstance(connection, StreamConnection)
            came.put_nowait(connection)

    connections = Watched(limits, lambda flow: None)
    stream = StreamTransport("tcp", connections, Nobody(), Limits(), failed=lambda flow: None)
    await stream.open("127.0.0.1", 0)
    with socket.socket() as peer:
        peer.setblocking(False)
        await asyncio.get_running_loop().sock_connect(peer, stream.listening[0])
        connection = await asyncio.wait_for(came.get(), 30)
        transport = connection._transport
        assert transport is not None
        connection.send(OUTPUT)
        assert transport.get_write_buffer_size() > 0
        try:
            yield connections, transport
        finally:
            transport.abort()
            await stream.close()


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def _evict(connections: Connections) -> None:
    assert connections.may_add("192.0.2.1")


def _sweep(connections: Connections) -> None:
    connections.sweep(asyncio.get_running_loop().time() + LIMITS.idle + 1)


@pytest.mark.parametrize("goes", [_evict, _sweep])
async def test_who_has_to_go_keeps_no_descriptor_by_not_reading(goes: Callable[[Connections], None]) -> None:
    """One that makes room for another, and one that was silent for too long."""
    async with unread(LIMITS) as (connections, transport):
        descriptor = transport.get_extra_info("socket")
        goes(connections)
        await _settle()
        assert descriptor.fileno() == -1
        assert len(connections) == 0


async def test_what_was_written_is_still_sent_when_we_close() -> None:
    """A response goes out before the connection that it says is broken is closed."""
    async with unread(LIMITS) as (connections, transport):
        connections.close()
        await _settle()
        assert transport.get_write_buffer_size() > 0


@pytest.mark.parametrize(("idle", "left"), [(10.0, 0), (30.0, 1)])
async def test_a_connection_that_nothing_comes_by_is_closed_in_its_time(idle: float, left: int) -> None:
    """sip.limits.idle_timeout."""
    limits = replace(LIMITS, idle=idle)
    async with unread(limits) as (connections, _):
        connections.sweep(asyncio.get_running_loop().time() + 20.0)
        await _settle()
        assert len(connections) == left
