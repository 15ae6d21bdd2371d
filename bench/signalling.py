"""Signalling at scale: many calls, many sockets, many messages, and the page itself. Part of `python -m bench web`.

The gateway is a process of its own; every client lives in this one.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from aiortc import RTCPeerConnection
from playwright.async_api import async_playwright
from websockets.asyncio.client import ClientConnection, connect

from bench.process import PASSWORD, USER, Gateway, cpu_of, gateway, memory_of
from bench.table import Result
from gateway.demo.aiortc_browser import LOCAL, ToneTrack
from gateway.demo.chromium import find_chromium

CALLS, EXCHANGES = 100, 100
SESSIONS, AT_ONCE = 1_000, 20
SOCKETS = 1_000
PAIRS, RATE, SECONDS = 50, 5_500, 5.0
LISTENERS, CASTS = 100, 50
_MANY = {"WEB__LIMITS__MAX_CONNECTIONS": 5_000, "WEB__LIMITS__MAX_CONNECTIONS_PER_SOURCE": 5_000}
_SETUP = {
    "ROUTES": [{"match": "600", "to": "service:echo"}],
    "WEBRTC__SETUP_TIMEOUT": 120,
    "LIMITS__GUEST_CALLS_PER_SOURCE": 1_000,
    "LIMITS__GUEST_CALLS": 1_000,
}


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


class _Client:
    """One JSON-RPC connection."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self._ids = itertools.count(1)

    async def ask(self, method: str, **params: Any) -> Any:
        number = next(self._ids)
        await self.tell(method, number, **params)
        while True:
            message = json.loads(await self.socket.recv())
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(message["error"])
                return message["result"]

    async def tell(self, method: str, number: int | None = None, **params: Any) -> None:
        request = {"jsonrpc": "2.0", "method": method, "params": params}
        await self.socket.send(json.dumps(request if number is None else request | {"id": number}))


async def _client(stack: AsyncExitStack, served: Gateway, name: str, token: str | None = None) -> _Client:
    url = served.url.replace("http", "ws") + "/rpc"
    socket = await stack.enter_async_context(connect(url, max_queue=None, ping_interval=None, compression=None))
    client = _Client(socket)
    await client.ask("announce", peer_id=name, **({} if token is None else {"token": token}))
    return client


async def _offer() -> dict[str, Any]:
    """The body of an offer over HTTP, of a call to 600."""
    peer = RTCPeerConnection(LOCAL)
    peer.addTrack(ToneTrack(523))
    await peer.setLocalDescription(await peer.createOffer())
    sdp = peer.localDescription.sdp
    await peer.close()
    return {"sdp": {"type": "offer", "sdp": sdp}, "to": "600"}


async def _sessions(served: Gateway) -> list[Result]:
    """What an HTTP session costs when so many of one client are there at once, each a call without media."""
    body = await _offer()
    limits = httpx.Limits(max_connections=AT_ONCE)
    headers = {"Authorization": f"Bearer {USER}:{PASSWORD}"}
    async with httpx.AsyncClient(base_url=served.url, timeout=60, limits=limits, headers=headers) as http:

        async def opened() -> str:
            answer = await http.post("/webrtc/offer", json=body)
            answer.raise_for_status()
            return str(answer.json()["session_id"])

        async def closed(session: str) -> None:
            (await http.post("/webrtc/close", json={"session_id": session})).raise_for_status()

        first = await opened()
        plane = served.plane()
        processes = [served.process.pid, *([] if plane is None else [plane])]
        before = sum(map(memory_of, processes))
        began = time.perf_counter()
        sessions = await asyncio.gather(*(opened() for _ in range(SESSIONS - 1)))
        took = time.perf_counter() - began
        each = (sum(map(memory_of, processes)) - before) / len(sessions) / 1000
        listed = (await http.get("/webrtc/sessions")).json()["count"]
        await asyncio.gather(*map(closed, [first, *sessions]))
    name = "HTTP sessions of one client at once"
    return [
        Result(name, listed, "", f"value >= {SESSIONS}"),
        Result(f"{name}, {AT_ONCE} offers under way: answers a second", len(sessions) / took, "/s"),
        Result(f"{name}: memory of each", each, "kB", "value <= 1000"),
    ]


async def _exchanges(served: Gateway) -> list[Result]:
    """Offer to answer while so many other calls are up (signalled, without media), one after the other.

    By the plainest client there is: one of 2 ms would be a third of what is measured.
    """
    body = json.dumps(await _offer())
    place = urlsplit(served.url)
    http = HTTPConnection(place.hostname or "", place.port, timeout=30)

    def exchange() -> float:
        began = time.perf_counter()
        http.request("POST", "/webrtc/offer", body, {"Content-Type": "application/json"})
        answer = http.getresponse()
        text = answer.read()
        took = time.perf_counter() - began
        if answer.status != 200 or json.loads(text)["sdp"]["type"] != "answer":
            raise RuntimeError(f"{answer.status}: {text[:200]!r}")
        return took * 1000

    with contextlib.closing(http):
        for _ in range(CALLS):
            exchange()
        before = cpu_of(served.process.pid)
        took = [exchange() for _ in range(EXCHANGES)]
        each = (cpu_of(served.process.pid) - before) / EXCHANGES * 1000
    name = f"offer to answer over HTTP, {CALLS} to {CALLS + EXCHANGES} calls up"
    return [
        Result(f"{name}, p50", statistics.median(took), "ms", "value <= 10"),
        Result(f"{name}, p99", _percentile(took, 0.99), "ms"),
        Result(f"{name}, CPU of the gateway", each, "ms"),
    ]


