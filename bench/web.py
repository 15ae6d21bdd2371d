"""How long a browser waits: for the answer to its offer, for its media, for somebody's voice.

Run as `python -m bench.web`. Peers in the same run: aiortc answering the same offers itself, and
an aiortc connection to another aiortc connection in place of one to the gateway.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable

import httpx
import structlog
from aiortc import RTCPeerConnection, RTCSessionDescription

from bench import signalling
from bench.table import Result, report
from gateway.app import GatewayApp
from gateway.demo.aiortc_browser import LOCAL, ToneTrack
from gateway.demo.chromium import find_chromium
from gateway.demo.runner import Demo, DemoOptions, demo_config

ROUNDS = 15
EXCHANGES = 60
DEMO_ROUNDS = 7
_UNLIMITED = {"GATEWAY_LIMITS__CALLS_PER_SECOND": "10000", "GATEWAY_WEB__LIMITS__OFFER_BURST": "10000"}
"""One client makes all the offers here, faster than one is let."""


async def _median_ms(rounds: int, once: Callable[[], Awaitable[float]]) -> float:
    await once()
    return statistics.median([await once() for _ in range(rounds)]) * 1000


async def _first_frame(connection: RTCPeerConnection) -> asyncio.Event:
    """Set when `connection` has decoded its first audio frame."""
    heard = asyncio.Event()

    @connection.on("track")
    def on_track(track: ToneTrack) -> None:
        async def wait() -> None:
            await track.recv()
            heard.set()

        tasks.append(asyncio.ensure_future(wait()))

    tasks: list[asyncio.Future[None]] = []
    return heard


async def _offering() -> tuple[RTCPeerConnection, asyncio.Event]:
    connection = RTCPeerConnection(LOCAL)
    connection.addTrack(ToneTrack(523))
    heard = await _first_frame(connection)
    await connection.setLocalDescription(await connection.createOffer())
    return connection, heard


async def _exchange_here(client: httpx.AsyncClient, sdp: str) -> float:
    """Offer to answer over HTTP, and the session closed again."""
    began = time.perf_counter()
    answer = await client.post("/webrtc/offer", json={"sdp": {"type": "offer", "sdp": sdp}})
    took = time.perf_counter() - began
    answer.raise_for_status()
    await client.post("/webrtc/close", json={"session_id": answer.json()["session_id"]})
    return took


async def _exchange_aiortc(sdp: str) -> float:
    """The same offer answered by aiortc in this process, without HTTP."""
    connection = RTCPeerConnection(LOCAL)
    began = time.perf_counter()
    await connection.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
    connection.addTrack(ToneTrack(440))
    await connection.setLocalDescription(await connection.createAnswer())
    took = time.perf_counter() - began
    await connection.close()
    return took


async def _hear_gateway(client: httpx.AsyncClient) -> float:
    """From the offer to the first decoded frame of the gateway's tone."""
    connection, heard = await _offering()
    began = time.perf_counter()
    offer = {"sdp": {"type": "offer", "sdp": connection.localDescription.sdp}, "to": "601"}
    answer = (await client.post("/webrtc/offer", json=offer)).json()
    await connection.setRemoteDescription(RTCSessionDescription(answer["sdp"]["sdp"], "answer"))
    await asyncio.wait_for(heard.wait(), 10)
    took = time.perf_counter() - began
    await connection.close()
    await client.post("/webrtc/close", json={"session_id": answer["session_id"]})
    return took


async def _hear_aiortc() -> float:
    """The same with another aiortc connection that sends a tone."""
    connection, heard = await _offering()
    other = RTCPeerConnection(LOCAL)
    began = time.perf_counter()
    await other.setRemoteDescription(connection.localDescription)
    other.addTrack(ToneTrack(440))
    await other.setLocalDescription(await other.createAnswer())
    await connection.setRemoteDescription(other.localDescription)
    await asyncio.wait_for(heard.wait(), 10)
    took = time.perf_counter() - began
    await connection.close()
    await other.close()
    return took


async def _with_gateway() -> list[Result]:
    with tempfile.TemporaryDirectory() as folder:
        app = GatewayApp(demo_config(folder, **_UNLIMITED))
        await app.start()
        try:
            async with httpx.AsyncClient(base_url=app.page_url) as client:
                connection, _ = await _offering()
                sdp = connection.localDescription.sdp
                here = await _median_ms(EXCHANGES, lambda: _exchange_here(client, sdp))
                there = await _median_ms(EXCHANGES, lambda: _exchange_aiortc(sdp))
                await connection.close()
                ours = await _median_ms(ROUNDS, lambda: _hear_gateway(client))
                theirs = await _median_ms(ROUNDS, _hear_aiortc)
        finally:
            await app.stop()
    answer = Result("offer to answer over HTTP", here, "ms", "value <= 10", "aiortc, no HTTP", there, there / here)
    sound = Result(
        "offer to first decoded sound", ours, "ms", "value <= 300", "aiortc to aiortc", theirs, theirs / ours
    )
    return [answer, sound]


async def _whole_call() -> list[Result]:
    """A real browser calls a real desk phone: from its offer to sound at both ends."""
    executable = find_chromium()
    if executable is None:
        print("There is no Chromium here, so the whole call is measured with aiortc as browser.")
    demo = Demo(DemoOptions(browser="auto", rounds=DEMO_ROUNDS), lambda _: None)
    found = await demo.run()
    setup = found.setup_ms
    if setup is None or not found.passed:
        raise SystemExit("the demo failed; run `gateway demo` to see where")
    return [Result(f"{found.browser} to pjsua2: offer to sound at both ends", setup, "ms", "value <= 300")]


def main() -> bool:
    """Measure, print, write bench/results/web.json; whether every goal is met."""
    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    results = asyncio.run(_with_gateway()) + asyncio.run(_whole_call()) + asyncio.run(signalling.measure())
    logging.disable(logging.NOTSET)
    return report("web", results)


if __name__ == "__main__":
    raise SystemExit(0 if main() else 1)
