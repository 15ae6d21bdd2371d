"""Somebody on UDP that answers each request as a test says: trunks that redirect, challenge or say nonsense."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from gateway.sip.message.message import Request
from gateway.sip.message.parser import parse_message

Answer = Callable[[Request, int], list[bytes]]


class Place(asyncio.DatagramProtocol):
    """Somebody that answers each request as the test says."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.news = asyncio.Event()
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.news.set()
        if not data.strip():
            return
        request = parse_message(data)
        assert isinstance(request, Request)
        self.requests.append(request)
        if request.method != "ACK":
            for each in self.answer(request, len(self.requests)):
                self.transport.sendto(each, addr)

    async def asked(self, method: str) -> Request:
        """The first request of that method; TimeoutError when none comes."""
        async with asyncio.timeout(30):
            while True:
                self.news.clear()
                for one in self.requests:
                    if one.method == method:
                        return one
                await self.news.wait()

    async def drained(self) -> None:
        """Return once everything is read that was sent here so far."""
        self.news.clear()
        self.transport.sendto(b"\r\n", self.address)
        await asyncio.wait_for(self.news.wait(), 30)

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.transport.get_extra_info("sockname")[:2]
        return host, port

    @property
    def signed(self) -> list[Request]:
        """Requests that brought credentials."""
        return [one for one in self.requests if one.authorization or one.proxy_authorization]


P = TypeVar("P", bound=Place)


@contextlib.asynccontextmanager
async def place(answer: Answer, host: str) -> AsyncIterator[Place]:
    async with at(lambda: Place(answer), host) as made:
        yield made


@contextlib.asynccontextmanager
async def at(make: Callable[[], P], host: str) -> AsyncIterator[P]:
    """Somebody on a free UDP port of that address."""
    transport, made = await asyncio.get_running_loop().create_datagram_endpoint(make, local_addr=(host, 0))
    try:
        yield made
    finally:
        transport.close()
