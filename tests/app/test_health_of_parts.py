"""Health of a whole gateway while a part that calls need is gone, and once it is back."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.app import GatewayApp
from gateway.net import UserAgent
from gateway.net.config import UserAgentConfig
from gateway.sip.message import build
from gateway.sip.message.message import Request
from gateway.sip.message.parser import parse_message
from tests.app.places import place
from tests.identity.conftest import redis_server
from tests.interop.gateway import config_on_free_ports
from tests.media.engine_support import until
from tests.media.ng_daemon import Daemon, friendly
from tests.net.peers import Application
from tests.ports import free_port

pytestmark = pytest.mark.wall
WITHIN = 5.0
"""Seconds after which the death of a part, and its return, is told."""


@asynccontextmanager
async def gateway(folder: Path, **changes: str) -> AsyncIterator[GatewayApp]:
    """A gateway with these settings, beside tests that keep the machine busy."""
    load = {"LIMITS__LOAD": "0", "LIMITS__DELAY": "60", "LIMITS__PLANE_LOAD": "0"}
    app = GatewayApp(config_on_free_ports(folder, **load, **changes))
    await app.start()
    try:
        yield app
    finally:
        await app.stop()


async def says(app: GatewayApp, status: str, ready: int, reason: str) -> None:
    """Wait until /healthz and /readyz say so; TimeoutError after `WITHIN` seconds."""
    async with asyncio.timeout(WITHIN), httpx.AsyncClient(base_url=app.page_url) as http:
        while True:
            health, readiness = await asyncio.gather(http.get("/healthz"), http.get("/readyz"))
            body: dict[str, Any] = health.json()
            assert health.status_code == 200
            if body["status"] == status and readiness.status_code == ready:
                assert reason in " ".join(body["conditions"])
                return
            await asyncio.sleep(0.05)


async def test_the_only_rtpengine_dies_and_returns(tmp_path: Path) -> None:
    """Every call would be 503, and both doors say so, with its address."""
    daemon = Daemon(friendly)
    address = await daemon.open()
    async with gateway(tmp_path, MEDIA__ENGINE=f"rtpengine:{address[0]}:{address[1]}") as app:
        await says(app, "ok", 200, "")
        daemon.close()
        await says(app, "failed", 503, f"no rtpengine answers at {address[0]}:{address[1]}")
        another = Daemon(friendly)
        await another.open(address)
        await says(app, "ok", 200, "")
        another.close()


async def test_the_only_rtpengine_falls_silent(tmp_path: Path) -> None:
    """No ICMP says so: only the want of answers does."""
    silent = False

    def answer(request: dict[str, Any]) -> Any:
        return None if silent else friendly(request)

    daemon = Daemon(answer)
    address = await daemon.open()
    async with gateway(tmp_path, MEDIA__ENGINE=f"rtpengine:{address[0]}:{address[1]}") as app:
        await says(app, "ok", 200, "")
        silent = True
        await says(app, "failed", 503, "no rtpengine answers")
        silent = False
        await says(app, "ok", 200, "")
    daemon.close()


async def test_a_packet_plane_hangs_and_answers_again(tmp_path: Path) -> None:
    """Of a process outside, which is stopped."""
    async with gateway(tmp_path, MEDIA__PLANE="native") as app:
        await says(app, "ok", 200, "")
        [pid] = planes()
        os.kill(pid, signal.SIGSTOP)
        try:
            await says(app, "failed", 503, "the packet plane does not answer")
        finally:
            os.kill(pid, signal.SIGCONT)
        await says(app, "ok", 200, "")


def planes() -> list[int]:
    """Return the packet planes that this process has started."""
    tasks = Path(f"/proc/{os.getpid()}/task").iterdir()
    children = [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
    return [pid for pid in children if b"gateway-plane" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.mark.parametrize(("cluster", "status", "ready"), [(False, "failed", 503), (True, "degraded", 200)])
async def test_the_store_dies_and_returns(tmp_path: Path, cluster: bool, status: str, ready: int) -> None:
    """Gateways of a cluster stay ready: the store of each is the store of all."""
    port, sip = free_port(), free_port()
    changes = {
        "IDENTITY__STORE": f"redis://127.0.0.1:{port}/0",
        "SIP__LISTEN": f'["udp:127.0.0.1:{sip}", "tcp:127.0.0.1:{sip}"]',
    }
    if cluster:
        changes |= {"CLUSTER__NODE": f"sip:127.0.0.1:{sip}", "CLUSTER__KEY": "the-key-of-a-cluster-in-this-test"}
    async with AsyncExitStack() as stack:
        server = stack.enter_context(ExitStack())
        await asyncio.to_thread(server.enter_context, redis_server(port, tmp_path))
        app = await stack.enter_async_context(gateway(tmp_path, **changes))
        await says(app, "ok", 200, "")
        await asyncio.to_thread(server.close)
        await says(app, status, ready, "The store does not answer")
        await asyncio.to_thread(server.enter_context, redis_server(port, tmp_path))
        await says(app, "ok", 200, "")


async def answering(port: int) -> UserAgent:
    """A trunk on that UDP port."""
    agent = UserAgent(UserAgentConfig(listen=(("127.0.0.58", port),)), Application())
    await agent.start()
    return agent


async def test_a_trunk_dies_and_returns_as_shipped(tmp_path: Path) -> None:
    """Other calls are taken; no setting is needed."""
    port = free_port()
    trunk = await answering(port)
    made = f'[{{"name": "pbx", "uri": "sip:127.0.0.58:{port}"}}]'
    async with gateway(tmp_path, TRUNKS=made) as app:
        await says(app, "ok", 200, "")
        await until(lambda: app._reachability.of("pbx").value == "reachable")
        await trunk.close()
        await says(app, "degraded", 200, "Trunk pbx does not answer")
        trunk = await answering(port)
        await says(app, "ok", 200, "")
    await trunk.close()


async def test_a_trunk_falls_silent_and_returns_as_shipped(tmp_path: Path) -> None:
    """Over UDP neither ICMP nor an answer comes."""
    is_silent = False

    def answer(request: Request, number: int) -> list[bytes]:
        return [] if is_silent else [build.response(request, 200, to_tag="t").write()]

    async with place(answer, "127.0.0.58") as trunk:
        host, port = trunk.address
        async with gateway(tmp_path, TRUNKS=f'[{{"name": "pbx", "uri": "sip:{host}:{port}"}}]') as app:
            await until(lambda: app._reachability.of("pbx").value == "reachable")
            is_silent = True
            await says(app, "degraded", 200, "Trunk pbx does not answer")
            is_silent = False
            await says(app, "ok", 200, "")


async def test_a_trunk_returns_by_another_connection_than_the_dead_one(tmp_path: Path) -> None:
    """The host lost its power: what was sent by the dead connection would come minutes after its return."""
    is_off = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while True:
                request = parse_message(await reader.readuntil(b"\r\n\r\n"))
                assert isinstance(request, Request)
                if not is_off.is_set():
                    writer.write(build.response(request, 200, to_tag="t").write())
        writer.close()

    async def serve_again(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = parse_message(await reader.readuntil(b"\r\n\r\n"))
        assert isinstance(request, Request)
        writer.write(build.response(request, 200, to_tag="t").write())
        await reader.read()
        writer.close()

    port = free_port()
    server = await asyncio.start_server(serve, "127.0.0.58", port)
    made = f'[{{"name": "pbx", "uri": "sip:127.0.0.58:{port};transport=tcp"}}]'
    async with gateway(tmp_path, TRUNKS=made) as app:
        await until(lambda: app._reachability.of("pbx").value == "reachable")
        is_off.set()
        server.close()
        await says(app, "degraded", 200, "Trunk pbx does not answer")
        server = await asyncio.start_server(serve_again, "127.0.0.58", port)
        await says(app, "ok", 200, "")
    server.close()
