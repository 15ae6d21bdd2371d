"""What a TURN or STUN server can cost us, and for how long what it said is believed: bounds, pauses, ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from aioice import stun
from aioice.turn import make_integrity_key

from gateway.media.embedded.plane.values import Address, Bound, host_of
from gateway.media.embedded.webrtc import gathering as gathering_module
from gateway.media.embedded.webrtc import relay as relay_module
from gateway.media.embedded.webrtc.gathering import STALE, Gathering, IceServerUrl
from gateway.media.embedded.webrtc.relay import FIRST_PAUSE, LONGEST_PAUSE, MAX_QUEUED, Relay, TurnServer
from gateway.media.embedded.webrtc.tunnel import Tunnel
from tests.media.hosts import at
from tests.media.webrtc_support import binding_check
from tests.ports import free_port

PEER, OTHER, THIRD = [at("198.51.100.7", port) for port in (5000, 5001, 5002)]
RELAYED, MAPPED = ("203.0.113.5", 49152), ("203.0.113.9", 1024)
PASSWORD = "p" * 22
DATA = b"\x80" + bytes(20)
PATIENCE = 30.0
IDLE_AFTER = 60.0
KEY = make_integrity_key("u", "test", "secret")


def check() -> bytes:
    """A peer's authentic check."""
    return binding_check("ours:peer", PASSWORD)


async def until(true: Callable[[], bool]) -> None:
    """Wait for what a socket brings about."""
    async with asyncio.timeout(PATIENCE):
        # Sockets tell nobody when they have been read.
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


class Host:
    """A port for tunnels that are real, on a clock turned by hand; where it sends, nothing answers."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.counted: Counter[str] = Counter()
        self.tunnels: dict[Address, Tunnel] = {}
        self.delivers: dict[Address, Callable[[bytes], None]] = {}
        self.sent: list[bytes] = []
        self.bounds: Sequence[Bound] = (Bound(path=1, address=at("192.0.2.1", 4000)),)
        self._port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._port.bind(("127.0.0.1", 0))
        self._port.setblocking(False)

    def clock(self) -> float:
        return self.now

    def key_of(self, ufrag: str) -> bytes | None:
        return PASSWORD.encode() if ufrag == "ours" else None

    def open_tunnel(self, family: int, remote: Address, deliver: Callable[[bytes], None]) -> Tunnel:
        made = self.tunnels[remote] = Tunnel(self._port.getsockname(), remote, self.key_of, deliver)
        self.delivers[remote] = deliver
        return made

    def close_tunnel(self, tunnel: Tunnel) -> None:
        del self.tunnels[tunnel.remote]
        tunnel.close()

    def count(self, reason: str) -> None:
        self.counted[reason] += 1

    def send(self, path: int, address: Address, data: bytes) -> None:
        self.sent.append(data)

    def arrived(self) -> list[bytes]:
        """What has come by the tunnels since."""
        found: list[bytes] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self._port.recv(2000))
        return found

    def close(self) -> None:
        self._port.close()


class Server:
    """A TURN server over TCP, of aioice's messages: grants what it is asked for until it is told to read no more."""

    def __init__(self) -> None:
        self.asked: list[stun.Message] = []
        self.reading = asyncio.Event()
        self.reading.set()
        self.octets = 0
        self.port = free_port()
        self._writer: asyncio.StreamWriter | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Server]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        async with server:
            try:
                yield self
            finally:
                self.hang_up()

    def hang_up(self) -> None:
        """End the connection that is open."""
        if self._writer is not None:
            self._writer.close()

    def say(self, peer: Address, data: bytes) -> None:
        """Pass on what a peer has sent."""
        message = stun.Message(stun.Method.DATA, stun.Class.INDICATION)
        message.attributes.update({"XOR-PEER-ADDRESS": peer, "DATA": data})
        self._write(message)

    def methods(self) -> list[str]:
        return [each.message_method.name for each in self.asked]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await self.reading.wait()
                head = await reader.readexactly(4)
                size = int.from_bytes(head[2:])
                rest = await reader.readexactly(16 + size if head[0] < 0x40 else size + -size % 4)
                self.octets += len(head) + len(rest)
                if head[0] < 0x40:
                    self._answer(stun.parse_message(head + rest))

    def _answer(self, request: stun.Message) -> None:
        if request.message_class is not stun.Class.REQUEST:
            return
        answer = stun.Message(request.message_method, stun.Class.RESPONSE, request.transaction_id)
        if "USERNAME" not in request.attributes:
            answer.message_class = stun.Class.ERROR
            answer.attributes.update({"ERROR-CODE": (401, "no"), "NONCE": b"n", "REALM": "test"})
        else:
            request.check_message_integrity(KEY)
            self.asked.append(request)
            granted = {"XOR-RELAYED-ADDRESS": RELAYED, "XOR-MAPPED-ADDRESS": MAPPED, "LIFETIME": 600}
            answer.attributes.update(granted if request.message_method is stun.Method.ALLOCATE else {})
            answer.add_message_integrity(KEY)
        self._write(answer)

    def _write(self, message: stun.Message) -> None:
        assert self._writer is not None
        self._writer.write(bytes(message))


