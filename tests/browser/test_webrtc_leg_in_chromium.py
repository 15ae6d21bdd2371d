"""The leg against a real Chromium: connected, audio decrypted, audio back counted by getStats."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from gateway.media.embedded.plane.values import Action, MediaPacket, Route
from gateway.media.embedded.webrtc.leg import WebRtcLeg
from gateway.media.embedded.webrtc.states import LegState
from tests.browser.bare import blank_page, chromium
from tests.media.arsenal import arsenal, spraying
from tests.media.webrtc_support import LiveBench, RecordingSink, answer_for, remote_of

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]

OFFER = """async () => {
  const media = await navigator.mediaDevices.getUserMedia({audio: true});
  window.pc = new RTCPeerConnection();
  pc.addTrack(media.getTracks()[0], media);
  pc.states = [];
  pc.onconnectionstatechange = () => { pc.states.push(pc.connectionState); if (pc.waiting) pc.waiting(); };
  await pc.setLocalDescription(await pc.createOffer());
  return pc.localDescription.sdp;
}"""
ANSWER = """async (sdp) => {
  const began = performance.now();
  await pc.setRemoteDescription({type: 'answer', sdp});
  while (pc.connectionState !== 'connected') {
    if (pc.connectionState === 'failed') throw new Error('failed');
    await new Promise(done => { pc.waiting = done; });
  }
  return performance.now() - began;
}"""
RESTART = """async () => {
  await pc.setLocalDescription(await pc.createOffer({iceRestart: true}));
  return pc.localDescription.sdp;
}"""
PAIR = """async () => {
  const report = await pc.getStats();
  let found = null;
  report.forEach(s => { if (s.type === 'transport') found = s.selectedCandidatePairId; });
  return found;
}"""
RECEIVED = """async () => {
  const report = await pc.getStats();
  let found = 0;
  report.forEach(s => { if (s.type === 'inbound-rtp') found = s.packetsReceived; });
  return found;
}"""


class CountingSink(RecordingSink):
    """Counts what comes, and keeps the last packet."""

    def __init__(self) -> None:
        super().__init__()
        self.packets = 0
        self.last: MediaPacket | None = None

    def media(self, packet: MediaPacket) -> None:
        self.packets += 1
        self.last = packet


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Any]:
    """One Chromium for all tests here."""
    async with chromium() as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Any) -> AsyncIterator[Any]:
    """A page, fresh for every test."""
    async with await browser.new_context() as context:
        yield await blank_page(context)


@pytest_asyncio.fixture(loop_scope="module")
async def bench() -> AsyncIterator[LiveBench]:
    """The gateway's port on loopback."""
    bench = await LiveBench.start()
    yield bench
    bench.close()


async def connect(page: Any, bench: LiveBench, setup: str) -> tuple[WebRtcLeg, CountingSink, float]:
    """Offer, answer, connected; returns the leg, its sink and the browser's milliseconds."""
    up = asyncio.Event()
    leg = bench.open_leg(lambda state, reason: up.set() if state is LegState.CONNECTED else None)
    sink = CountingSink()
    bench.listen(leg, sink)
    bench.plane.route(leg.flow, leg.flow, {111: Route(action=Action.PUNT, clock_rate=48000)})
    offer = await page.evaluate(OFFER)
    leg.set_remote(*remote_of(offer), setup)
    elapsed = await page.evaluate(ANSWER, answer_for(offer, bench.port, leg, setup, "111 opus/48000/2"))
    await asyncio.wait_for(up.wait(), 30)
    return leg, sink, elapsed


async def until(condition: Any, seconds: float = 30) -> None:
    """Wait for a condition that only polling can see."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110  # getStats has no event to wait for
            await asyncio.sleep(0.05)


@pytest.mark.serial
@pytest.mark.parametrize("setup", ["passive", "active"])
async def test_chromium_connects_quickly_and_media_flows_both_ways(page: Any, bench: LiveBench, setup: str) -> None:
    """In either DTLS role Chromium is connected well under a second, and audio passes both ways."""
    leg, sink, elapsed = await connect(page, bench, setup)
    print(f"setup:{setup} connected {elapsed:.0f} ms after setRemoteDescription (leg: {leg.connected_after_ms:.0f} ms)")  # noqa: T201
    assert elapsed < 1000
    before = sink.packets

    async def heard() -> bool:
        return sink.packets >= before + 25

    await until(heard)
    assert sink.last is not None
    assert sink.last.payload_type == 111

    sequence = 0

    async def counted() -> bool:
        nonlocal sequence
        sequence += 1
        bench.plane.inject(leg.flow, 111, False, b"\xf8\xff\xfe", 960)
        return int(await page.evaluate(RECEIVED)) >= 10

    await until(counted)
    leg.close()


@pytest.mark.serial
async def test_a_description_that_comes_late_costs_no_back_off(page: Any, bench: LiveBench) -> None:
    """Chromium's ClientHello, two datagrams long, waits at its proved address for set_remote."""
    up = asyncio.Event()
    leg = bench.open_leg(lambda state, reason: up.set() if state is LegState.CONNECTED else None)
    offer = await page.evaluate(OFFER)
    answer = answer_for(offer, bench.port, leg, "passive", "111 opus/48000/2")
    await page.evaluate("async (sdp) => await pc.setRemoteDescription({type: 'answer', sdp})", answer)

    async def proved() -> bool:
        return leg.discarded.get("early", 0) >= 8

    await until(proved)
    leg.set_remote(*remote_of(offer), "passive")
    await asyncio.wait_for(up.wait(), 30)
    assert leg.connected_after_ms is not None
    print(f"late description: connected {leg.connected_after_ms:.0f} ms after set_remote")  # noqa: T201
    assert leg.connected_after_ms < 250
    leg.close()


