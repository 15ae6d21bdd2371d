"""HTTP clients that send slowly, endlessly or nonsense."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus

from gateway.web.app import WebServer, WebSettings
from tests.rows import by_row
from tests.web.fake import FakeGateway, running

HURRIED = WebSettings(request_timeout=0.2)


async def _exchange(server: WebServer, *parts: bytes) -> bytes:
    """Send the parts; all that comes back until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    received = b""
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        async with asyncio.timeout(30):
            while chunk := await reader.read(65_536):
                received += chunk
    except ConnectionError:
        pass
    finally:
        writer.close()
    return received


@pytest.mark.serial
@pytest.mark.parametrize("start", [b"", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_a_head_that_does_not_come_in_time_closes_the_connection(start: bytes) -> None:
    """Idle sockets and slow headers hold nothing for long."""
    async with running(FakeGateway(), HURRIED) as server:
        begun = time.monotonic()
        assert await _exchange(server, start) == b""
        assert time.monotonic() - begun < 3


async def test_a_second_slow_head_on_one_connection_is_closed_too() -> None:
    """Keep-alive opens no way around the limit."""
    async with running(FakeGateway(), HURRIED) as server:
        answer = await _exchange(server, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nX-")
        assert answer.count(b"HTTP/1.1 200") == 1


@by_row(
    ("head", "status"),
    [
        (b"GET /healthz HTTP/1.1", b"400"),
        (b"GET /healthz HTTP/1.1\r\nHost: x", b"200"),
        (b"GET /healthz HTTP/1.1\r\nHost:", b"200"),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y", b"400"),
        (b"GET /healthz HTTP/1.0", b"200"),
        (b"GET /healthz HTTP/1.0\r\nHost: x\r\nHost: y", b"400"),
        (b"GET /sip HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13", b"400"),
    ],
)
async def test_a_request_names_its_host_once(head: bytes, status: bytes) -> None:
    """RFC 9112 section 3.2: 400 for HTTP/1.1 without Host, and for two of them in any version."""
    async with running(FakeGateway()) as server:
        answer = await _exchange(server, head + b"\r\nConnection: close" * (b"Upgrade" not in head) + b"\r\n\r\n")
        assert answer.split(b" ", 2)[1] == status


async def test_browsers_keep_to_https_where_the_certificate_is_ours() -> None:
    """On pages, their parts and errors; not where nothing is said of it (RFC 6797)."""
    async with running(FakeGateway(), WebSettings(strict_transport=600)) as server, httpx.AsyncClient() as http:
        for path in ("/", "/static/words.js", "/nowhere"):
            answer = await http.get(f"http://127.0.0.1:{server.port}{path}")
            assert answer.headers["Strict-Transport-Security"] == "max-age=600"
    async with running(FakeGateway()) as server, httpx.AsyncClient() as http:
        assert "Strict-Transport-Security" not in (await http.get(f"http://127.0.0.1:{server.port}/")).headers


async def test_a_head_beyond_the_limit_is_431() -> None:
    """One endless header, or endless headers."""
    async with running(FakeGateway()) as server:
        for filler in (b"X-A: " + b"a" * 40_000, b"X-A: a\r\n" * 10_000):
            assert b" 431 " in await _exchange(server, b"GET / HTTP/1.1\r\n" + filler)


async def test_a_body_that_does_not_come_in_time_is_408() -> None:
    """Byte by byte is not enough."""
    head = b"POST /webrtc/close HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    async with running(FakeGateway(), WebSettings(request_timeout=0.2)) as server:
        answer = await _exchange(server, head)
        assert b" 408 " in answer
        assert b'"code":408' in answer


async def test_a_body_without_end_is_cut_off() -> None:
    """413 and the connection closed, by the declared length or once a mebibyte has been dropped."""
    head = b"POST /webrtc/close HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    async with running(FakeGateway()) as server:
        assert b" 413 " in await _exchange(server, head + b"Content-Length: 99999999999\r\n\r\n{")
        await _exchange(server, head + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 200)
        async with httpx.AsyncClient() as http:
            assert (await http.get(f"http://127.0.0.1:{server.port}/healthz")).status_code == 200


async def test_a_body_in_chunks_of_one_octet_costs_what_its_octets_do() -> None:
    """As much as may come is read, more is 413; neither takes a second of CPU, and nobody else waits for it."""
    head = b"POST /webrtc/close HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
    chunked = b"Transfer-Encoding: chunked\r\n\r\n"
    async with running(FakeGateway()) as server, httpx.AsyncClient() as http:
        for octets, status in ((60_000, b" 400 "), (80_000, b" 413 ")):
            began = time.process_time()
            sending = asyncio.create_task(_exchange(server, head + chunked, b"1\r\n{\r\n" * octets, b"0\r\n\r\n"))
            assert (await http.get(f"http://127.0.0.1:{server.port}/healthz")).status_code == 200
            assert status in await sending
            assert time.process_time() - began < 1


@by_row("garbage", [b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"INVITE sip:a SIP/2.0\r\n\r\n"])
async def test_what_is_not_http_is_refused_and_the_server_goes_on(garbage: bytes) -> None:
    """A TLS hello, a broken line, another protocol."""
    async with running(FakeGateway(), HURRIED) as server:
        answer = await _exchange(server, garbage)
        assert answer == b"" or b" 400 " in answer
        async with httpx.AsyncClient() as http:
            assert (await http.get(f"http://127.0.0.1:{server.port}/healthz")).status_code == 200


async def test_a_head_that_comes_whole_in_one_read_is_limited_too() -> None:
    """The end of the head in the same read opens no way around the limit."""
    async with running(FakeGateway()) as server:
        for filler in (b"X-A: " + b"a" * 40_000 + b"\r\n", b"X-A: a\r\n" * 10_000):
            head = b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + filler + b"\r\n"
            answer = await _exchange(server, head)
            assert b" 431 " in answer
            assert b" 200 " not in answer


async def test_one_source_cannot_take_the_connections_of_the_others() -> None:
    """Beyond its share it is refused at once; the next one has what it gives back."""
    settings = WebSettings(max_connections_per_address=3)
    async with running(FakeGateway(), settings) as server:
        idle = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(3)]
        request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        assert await _exchange(server, request) == b""
        idle[0][1].close()
        await idle[0][1].wait_closed()
        async with asyncio.timeout(30):
            while b" 200 " not in await _exchange(server, request):
                pass
        for _, writer in idle[1:]:
            writer.close()


async def test_when_all_connections_are_taken_the_longest_idle_gives_way() -> None:
    """Idle strangers never answer for a 503 of everybody else."""
    async with running(FakeGateway(), WebSettings(max_connections=5)) as server:
        idle = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(5)]
        async with httpx.AsyncClient() as http:
            assert (await http.get(f"http://127.0.0.1:{server.port}/healthz")).status_code == 200
        assert await asyncio.wait_for(idle[0][0].read(), 30) == b""
        for _, writer in idle:
            writer.close()


async def test_a_websocket_counts_as_a_connection_until_it_ends() -> None:
    """It takes the place of the request it began as, and gives it back."""
    settings = WebSettings(max_connections_per_address=1)
    async with running(FakeGateway(), settings) as server:
        url = f"ws://127.0.0.1:{server.port}/rpc"
        async with connect(url):
            with pytest.raises((ConnectionError, InvalidMessage)):
                await connect(url).__aenter__()
        async with asyncio.timeout(30):
            while True:
                try:
                    async with connect(url):
                        break
                except (ConnectionError, InvalidMessage):
                    continue


async def test_strangers_write_no_errors_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """A refused handshake, bad UTF-8, a page that is not there, garbage: not one line above INFO."""
    async with running(FakeGateway(), WebSettings(open_rooms=False)) as server:
        base = f"ws://127.0.0.1:{server.port}"
        for path, headers in (
            ("/rpc", {"Origin": "https://evil.example"}),
            ("/rtc/signal", {}),
            ("/nothing", {}),
        ):
            with pytest.raises(InvalidStatus):
                await connect(base + path, additional_headers=headers).__aenter__()
        async with connect(base + "/rpc") as socket:
            await socket.send(b"\xff\xfe", text=True)
            with pytest.raises(ConnectionClosed) as closed:
                await asyncio.wait_for(socket.recv(), 30)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1007
        await _exchange(server, b"\x16\x03\x01 no http at all\r\n\r\n")
    assert [record.getMessage() for record in caplog.records if record.levelname not in ("INFO", "DEBUG")] == []