def relay_at(host: Host, server: Callable[[], TurnServer]) -> Relay:
    return Relay(host, server, idle_after=IDLE_AFTER, tls=ssl.create_default_context)


def url(port: int) -> TurnServer:
    return TurnServer(host="127.0.0.1", port=port, transport="tcp", username="u", password="secret")


@contextlib.asynccontextmanager
async def held(task: asyncio.Task[None]) -> AsyncIterator[None]:
    """Cancelled at the end."""
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def allocated() -> AsyncIterator[tuple[Server, Host, Relay]]:
    """A relay whose server lets three ports of one peer's address through."""
    host = Host()
    async with Server().running() as server:
        relay = relay_at(host, lambda: url(server.port))
        async with held(asyncio.ensure_future(relay.run())):
            await until(lambda: relay.allocated is not None)
            relay.permit(PEER[0])
            await until(lambda: "CREATE_PERMISSION" in server.methods())
            yield server, host, relay
        assert not host.tunnels
    host.close()


async def test_a_server_that_reads_nothing_costs_bounded_memory() -> None:
    """What does not fit is dropped and counted; what is behind goes out when it reads again."""
    async with allocated() as (server, host, relay):
        server.say(PEER, check())
        await until(lambda: PEER in host.tunnels)
        server.reading.clear()
        packet, many = b"\x80" + bytes(1199), 25_000
        for _ in range(many):
            host.delivers[PEER](packet)
        transport = relay._transport
        assert isinstance(transport, asyncio.Transport)
        assert MAX_QUEUED < transport.get_write_buffer_size() < MAX_QUEUED + 2000
        dropped = host.counted["relay_slow"]
        assert 0 < dropped < many
        server.reading.set()
        await until(lambda: server.octets > (many - dropped) * len(packet))
        host.delivers[PEER](packet)
        assert host.counted["relay_slow"] == dropped


async def test_a_relay_has_a_limited_number_of_tunnels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes with an authentic check beyond them is not heard; those that are open go on."""
    monkeypatch.setattr(relay_module, "MAX_TUNNELS", 2)
    async with allocated() as (server, host, _):
        for peer in (PEER, OTHER, THIRD):
            server.say(peer, check())
        server.say(PEER, DATA)
        await until(lambda: DATA in host.arrived())
        assert set(host.tunnels) == {PEER, OTHER}
        host.now += IDLE_AFTER - 1
        server.say(OTHER, DATA)
        await until(lambda: DATA in host.arrived())
        host.now += 2
        await until(lambda: set(host.tunnels) == {OTHER})
        server.say(THIRD, check())
        await until(lambda: set(host.tunnels) == {OTHER, THIRD})


async def test_a_peer_that_goes_on_sending_keeps_its_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it has been there; one that is silent for as long loses its own."""
    monkeypatch.setattr(relay_module, "TICK", 0.01)
    async with allocated() as (server, host, _):
        for peer in (PEER, OTHER):
            server.say(peer, check())
            await until(lambda peer=peer: peer in host.tunnels)  # type: ignore[misc]
        host.now += 0.6 * IDLE_AFTER
        server.say(PEER, DATA)
        # In order: when the third is known, the packet before it was heard.
        server.say(THIRD, check())
        await until(lambda: THIRD in host.tunnels)
        host.now += 0.6 * IDLE_AFTER
        await until(lambda: OTHER not in host.tunnels)
        assert set(host.tunnels) == {PEER, THIRD}