async def _sockets(served: Gateway) -> list[Result]:
    """What a signalling session costs that is announced and idle."""
    async with AsyncExitStack() as stack:
        await _client(stack, served, "guest-first")
        before = memory_of(served.process.pid)
        for number in range(SOCKETS):
            await _client(stack, served, f"guest-{number}", None)
        each = (memory_of(served.process.pid) - before) / SOCKETS / 1000
    return [Result(f"memory of a signalling session, {SOCKETS} open", each, "kB", "value <= 100")]


async def _relayed(served: Gateway) -> list[Result]:
    """Candidates from guest to guest at a steady rate: how many arrive, and how late."""
    late: list[float] = []
    async with AsyncExitStack() as stack:
        pairs = []
        for number in range(PAIRS):
            one = await _client(stack, served, f"caller-{number}")
            other = await _client(stack, served, f"callee-{number}")
            await one.ask("offer", to_peer_id=f"callee-{number}", sdp="v=0\r\n", type="offer")
            pairs.append((one, other))
        wanted = int(RATE * SECONDS / PAIRS)

        async def send(number: int, client: _Client) -> None:
            began = time.perf_counter()
            for count in range(wanted):
                await asyncio.sleep(max(0.0, began + count * PAIRS / RATE - time.perf_counter()))
                now = f"candidate:1 1 udp 1 192.0.2.1 9 typ host x {time.perf_counter()}"
                await client.tell("ice_candidate", to_peer_id=f"callee-{number}", candidate=now, sdp_mid="0")

        async def receive(client: _Client) -> None:
            count = 0
            while count < wanted:
                message = json.loads(await client.socket.recv())
                if message.get("method") == "ice_candidate":
                    late.append((time.perf_counter() - float(message["params"]["candidate"].split()[-1])) * 1000)
                    count += 1

        began, before = time.perf_counter(), cpu_of(served.process.pid)
        work = [send(number, one) for number, (one, _) in enumerate(pairs)] + [receive(other) for _, other in pairs]
        await asyncio.wait_for(asyncio.gather(*work), SECONDS * 6)
        rate = len(late) / (time.perf_counter() - began)
        each = (cpu_of(served.process.pid) - before) / len(late) * 1e6
    return [
        Result(f"relayed messages a second, {RATE} sent", rate, "/s", "value >= 5000"),
        Result("relayed message, p50", statistics.median(late), "ms"),
        Result("relayed message, p99", _percentile(late, 0.99), "ms"),
        Result("relayed message, CPU of the gateway", each, "µs"),
    ]


async def _broadcast(served: Gateway) -> list[Result]:
    """One message to so many subscribers: until the last has it."""
    took = []
    async with AsyncExitStack() as stack:
        listeners = [await _client(stack, served, USER, PASSWORD) for _ in range(LISTENERS)]
        for client in listeners:
            await client.ask("control.subscribe", topic="bench")
        speaker = await _client(stack, served, USER, PASSWORD)

        async def heard(client: _Client) -> None:
            while json.loads(await client.socket.recv()).get("method") != "control.event":
                pass

        for _ in range(CASTS):
            began = time.perf_counter()
            waiting = asyncio.gather(*(heard(client) for client in listeners))
            await speaker.tell("control.publish", topic="bench", data={"n": 1})
            await asyncio.wait_for(waiting, 10)
            took.append((time.perf_counter() - began) * 1000)
    name = f"broadcast to {LISTENERS}, until the last has it"
    return [
        Result(f"{name}, p50", statistics.median(took), "ms"),
        Result(f"{name}, p99", _percentile(took, 0.99), "ms"),
    ]


_PAINTED = """async () => {
  const paint = () => performance.getEntriesByName("first-contentful-paint")[0];
  while (!paint()) await new Promise((done) => setTimeout(done, 20));
  await new Promise((done) => setTimeout(done, 500));
  const parts = [...performance.getEntriesByType("resource"), ...performance.getEntriesByType("navigation")];
  return [paint().startTime, parts.reduce((sum, part) => sum + part.transferSize, 0)];
}"""


async def _page(served: Gateway) -> list[Result]:
    """The page in a browser that has never seen it."""
    executable = find_chromium()
    if executable is None:
        print("There is no Chromium here, so the page is not measured.")
        return []
    painted, weight = [], 0.0
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        for _ in range(5):
            page = await (await browser.new_context()).new_page()
            await page.goto(f"{served.url}/")
            first, weight = await page.evaluate(_PAINTED)
            painted.append(first)
        await browser.close()
    return [
        Result("first paint of the page", statistics.median(painted), "ms"),
        Result("weight of the page on the way", weight / 1000, "kB", "value <= 100"),
    ]


_PARTS: dict[Callable[[Gateway], Awaitable[list[Result]]], dict[str, Any]] = {
    _exchanges: {},
    _sessions: {"LIMITS__LOAD": 0, "LIMITS__DELAY": 60},
    _sockets: {},
    _relayed: {"WEB__GUESTS_MAY_CALL": ["*"]},
    _broadcast: {},
    _page: {},
}
"""Each with what its gateway has otherwise."""


async def measure() -> list[Result]:
    """All of it, each with a gateway of its own."""
    found: list[Result] = []
    with tempfile.TemporaryDirectory() as folder:
        for part, changes in _PARTS.items():
            async with gateway(9, Path(folder) / "gateway.log", **_MANY, **_SETUP, **changes) as served:
                found += await part(served)
    return found
