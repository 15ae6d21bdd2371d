"""What is between a page and the gateway: its WebSocket, its HTTP requests, and the packets by which media comes up."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httpx
import websockets

from tests.chaos.wire import HOST, Message
from tests.ports import free_port

Passes = Callable[[Message], bool]
_HANDSHAKES = {1: "ClientHello", 2: "ServerHello", 11: "Certificate", 16: "ClientKeyExchange", 4: "NewSessionTicket"}
_OF_THE_BODY = {"content-length", "content-encoding", "transfer-encoding"}
_STUN = {b"\x00\x01": "Binding request", b"\x01\x01": "Binding response"}
_CHANGE_CIPHER, _HANDSHAKE = 20, 22
_TYPE_OF_HANDSHAKE = 13
"""Where it stands in a record of DTLS 1.2."""


class RpcWire:
    """JSON-RPC: a server that pages connect to, and that connects to the gateway for each."""

    def __init__(self, gateway: str, passes: Passes, rewrite: Callable[[str], str]) -> None:
        """`gateway` is "HOST:PORT"; `rewrite` changes what the gateway says to a page."""
        self._gateway, self._passes, self._rewrite = gateway, passes, rewrite
        self._kinds: Counter[tuple[bool, str]] = Counter()
        self._port = free_port()
        self._server: websockets.Server

    @property
    def url(self) -> str:
        """What a page opens."""
        return f"http://{HOST}:{self._port}/"

    async def __aenter__(self) -> Self:
        self._server = await websockets.serve(self._serve, HOST, self._port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        await self._server.wait_closed()

    def rewind(self) -> None:
        """Count from here: another call begins."""
        self._kinds.clear()

    async def _serve(self, page: websockets.ServerConnection) -> None:
        assert page.request is not None
        try:
            gateway = await websockets.connect(f"ws://{self._gateway}{urlsplit(page.request.path).path}")
        except (OSError, websockets.WebSocketException):
            return
        asked: dict[object, str] = {}
        ways = [
            asyncio.create_task(self._pump(page, gateway, asked, to_gateway=True)),
            asyncio.create_task(self._pump(gateway, page, asked, to_gateway=False)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, gateway.close(), page.close(), return_exceptions=True)

    async def _pump(
        self,
        source: websockets.ClientConnection | websockets.ServerConnection,
        target: websockets.ClientConnection | websockets.ServerConnection,
        asked: dict[object, str],
        *,
        to_gateway: bool,
    ) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            async for text in source:
                assert isinstance(text, str)
                what = _name(json.loads(text), asked)
                self._kinds[to_gateway, what] += 1
                if self._passes(Message("page", to_gateway, what, self._kinds[to_gateway, what])):
                    await target.send(text if to_gateway else self._rewrite(text))


def _name(message: dict[str, object], asked: dict[object, str]) -> str:
    """A method, with the state that it tells of; or what is answered."""
    match message:
        case {"method": str(method), "params": {"state": str(state)}}:
            return f"{method} {state}"
        case {"method": str(method)}:
            if "id" in message:
                asked[message["id"]] = method
            return method
    return f"{'error' if 'error' in message else 'result'} of {asked.pop(message['id'], '')}"


class HttpWire(httpx.AsyncBaseTransport):
    """The HTTP API: a transport whose requests and answers may be lost on their way."""

    def __init__(self, passes: Passes, rewrite: Callable[[str], str]) -> None:
        self._passes, self._rewrite = passes, rewrite
        self._kinds: Counter[tuple[bool, str]] = Counter()
        self._sends = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        name = f"{request.method} {'/'.join(request.url.path.split('/')[:3])}"
        if not self._let_pass(name, to_gateway=True):
            raise httpx.ReadError("the connection was lost", request=request)
        response = await self._sends.handle_async_request(request)
        body = (await response.aread()).decode()
        state = re.search(r'"state": ?"(\w+)"', body) if "GET" in name else None
        told = f" {state[1]}" if state is not None else ""
        if not self._let_pass(f"{response.status_code} {name}{told}", to_gateway=False):
            raise httpx.ReadError("the connection was lost", request=request)
        kept = {name: value for name, value in response.headers.items() if name not in _OF_THE_BODY}
        return httpx.Response(response.status_code, headers=kept, text=self._rewrite(body), request=request)

    def _let_pass(self, what: str, *, to_gateway: bool) -> bool:
        self._kinds[to_gateway, what] += 1
        nth = self._kinds[to_gateway, what]
        # How often it has to ask what the call is at depends on how fast that changes.
        return (nth > 1 and "GET" in what) or self._passes(Message("page", to_gateway, what, nth))

    async def aclose(self) -> None:
        await self._sends.aclose()


class MediaWire:
    """ICE and DTLS, of which the first packet of each kind is told, and what they carry, of which none is."""

    def __init__(self, gateway: int, passes: Passes) -> None:
        """`gateway` is its port of loopback."""
        self._gateway, self._passes = gateway, passes
        self._seen: set[tuple[bool, str]] = set()
        self._at_page = _bound()
        self._ways: dict[tuple[str, int], socket.socket] = {}
        """Sockets that the gateway knows pages by, by the pages' addresses."""
        asyncio.get_running_loop().add_reader(self._at_page, self._from_page)

    def rewrite(self, text: str) -> str:
        """Candidates of the gateway's: where this is."""
        return re.sub(rf" \S+ {self._gateway} typ ", f" {HOST} {self._at_page.getsockname()[1]} typ ", text)

    def rewind(self) -> None:
        """Tell of the next packets of each kind: other media begins."""
        self._seen.clear()

    def _from_page(self) -> None:
        for data, address in _received(self._at_page):
            way = self._ways.get(address)
            if way is None:
                way = self._ways[address] = _bound()
                asyncio.get_running_loop().add_reader(way, self._from_gateway, way, address)
            if self._let_pass(data, to_gateway=True):
                way.sendto(data, (HOST, self._gateway))

    def _from_gateway(self, way: socket.socket, page: tuple[str, int]) -> None:
        for data, _ in _received(way):
            if self._let_pass(data, to_gateway=False):
                with contextlib.suppress(OSError):  # the page's interface is another one's
                    self._at_page.sendto(data, page)

    def _let_pass(self, data: bytes, *, to_gateway: bool) -> bool:
        what = _kind(data)
        if what is None or (to_gateway, what) in self._seen:
            return True
        self._seen.add((to_gateway, what))
        return self._passes(Message("page", to_gateway, what))

    def close(self) -> None:
        for each in (self._at_page, *self._ways.values()):
            asyncio.get_running_loop().remove_reader(each)
            each.close()


def _kind(data: bytes) -> str | None:
    """Of a datagram (RFC 7983); None for what is told of nowhere."""
    if data[:1] == bytes([_CHANGE_CIPHER]):
        return "ChangeCipherSpec"
    if data[:1] == bytes([_HANDSHAKE]) and len(data) > _TYPE_OF_HANDSHAKE:
        return _HANDSHAKES.get(data[_TYPE_OF_HANDSHAKE])
    return _STUN.get(data[:2])


def _received(bound: socket.socket) -> list[tuple[bytes, tuple[str, int]]]:
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(bound.recvfrom(65_535))
    return found


def _bound() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setblocking(False)
    made.bind((HOST, free_port()))
    return made
