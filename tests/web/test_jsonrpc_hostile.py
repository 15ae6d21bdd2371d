"""What strangers send to /rpc: malformed, huge, deep, too fast, too slow."""

from __future__ import annotations

import asyncio
import json
import socket as sockets
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gateway.call.status import Cause
from gateway.web.app import WebServer, WebSettings
from gateway.web.rpc.codec import Frame, Refused, Request, RpcError, encode, failure, parse
from tests.rows import by_row
from tests.web.fake import SDP, FakeGateway, RpcClient, rpc, running


@by_row(
    ("text", "code"),
    [
        ("", -32700),
        ("{", -32700),
        ("\x00", -32700),
        ("NaN", -32700),
        ('{"jsonrpc":"2.0","method":"x","id":1e999}', -32700),
        ('{"jsonrpc":"2.0","method":"x","id":' + "9" * 5000 + "}", -32700),
        ("[" * 5000, -32700),
        ('{"jsonrpc":"2.0","id":1,"method":"x","params":' + "[" * 40 + "]" * 40 + "}", -32700),
        ("7", -32600),
        ("[]", -32600),
        ("null", -32600),
        ("[" + ",".join(["1"] * 21) + "]", -32600),
        ('{"method":"x","id":1}', -32600),
        ('{"jsonrpc":"1.0","method":"x","id":1}', -32600),
        ('{"jsonrpc":"2.0","id":1}', -32600),
        ('{"jsonrpc":"2.0","method":1,"id":1}', -32600),
        ('{"jsonrpc":"2.0","method":"","id":1}', -32600),
        ('{"jsonrpc":"2.0","method":"' + "m" * 65 + '","id":1}', -32600),
        ('{"jsonrpc":"2.0","method":"x","id":{}}', -32600),
        ('{"jsonrpc":"2.0","method":"x","id":true}', -32600),
        ('{"jsonrpc":"2.0","method":"x","id":"' + "i" * 129 + '"}', -32600),
        ('{"jsonrpc":"2.0","method":"x","id":' + "9" * 30 + "}", -32600),
        ('{"jsonrpc":"2.0","method":"x","params":7,"id":1}', -32602),
        ('{"jsonrpc":"2.0","method":"x","params":null,"id":1}', -32602),
    ],
)
def test_a_malformed_frame_is_refused_with_its_code(text: str, code: int) -> None:
    """Parse errors, invalid requests and positional parameters."""
    frame = parse(text, max_batch=20, max_depth=16)
    assert [entry.error.code for entry in frame.entries if isinstance(entry, Refused)] == [code]


@given(st.text() | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(json.dumps))
def test_no_text_makes_the_parser_raise(text: str) -> None:
    """Whatever comes is a frame of requests and refusals that can be answered."""
    frame = parse(text, max_batch=20, max_depth=16)
    assert isinstance(frame, Frame)
    for entry in frame.entries:
        assert isinstance(entry, Request | Refused)
        encode(failure(entry.id, RpcError(-32600, "x"))).encode()


BAD_VALUES: list[Any] = [
    None,
    7,
    True,
    [],
    {},
    "",
    " ",
    "a\r\nVia: x",
    "a\x00",
    "\x1b[31m",
    "a" * 257,
    "\u202eevil",
    "\ud800",
]


@by_row("method", ["announce", "offer", "answer", "ice_candidate", "disconnect", "dtmf"])
async def test_ids_with_control_characters_or_of_wrong_type_are_invalid_params(method: str) -> None:
    """-32602, and the message holds nothing of what was sent."""
    name = "to_peer_id" if method in ("offer", "answer", "ice_candidate") else "peer_id"
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server, "ann") as ann:
        for value in BAD_VALUES:
            if value is None and name == "to_peer_id" and method in ("offer", "ice_candidate"):
                continue
            error = await ann.fails(method, **{"sdp": SDP, "candidate": "", "digit": "1", name: value})
            assert error["code"] == -32602, value
            assert len(error["message"]) < 100
    assert gateway.calls == []


@by_row(
    ("method", "params"),
    [
        ("offer", {"to_peer_id": "1001"}),
        ("offer", {"to_peer_id": "1001", "sdp": "  "}),
        ("offer", {"to_peer_id": "1001", "sdp": {"sdp": SDP}}),
        ("offer", {"to_peer_id": "1001", "sdp": "v=0\r\n\ud800"}),
        ("offer", {"to_peer_id": "1001", "sdp": SDP, "type": "answer"}),
        ("offer", {"to_peer_id": "1001", "sdp": SDP, "call_id": "\n"}),
        ("answer", {"to_peer_id": "1001", "sdp": 1}),
        ("ice_candidate", {"to_peer_id": "1001", "candidate": "a\r\nb"}),
        ("ice_candidate", {"to_peer_id": "1001", "candidate": "c" * 1025}),
        ("ice_candidate", {"to_peer_id": "1001", "candidate": "", "sdp_mid": 1}),
        ("ice_candidate", {"to_peer_id": "1001", "candidate": "", "sdp_mline_index": 65536}),
        ("ice_candidate", {"to_peer_id": "1001", "candidate": "", "sdp_mline_index": True}),
        ("announce", {"peer_id": "x", "token": 7}),
        ("announce", {"peer_id": "x", "capabilities": []}),
        ("announce", {"peer_id": "x", "capabilities": {"a": "b" * 3000}}),
        ("disconnect", {"peer_id": "x", "reason": "\x07"}),
        ("dtmf", {"peer_id": "1001", "digit": "12"}),
        ("dtmf", {"peer_id": "1001", "digit": "١"}),
        ("dtmf", {"peer_id": "1001", "digit": "1", "duration": 1e9}),
        ("peer.announce", {"peer_id": "x", "capabilities": {"audio": True}}),
        ("peer.announce", {"peer_id": "x", "capabilities": ["a\n"]}),
    ],
)
async def test_unusable_parameters_are_invalid_params(method: str, params: dict[str, Any]) -> None:
    """Missing, wrong type, wrong range: -32602."""
    async with running(FakeGateway()) as server, rpc(server, "ann") as ann:
        assert (await ann.fails(method, **params))["code"] == -32602


