"""The application around the front ends: health, page, headers, server."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import ssl
import statistics
import subprocess
import time
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from gateway.web.app import create_app, serve
from tests.web.client import client_of
from tests.web.fake import FakeGateway, RpcClient, running


async def test_health_says_status_uptime_version_and_calls() -> None:
    """The process works, so /healthz is 200 in any state; /readyz is 503 where new calls are not taken."""
    gateway = FakeGateway()
    gateway.active = 3
    now = [100.0]
    transport = httpx.ASGITransport(create_app(gateway, clock=lambda: now[0]))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway.example") as http:
        now[0] = 142.5
        response = await http.get("/healthz")
        body = response.json()
        assert response.status_code == 200
        assert {**body, "version": ""} == {"status": "ok", "uptime_seconds": 42, "version": "", "active_calls": 3}
        assert body["version"]
        assert (await http.get("/readyz")).status_code == 200
        for status in ("draining", "full"):
            gateway.status = status
            alive, ready = await http.get("/healthz"), await http.get("/readyz")
            assert (alive.status_code, ready.status_code) == (200, 503)
            assert alive.json()["status"] == ready.json()["status"] == status


async def test_the_page_and_its_files_are_served_from_a_fixed_table() -> None:
    """Right types, revalidation by ETag, and nothing else of the disk."""
    async with client_of(FakeGateway()) as http:
        page = await http.get("/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert (await http.get("/", headers={"If-None-Match": page.headers["etag"]})).status_code == 304
        assert "javascript" in (await http.get("/static/softphone.js")).headers["content-type"]
        for path in ("/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/static/", "/static/index"):
            response = await http.get(path)
            assert (response.status_code, response.json()["code"]) == (404, 404)
        assert (await http.post("/")).json()["code"] == 405


async def test_every_response_has_the_security_headers() -> None:
    """No inline script, no framing, no sniffing; errors too, and a worker, which goes by its own."""
    async with client_of(FakeGateway()) as http:
        for path in ("/", "/healthz", "/nothing", "/sw.js", "/static/icon.svg", "/static/none.js"):
            headers = (await http.get(path)).headers
            assert "script-src 'self'" in headers["content-security-policy"]
            assert "unsafe-inline" not in headers["content-security-policy"]
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"


async def test_the_page_has_no_inline_script_or_style() -> None:
    """The policy would block them."""
    async with client_of(FakeGateway()) as http:
        html = (await http.get("/")).text
    assert "style=" not in html
    assert " onclick" not in html
    assert html.count("<script") == html.count('<script type="module" src=')


async def test_the_api_describes_itself() -> None:
    """OpenAPI names the endpoints and the error shape; no page that loads scripts from elsewhere."""
    async with client_of(FakeGateway()) as http:
        api = (await http.get("/openapi.json")).json()
        assert set(api["paths"]) >= {
            "/webrtc/offer",
            "/webrtc/ice-candidate",
            "/webrtc/close",
            "/iceservers",
            "/healthz",
        }
        assert set(api["components"]["schemas"]["ErrorResponse"]["properties"]) >= {"error", "code", "session_id"}
        assert "HTTPValidationError" not in api["components"]["schemas"]
        operations = [entry for path in api["paths"].values() for entry in path.values()]
        assert not any("422" in entry["responses"] for entry in operations)
        assert {"408", "480", "486", "488"} <= set(api["paths"]["/webrtc/offer"]["post"]["responses"])
        assert set(api["components"]["securitySchemes"]) == {"bearer", "basic"}
        assert {"bearer": []} in api["paths"]["/webrtc/offer"]["post"]["security"]
        page = await http.get("/docs")
        assert page.status_code == 200
        assert "//" not in page.text.replace("http://www.w3.org", "")


async def test_serve_takes_a_free_port_and_leaves_the_signals_alone() -> None:
    """Port 0 becomes a real one; it is free again after stop."""
    handler = signal.getsignal(signal.SIGTERM)
    async with running(FakeGateway()) as server:
        assert server.port > 0
        assert signal.getsignal(signal.SIGTERM) is handler
        async with httpx.AsyncClient() as http:
            response = await http.get(f"http://127.0.0.1:{server.port}/healthz")
        assert response.status_code == 200
        assert "server" not in response.headers
    with socket.create_server(("127.0.0.1", server.port)):
        pass


async def test_a_port_in_use_is_an_oserror() -> None:
    """The composition root turns it into a message; the process is not ended from below."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError):
        await serve(create_app(FakeGateway()), "127.0.0.1", taken.getsockname()[1])