async def test_a_server_that_refuses_is_asked_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice as long a pause each time, a minute at most, and a short one again after an allocation."""
    pauses: list[float] = []
    asked = asyncio.Event()
    sleep = asyncio.sleep

    async def note(delay: float) -> None:
        pauses.append(delay)
        asked.set()
        await sleep(0)

    host, here = Host(), Server()
    refused = [FIRST_PAUSE * 2**each for each in range(6)] + [LONGEST_PAUSE] * 2
    place = free_port()
    relay = relay_at(host, lambda: url(place if len(pauses) < len(refused) else here.port))
    async with here.running():
        monkeypatch.setattr(asyncio, "sleep", note)
        async with held(asyncio.ensure_future(relay.run())):
            async with asyncio.timeout(PATIENCE):
                while relay.allocated is None:
                    await sleep(0.005)
                assert pauses == refused
                here.hang_up()
                asked.clear()
                await asked.wait()
        assert pauses[len(refused)] == FIRST_PAUSE
    host.close()


async def test_only_addresses_of_the_relays_version_are_permitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server refuses the others (RFC 8656 section 9.1): it is not asked."""
    monkeypatch.setattr(relay_module, "TICK", 0.01)
    host = Host()
    async with Server().running() as server:
        place = IceServerUrl(url=f"turn:127.0.0.1:{server.port}?transport=tcp", username="u", password="secret")
        gathering = Gathering(host, [place], idle_after=IDLE_AFTER)
        await gathering.start()
        gathering.permit(host_of("2001:db8::1"))
        gathering.permit(PEER[0])
        await until(lambda: "CREATE_PERMISSION" in server.methods())
        await gathering.close()
        permitted = [
            each.attributes["XOR-PEER-ADDRESS"] for each in server.asked if "XOR-PEER-ADDRESS" in each.attributes
        ]
        assert permitted == [(PEER[0], 0)]
    host.close()


class Mapped(Host):
    """The same, where a STUN server tells every request but those it is told to leave out where it came from."""

    def __init__(self) -> None:
        super().__init__()
        self.answering = True
        self.gathering = Gathering(self, [IceServerUrl(url="stun:192.0.2.53")], idle_after=IDLE_AFTER)

    def send(self, path: int, address: Address, data: bytes) -> None:
        super().send(path, address, data)
        if self.answering:
            request = stun.parse_message(data)
            answer = stun.Message(request.message_method, stun.Class.RESPONSE, request.transaction_id)
            answer.attributes["XOR-MAPPED-ADDRESS"] = MAPPED
            asyncio.get_running_loop().call_soon(self.gathering.response, bytes(answer))


async def test_an_address_that_a_stun_server_confirms_no_more_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is offered for as long as the server goes on answering, and STALE seconds."""
    monkeypatch.setattr(gathering_module, "KEEP_ALIVE", 0.01)
    monkeypatch.setattr(gathering_module, "RETRANSMISSIONS", (0.01,))
    host = Mapped()
    await host.gathering.start()
    line = f"s1 1 udp 1694498815 {MAPPED[0]} {MAPPED[1]} typ srflx raddr 192.0.2.1 rport 4000"
    for _ in range(3):
        assert host.gathering.candidates(()) == [line]
        host.now += STALE - 1
        assert host.gathering.candidates(()) == [line]
        asked = len(host.sent)
        await until(lambda asked=asked: len(host.sent) > asked + 2)  # type: ignore[misc]
    host.answering = False
    asked = len(host.sent)
    await until(lambda: len(host.sent) > asked + 2)
    assert host.gathering.candidates(()) == [line]
    host.now += STALE + 1
    assert host.gathering.candidates(()) == []
    host.answering = True
    await until(lambda: host.gathering.candidates(()) == [line])
    await host.gathering.close()
    host.close()