@pytest.mark.serial
async def test_an_ice_restart_keeps_media_flowing(page: Any, bench: LiveBench) -> None:
    """Chromium restarts ICE: new credentials on both sides, same DTLS keys, the state stays connected."""
    leg, sink, _ = await connect(page, bench, "passive")
    old_ufrag = leg.local_ufrag
    old_pair = await page.evaluate(PAIR)
    began = time.monotonic()
    offer = await page.evaluate(RESTART)
    leg.set_remote(*remote_of(offer), "passive")
    assert leg.local_ufrag != old_ufrag
    answer = answer_for(offer, bench.port, leg, "passive", "111 opus/48000/2")
    await page.evaluate("async (sdp) => await pc.setRemoteDescription({type: 'answer', sdp})", answer)

    async def moved() -> bool:
        return bool(await page.evaluate(PAIR) != old_pair) and bench.port.table_sizes["ufrags"] == 1

    await until(moved)
    before = sink.packets

    async def heard() -> bool:
        return sink.packets >= before + 25

    await until(heard)
    assert time.monotonic() - began < 10
    assert leg.state is LegState.CONNECTED
    leg.close()


async def test_closing_the_peer_connection_ends_the_leg(page: Any, bench: LiveBench) -> None:
    """Chromium's close_notify is seen at once; nobody waits for the liveness timer."""
    leg, _, _ = await connect(page, bench, "passive")
    await page.evaluate("() => pc.close()")

    async def failed() -> bool:
        return leg.state is LegState.FAILED

    await until(failed, 5)


async def test_chromium_connects_and_is_heard_under_a_spray(page: Any, bench: LiveBench) -> None:
    """ClientHello, alerts, forged media and bad STUN from four other sockets, from before the offer to the end."""
    decoy = bench.open_leg(lambda state, reason: None)
    async with spraying(bench.port.addresses[0], arsenal(decoy)) as counts:
        await asyncio.sleep(0.1)
        leg, sink, elapsed = await connect(page, bench, "passive")
        before = sink.packets

        async def heard() -> bool:
            return sink.packets >= before + 50

        await until(heard)
    print(f"under a spray of {counts['sent']} datagrams: connected {elapsed:.0f} ms after setRemoteDescription")  # noqa: T201
    assert counts["sent"] > 500
    assert leg.state is LegState.CONNECTED
    assert bench.discarded(leg) == {}
    assert "internal_error" not in bench.counters


async def test_a_wrong_fingerprint_never_connects(page: Any, bench: LiveBench) -> None:
    """A certificate other than the one signalling promised fails the leg, and no media is decrypted."""
    failures: list[str] = []
    failed = asyncio.Event()

    def on_state(state: LegState, reason: str) -> None:
        if state is LegState.FAILED:
            failures.append(reason)
            failed.set()

    leg = bench.open_leg(on_state)
    sink = CountingSink()
    bench.listen(leg, sink)
    bench.plane.route(leg.flow, leg.flow, {111: Route(action=Action.PUNT, clock_rate=48000)})
    offer = await page.evaluate(OFFER)
    ufrag, password, _ = remote_of(offer)
    leg.set_remote(ufrag, password, (("sha-256", ":".join(["AB"] * 32)),), "passive")
    answer = answer_for(offer, bench.port, leg, "passive", "111 opus/48000/2")
    await page.evaluate("async (sdp) => await pc.setRemoteDescription({type: 'answer', sdp})", answer)
    await asyncio.wait_for(failed.wait(), 30)
    assert failures == ["the peer's certificate does not match its fingerprint"]
    assert sink.packets == 0
    assert not leg.ready
