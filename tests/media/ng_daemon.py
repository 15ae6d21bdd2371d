"""A scripted rtpengine on loopback: what it answers, and what it loses."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from gateway.media.rtpengine.bencode import Encodable, encode
from gateway.media.rtpengine.client import Address
from gateway.media.rtpengine.ng import parse
from tests.media.engine_support import phone_sdp

Answer = Callable[[dict[str, Any]], Encodable | None]


class Daemon(asyncio.DatagramProtocol):
    """Answers with what `answer` gives (None: not at all), after losing the first `lose` copies of each request."""

    def __init__(self, answer: Answer, lose: int = 0) -> None:
        self.answer = answer
        self.lose = lose
        self.cookies: list[str] = []
        self.requests: list[dict[str, Any]] = []
        """Carried out, each cookie once."""
        self.most_at_once = 0
        self._cache: dict[str, bytes] = {}
        self._transport: Any = None

    async def open(self, address: Address = ("127.0.0.1", 0)) -> Address:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=address)
        host, port = self._transport.get_extra_info("sockname")
        return host, port

    def close(self) -> None:
        self._transport.close()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        cookie, request = parse(data)
        self.cookies.append(cookie)
        if self.cookies.count(cookie) <= self.lose:
            return
        if cookie not in self._cache:
            self.requests.append(request)
            reply = self.answer(request)
            if reply is None:
                return
            self._cache[cookie] = cookie.encode() + b" " + encode(reply)
        self._transport.sendto(self._cache[cookie], addr)

    def commands(self) -> list[str]:
        """Without the pings, which come when they like."""
        return [request["command"] for request in self.requests if request["command"] != "ping"]


def friendly(request: dict[str, Any]) -> dict[str, Encodable]:
    """A daemon that finds everything well and rewrites nothing."""
    if request["command"] == "ping":
        return {"result": "pong"}
    if request["command"] == "offer":
        return {"result": "ok", "sdp": phone_sdp()}
    return {"result": "ok", "tags": {}}


@contextlib.asynccontextmanager
async def daemon(answer: Answer = friendly, lose: int = 0) -> AsyncIterator[tuple[Daemon, Address]]:
    made = Daemon(answer, lose)
    address = await made.open()
    try:
        yield made, address
    finally:
        made.close()
        await asyncio.sleep(0)
