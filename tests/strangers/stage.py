"""A whole gateway, and another host on a cable to it where strangers and phones are."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiortc import RTCPeerConnection
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from gateway.config import Config
from gateway.config.network import WebConfig
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from tests import peers
from tests.app.phones import Phone
from tests.docs_blocks import ROOT, blocks_of
from tests.interop.gateway import Gateway, config_on_free_ports, gateway_with
from tests.interop.stranger import Stranger
from tests.net.peers import Application
from tests.netns import Host, host
from tests.nginx import listens, nginx
from tests.ports import free_port


@dataclass(frozen=True, slots=True)
class Way:
    """How strangers reach the gateway's web side."""

    ipv6: bool
    proxied: bool

    def __str__(self) -> str:
        return f"{'IPv6' if self.ipv6 else 'IPv4'}, {'nginx' if self.proxied else 'direct'}"


WAYS = tuple(Way(ipv6, proxied) for ipv6 in (False, True) for proxied in (False, True))


Connection = socket.socket


class Stage:
    """The gateway, the other host, and what comes from there; all is closed with the stage."""

    def __init__(self, gateway: Gateway, there: Host, way: Way, web_port: int, stack: AsyncExitStack) -> None:
        self.gateway = gateway
        self.app = gateway.app
        self.host = there
        self.way = way
        self.web = (there.here, web_port)
        self._tls = None if way.proxied or gateway.app.config.web.tls.cert is None else _unverified()
        self._stack = stack

    @property
    def hostport(self) -> str:
        """Where the web side is, as a URL has it."""
        return f"[{self.web[0]}]:{self.web[1]}" if self.way.ipv6 else f"{self.web[0]}:{self.web[1]}"

    @property
    def sip(self) -> tuple[str, int]:
        """Where SIP is."""
        return self.host.here, self.app.config.sip.listen[0].port

    def address(self, network: int = 0, number: int = 0) -> str:
        """An address of the other host: the one on its cable, or `number` of network 1 and so on.

        A network is a /64 of IPv6; of IPv4 it is one address, whatever `number`.
        """
        if not network:
            return self.host.there
        return (
            f"{_prefix(self.host, self.way)}{network:x}::{number + 1:x}"
            if self.way.ipv6
            else (f"{_prefix(self.host, self.way)}{network}")
        )

    async def socket(self, target: tuple[str, int], network: int = 0, number: int = 0) -> socket.socket:
        """A TCP connection from there, from that address."""
        loop = asyncio.get_running_loop()
        with self.host.inside():
            made = socket.socket(socket.AF_INET6 if self.way.ipv6 else socket.AF_INET, socket.SOCK_STREAM)
        made.setblocking(False)
        try:
            made.bind((self.address(network, number), 0))
            await loop.sock_connect(made, target)
        except BaseException:
            made.close()
            raise
        self._stack.callback(made.close)
        return made

    async def http(
        self, request: bytes, network: int = 0, number: int = 0
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """An HTTP connection from there on which `request` was sent."""
        made = await self.socket(self.web, network, number)
        name = self.web[0] if self._tls else None
        reader, writer = await asyncio.open_connection(sock=made, ssl=self._tls, server_hostname=name)
        self._stack.callback(writer.close)
        writer.write(request)
        await writer.drain()
        return reader, writer

    async def status(self, request: bytes, network: int = 0, number: int = 0) -> int:
        """The status that answers an HTTP request from there; 0 where the connection ends without one."""
        try:
            reader, writer = await self.http(request, network, number)
            line = await asyncio.wait_for(reader.readline(), 30)
        except ConnectionError:
            return 0
        writer.close()
        return int(line.split()[1]) if line else 0

    async def websocket(self, protocol: str, path: str, network: int = 0, number: int = 0) -> ClientConnection:
        """A WebSocket from there."""
        made = await self.socket(self.web, network, number)
        url = f"{'wss' if self._tls else 'ws'}://{self.hostport}{path}"
        protocols = [Subprotocol(protocol)] if protocol else None
        found = await connect(url, sock=made, ssl=self._tls, subprotocols=protocols, proxy=None, ping_interval=None)
        self._stack.push_async_callback(found.close)
        return found

    def request(self, method: str, path: str, body: str = "", headers: tuple[str, ...] = ()) -> bytes:
        """An HTTP request after which the connection is closed."""
        lines = (f"{method} {path} HTTP/1.1", f"Host: {self.hostport}", "Connection: close", *headers)
        kind = ("Content-Type: application/json",) if body else ()
        return "\r\n".join([*lines, *kind, f"Content-Length: {len(body)}", "", body]).encode()

    async def offer(self) -> str:
        """The offer of a page."""
        page = RTCPeerConnection()
        self._stack.push_async_callback(page.close)
        page.addTransceiver("audio")
        await page.setLocalDescription(await page.createOffer())
        return str(page.localDescription.sdp)

    async def pings(self, network: int = 0, number: int = 0) -> bool:
        """Whether a SIP connection from there is open, and answers a keep-alive; it stays open."""
        try:
            return await self.answers(await self.socket(self.sip, network, number))
        except ConnectionError:
            return False

    async def answers(self, connection: Connection) -> bool:
        """Whether a SIP connection answers a keep-alive."""
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_sendall(connection, b"\r\n\r\n")
            return await asyncio.wait_for(loop.sock_recv(connection, 2), 30) == b"\r\n"
        except ConnectionError:
            return False

    async def asks(self, page: ClientConnection, method: str, **params: object) -> Any:
        """The result of one JSON-RPC request."""
        await page.send(json.dumps({"jsonrpc": "2.0", "id": method, "method": method, "params": params}))
        async with asyncio.timeout(30):
            while True:
                answer = json.loads(await page.recv())
                if answer.get("id") == method:
                    return answer["result"]

    async def announces(self, page: ClientConnection, user: str, password: str) -> None:
        """Sign in on a page's WebSocket."""
        await self.asks(page, "announce", peer_id=user, token=password, capabilities={"audio": True})

    async def stranger(self, network: int = 0, number: int = 0) -> Stranger:
        """A UDP socket there."""
        with self.host.inside():
            made = socket.socket(socket.AF_INET6 if self.way.ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((self.address(network, number), 0))
        _, found = await asyncio.get_running_loop().create_datagram_endpoint(Stranger, sock=made)
        self._stack.callback(found.close)
        return found

    async def phones(self, application: Application) -> UserAgent:
        """A user agent there, which is any number of phones."""
        agent = UserAgent(UserAgentConfig(listen=((self.host.there, 0),)), application)
        with self.host.inside():
            await agent.start()
        self._stack.push_async_callback(agent.close)
        return agent

    def calls(self, agent: UserAgent, user: str, number: str, replaces: str | None = None) -> Phone:
        """A call of a user from there."""
        return Phone(agent, self.app, user, replaces, dials=number)


def _unverified() -> ssl.SSLContext:
    """TLS of strangers, who take any certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _prefix(there: Host, way: Way) -> str:
    """How the addresses of the other host's networks begin."""
    number = int(there.name.removeprefix("gwh"))
    return f"fd00:6778:{number:x}:" if way.ipv6 else f"10.{77 + number // 256}.{number % 256}."


def _add_networks(there: Host, way: Way) -> None:
    """Have every address of the networks be the other host's own."""
    net = f"{_prefix(there, way)}:/48" if way.ipv6 else f"{_prefix(there, way)}0/24"
    there.run(f"ip route add local {net} dev lo", "sysctl -q -w net.ipv6.ip_nonlocal_bind=1")
    if way.ipv6:
        # An address to ask for the gateway's link by, as those of the networks are on no link.
        there.run(f"ip addr add fe80::2/64 dev {there.name}b nodad")
    peers.in_namespace(f"ip route add {net} via {there.there}")


def _server(listen: str, web: WebConfig) -> str:
    """The server of docs/deployment.md without TLS, on `listen`, in front of `web`."""
    loopback = "[::1]" if ":" in web.listen.host else "127.0.0.1"
    place = f"{loopback}:{web.listen.port}"
    [server] = [block for block in blocks_of(ROOT / "docs/deployment.md") if "server {" in block.text]
    kept = [line for line in server.text.splitlines() if "ssl_certificate" not in line]
    text = "\n".join(kept).replace("443 ssl", listen).replace("127.0.0.1:8080", place)
    assert text.count(listen) == text.count(f"http://{place}") == 1
    text = text if web.tls.cert is None else text.replace("http://", "https://")
    return text + "\n"


@contextlib.contextmanager
def _other_host(way: Way) -> Iterator[Host]:
    with host(ipv6=way.ipv6) as there:
        _add_networks(there, way)
        yield there


async def _stands(stack: AsyncExitStack, folder: Path, way: Way, there: Host, config: Config) -> Stage:
    """The gateway of `config`, with an nginx in front where `way` says so."""
    gateway = await stack.enter_async_context(gateway_with(config, folder / "gateway.log"))
    own = config.web.listen.port
    if not way.proxied:
        return Stage(gateway, there, way, own, stack)
    here, front = f"[{there.here}]" if way.ipv6 else there.here, free_port()
    stack.enter_context(nginx(folder, _server(f"{here}:{front}", config.web)))
    async with asyncio.timeout(30):
        while not await listens(front, there.here):  # noqa: ASYNC110  # nginx notifies nobody
            await asyncio.sleep(0.02)
    return Stage(gateway, there, way, front, stack)


@contextlib.asynccontextmanager
async def standing(folder: Path, way: Way, config: Config) -> AsyncIterator[Stage]:
    """A gateway on `config` as it is, and the other host."""
    async with AsyncExitStack() as stack:
        there = stack.enter_context(_other_host(way))
        yield await _stands(stack, folder, way, there, config)


@contextlib.asynccontextmanager
async def stage(folder: Path, way: Way, **changes: str) -> AsyncIterator[Stage]:
    """A gateway that listens where the other host is, `way.proxied`: behind an nginx as docs/deployment.md has it."""
    async with AsyncExitStack() as stack:
        there = stack.enter_context(_other_host(way))
        here = f"[{there.here}]" if way.ipv6 else there.here
        sip, own = free_port(), free_port()
        listen = json.dumps([f"udp:{here}:{sip}", f"tcp:{here}:{sip}"])
        web = f"127.0.0.1:{own}" if way.proxied else f"{here}:{own}"
        # Other tests beside this one keep the machine busy: that is not what refuses a call here.
        load = {"LIMITS__LOAD": "0", "LIMITS__DELAY": "60", "LIMITS__PLANE_LOAD": "0", "RTP__PORTS": "10000-11999"}
        settings = {"SIP__LISTEN": listen, "WEB__LISTEN": web, "WEB__PROXIES": '["127.0.0.1"]', **load, **changes}
        yield await _stands(stack, folder, way, there, config_on_free_ports(folder, **settings))