async def test_compression_is_off_even_when_the_client_asks() -> None:
    """No deflate bombs."""
    async with running(FakeGateway()) as server, connect(f"ws://127.0.0.1:{server.port}/rpc") as websocket:
        assert websocket.protocol.extensions == []


def _self_signed(folder: Path) -> tuple[Path, Path]:
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    where = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *where], check=True, capture_output=True)
    return certificate, key


@pytest.mark.wall
async def test_serve_speaks_tls(tmp_path: Path) -> None:
    """HTTPS and WSS on the context that is given."""
    certificate, key = _self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    trust = ssl.create_default_context(cafile=str(certificate))
    server = await serve(create_app(FakeGateway()), "127.0.0.1", 0, context)
    try:
        async with httpx.AsyncClient(verify=trust) as http:
            assert (await http.get(f"https://127.0.0.1:{server.port}/healthz")).status_code == 200
        async with connect(f"wss://127.0.0.1:{server.port}/rpc", ssl=trust) as websocket:
            await RpcClient(websocket).ok("announce", peer_id="ann")
    finally:
        await server.stop()


@pytest.mark.serial
async def test_an_answer_does_not_wait_for_the_clients_delayed_ack() -> None:
    """On a kept connection head and body arrive together: without TCP_NODELAY each answer takes 40 ms."""
    async with running(FakeGateway()) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        taken = []
        for _ in range(9):
            began = time.perf_counter()
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: gateway.example\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]))
            taken.append(time.perf_counter() - began)
        writer.close()
        assert statistics.median(taken) < 0.02


async def test_scripts_and_style_sheets_of_a_page_leave_the_policy_to_it() -> None:
    """They say no more than that they are what they seem."""
    async with client_of(FakeGateway()) as http:
        for path in ("/static/call.js", "/static/softphone.css"):
            response = await http.get(path)
            assert response.headers["x-content-type-options"] == "nosniff"
            assert "content-security-policy" not in response.headers


async def test_the_page_with_all_its_modules_weighs_less_than_100_kb() -> None:
    """As it goes over the wire, with its headers; every file that is named is there."""
    async with client_of(FakeGateway()) as http:
        waiting, seen = ["/"], dict[str, int]()
        while waiting:
            path = waiting.pop()
            if path in seen:
                continue
            async with http.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as response:
                assert (response.status_code, response.headers["content-encoding"]) == (200, "gzip"), path
                heads = sum(len(name) + len(value) + 4 for name, value in response.headers.raw)
                seen[path] = heads + int(response.headers["content-length"])
                await response.aread()
            named = re.findall(r'(?:src|href)="static/([^"]+)"|from "\./([^"]+)"', response.text)
            waiting += [f"/static/{one or other}" for one, other in named]
    assert {"/static/gateway-client.js", "/static/words.de.js", "/static/softphone.css"} <= seen.keys()
    async with client_of(FakeGateway()) as http:
        page = (await http.get("/")).text
    named_ahead = {f"/static/{name}" for name in re.findall(r'rel="modulepreload" href="static/([^"]+)"', page)}
    modules = {path for path in seen if path.endswith(".js")}
    assert named_ahead == modules - {"/static/softphone.js"}, "what the page will need is asked for at once"
    assert sum(seen.values()) < 100_000