@by_row("target", ["a b", "sip:a@b>;x=<", 'x"y', "x\\y"])
async def test_what_could_break_out_of_a_header_cannot_be_dialled(target: str) -> None:
    """Such a peer does not exist; the gateway is not even asked."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server, "ann") as ann:
        assert (await ann.fails("offer", to_peer_id=target, sdp=SDP))["code"] == -32000
    assert gateway.calls == []


async def _ends(client: RpcClient) -> int:
    """The close code of the connection, frames before it are read."""
    try:
        while True:
            await client.frame()
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else 1006


async def test_a_message_beyond_the_size_limit_closes_the_socket() -> None:
    """1009, and the others talk on."""
    async with running(FakeGateway()) as server, rpc(server, "ann") as other:
        async with rpc(server) as client:
            await client.socket.send("x" * 65_537)
            assert await _ends(client) == 1009
        await other.ok("list_peers")


async def test_binary_messages_close_the_socket() -> None:
    """1003: text only."""
    async with running(FakeGateway()) as server, rpc(server) as client:
        await client.socket.send(b"{}")
        assert await _ends(client) == 1003


async def test_a_message_in_too_many_fragments_closes_the_socket() -> None:
    """Empty fragments without end would fill the memory below any size limit."""
    async with running(FakeGateway()) as server, rpc(server) as client:

        async def crumbs() -> Any:
            while True:
                await asyncio.sleep(0)  # the server lives in this loop too
                yield ""

        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(client.socket.send(crumbs()), 30)
        assert client.socket.close_code == 1009


async def test_a_flood_of_messages_is_read_at_the_rate() -> None:
    """What is beyond the burst waits unread, in order, and costs nobody the connection."""
    settings = WebSettings(message_burst=20, messages_per_second=500)
    async with running(FakeGateway(), settings) as server, rpc(server) as client:
        for _ in range(60):
            await client.socket.send("{")
        assert [(await client.frame())["error"]["code"] for _ in range(60)] == [-32700] * 60
        await client.ok("ping")


async def test_a_slowed_client_outlives_many_ping_timeouts() -> None:
    """Pongs wait behind the backlog, and a client that is behind is alive."""
    settings = WebSettings(message_burst=5, messages_per_second=20, ping_interval=0.2, ping_timeout=0.2)
    async with running(FakeGateway(), settings) as server, rpc(server) as client:
        for _ in range(60):
            await client.socket.send("{" + " " * 200)
        assert [(await client.frame())["error"]["code"] for _ in range(60)] == [-32700] * 60
        await client.ok("ping")


async def test_a_flood_beyond_the_longest_backlog_is_cut() -> None:
    """The pong behind the flood is too late: 1008 with the reason, and others are served."""
    settings = WebSettings(
        message_burst=5, messages_per_second=0.001, ping_interval=0.2, ping_timeout=0.2, longest_backlog=1.0
    )
    async with running(FakeGateway(), settings) as server, rpc(server) as client:
        for _ in range(200):
            await client.socket.send("{" + " " * 2_000)
        assert await _ends(client) == 1008
        assert client.socket.close_reason == "too many messages"
        async with rpc(server) as other:
            assert (await other.fails("nothing"))["code"] == -32601


async def _raw_socket(server: WebServer) -> sockets.socket:
    raw = sockets.socket()
    raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
    raw.connect(("127.0.0.1", server.port))
    raw.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(
        raw,
        b"GET /rpc HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    )
    assert b"101" in await loop.sock_recv(raw, 1024)
    return raw


def _frame(opcode: int, payload: bytes) -> bytes:
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else bytes([0x80 | 126]) + size.to_bytes(2, "big")
    return bytes([0x80 | opcode]) + length + b"\0\0\0\0" + payload


async def test_a_client_that_does_not_read_is_dropped() -> None:
    """The queue for it is bounded; the connection is aborted, not flushed, and its id is free again."""
    settings = WebSettings(send_queue_bytes=100_000)
    async with running(FakeGateway(), settings) as server, rpc(server, "ben") as ben:
        raw = await _raw_socket(server)
        loop = asyncio.get_running_loop()
        announce = {"jsonrpc": "2.0", "method": "announce", "params": {"peer_id": "slow"}, "id": 1}
        await loop.sock_sendall(raw, _frame(1, json.dumps(announce).encode()))
        await ben.notified("peer_joined")
        left = False
        for _ in range(190):
            response = await ben.request("offer", to_peer_id="slow", sdp="s" * 60_000)
            left = left or "error" in response or any(frame["method"] == "peer_left" for frame in ben.inbox)
            if left:
                break
        assert left
        raw.close()


async def test_pings_of_a_client_that_does_not_read_do_not_fill_the_memory() -> None:
    """Its pongs are bounded: the connection is dropped."""
    async with running(FakeGateway()) as server:
        raw = await _raw_socket(server)
        loop = asyncio.get_running_loop()
        pings = _frame(9, b"p" * 125) * 500

        async def flood() -> None:
            while True:
                await loop.sock_sendall(raw, pings)

        with pytest.raises(ConnectionError):
            await asyncio.wait_for(flood(), 30)
        raw.close()


async def _longest_pause(done: asyncio.Event) -> float:
    longest, before = 0.0, time.perf_counter()
    while not done.is_set():
        await asyncio.sleep(0)
        now = time.perf_counter()
        longest, before = max(longest, now - before), now
    return longest


@pytest.mark.serial
@pytest.mark.parametrize("opcode", [0, 1, 9])
async def test_a_storm_of_tiny_frames_does_not_stop_the_loop(opcode: int) -> None:
    """Fragments, messages or pings: the connection ends, and no step on the way takes 100 ms.

    Messages wait unread, so that it is the longest backlog that ends theirs.
    """
    settings = WebSettings(
        message_burst=100, messages_per_second=1, ping_interval=0.5, ping_timeout=0.5, longest_backlog=1.0
    )
    async with running(FakeGateway(), settings) as server:
        raw = await _raw_socket(server)
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        watch = asyncio.create_task(_longest_pause(done))
        # An unfinished text message, then continuation frames; or whole messages; or pings: all empty, all masked.
        first = bytes([0x01, 0x80, 0, 0, 0, 0]) if opcode == 0 else b""
        frame = bytes([opcode if opcode == 0 else 0x80 | opcode, 0x80, 0, 0, 0, 0])

        async def storm() -> None:
            await loop.sock_sendall(raw, first)
            for _ in range(100):
                await loop.sock_sendall(raw, frame * 10_000)

        with pytest.raises(ConnectionError):
            await asyncio.wait_for(storm(), 30)
        done.set()
        assert await watch < 0.1
        raw.close()


@by_row(
    ("origin", "status"),
    [
        ("https://evil.example", 403),
        ("null", 403),
        ("http://127.0.0.1:1", 403),
        ("http://127.0.0.1:99999", 403),
        ("file://", 403),
    ],
)
async def test_a_page_of_another_origin_may_not_connect(origin: str, status: int) -> None:
    """Cross-site WebSocket hijacking is answered 403."""
    async with running(FakeGateway()) as server:
        with pytest.raises(InvalidStatus) as refused:
            async with connect(f"ws://127.0.0.1:{server.port}/rpc", additional_headers={"Origin": origin}):
                pass
        assert refused.value.response.status_code == status


async def test_our_own_page_and_listed_origins_may_connect() -> None:
    """The page's origin is the Host it was loaded from."""
    settings = WebSettings(allowed_origins=("https://app.example",), require_origin=True)
    async with running(FakeGateway(), settings) as server:
        for origin in (f"http://127.0.0.1:{server.port}", "https://app.example"):
            async with connect(f"ws://127.0.0.1:{server.port}/rpc", additional_headers={"Origin": origin}) as socket:
                await RpcClient(socket).ok("announce", peer_id="ann")
        with pytest.raises(InvalidStatus):
            async with connect(f"ws://127.0.0.1:{server.port}/rpc"):
                pass


async def test_connections_are_limited_for_each_address() -> None:
    """Behind a proxy by the address that it names: 503, until one is closed."""
    settings = WebSettings(max_connections_per_address=1, proxies=("127.0.0.1",))
    async with running(FakeGateway(), settings) as server:
        async with rpc(server):
            with pytest.raises(InvalidStatus) as refused:
                async with rpc(server):
                    pass
            assert refused.value.response.status_code == 503
        async with asyncio.timeout(30):
            while True:
                try:
                    async with rpc(server):
                        return
                except InvalidStatus:
                    await asyncio.sleep(0)


async def test_a_connection_that_never_announces_itself_is_closed() -> None:
    """Unless it is in a call, as the courtesy form is."""
    gateway = FakeGateway()
    async with (
        running(gateway, WebSettings(announce_timeout=0.2)) as server,
        rpc(server) as caller,
        rpc(server) as idle,
    ):
        await caller.ok("offer", sdp=SDP)
        assert await _ends(idle) == 1008
        await caller.ok("server.info")
        call = gateway.calls[0]
        call.channel.ended(call, Cause.NORMAL)
        assert await _ends(caller) == 1008
