"""webrtc-client.js as the guide shows it: every example against the real gateway, in a real Chromium, by ear."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page

from tests.interop.gateway import NEAR, Gateway, config_on_free_ports, gateway_with
from tests.web.browser import ALLOWED, chromium

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("chromiums")]

_LIBRARY = """
window.hear = async (pc) => {
  const context = new AudioContext();
  await context.resume();
  const track = pc.getReceivers()[0].track;
  const element = Object.assign(new Audio(), { srcObject: new MediaStream([track]), muted: true });
  await element.play();
  const analyser = new AnalyserNode(context, { fftSize: 8192, smoothingTimeConstant: 0 });
  context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
  const bins = new Float32Array(analyser.frequencyBinCount);
  let before = -2, steady = 0;
  try {
    for (let i = 0; i < 120; i++) {
      await new Promise((done) => setTimeout(done, 50));
      analyser.getFloatFrequencyData(bins);
      const loudest = bins.indexOf(Math.max(...bins));
      // A window that the tone has only begun to fill has its strength elsewhere: the same must be heard on and on.
      steady = bins[loudest] > -50 && Math.abs(loudest - before) <= 1 ? steady + 1 : 0;
      before = loudest;
      if (steady === 2) return (loudest * context.sampleRate) / analyser.fftSize;
    }
    return 0;
  } finally {
    await context.close();
  }
};
window.until = async (condition) => {
  for (let i = 0; i < 400; i++) {
    if (condition()) return true;
    await new Promise((done) => setTimeout(done, 20));
  }
  return false;
};
window.client = new WebRTCSDPClient(location.origin + "/");
window.examples = new WebRTCSDPExamples(client);
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    folder: Path = tmp_path_factory.mktemp("examples")
    async with gateway_with(config_on_free_ports(folder), folder / "gateway.log") as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def page(gateway: Gateway) -> AsyncIterator[Page]:
    """A page of the gateway's own origin with the library in it; no request of it fails."""
    async with chromium(ALLOWED, "--autoplay-policy=no-user-gesture-required") as browser:
        page = await browser.new_page()
        failed: list[str] = []
        page.on("response", lambda response: failed.append(response.url) if response.status >= 400 else None)
        await page.goto(gateway.app.page_url + "docs")
        await page.add_script_tag(url="/webrtc-client.js")
        await page.evaluate(_LIBRARY)
        yield page
        assert failed == []
    await gateway.idle()


async def _sessions(page: Page, gateway: Gateway) -> int:
    return len(gateway.app.calls)


@pytest.mark.serial
async def test_the_basic_example_connects_and_hears_its_own_echo(page: Page, gateway: Gateway) -> None:
    """And closing by HTTP ends the browser's side at once, not when its checks have failed."""
    heard = await page.evaluate(
        "async () => { window.basic = await examples.basicPeerConnection(); return await hear(basic.pc); }"
    )
    assert heard > 0
    assert await page.evaluate("basic.pc.connectionState") == "connected"
    milliseconds = await page.evaluate(
        """async () => {
          const begun = performance.now();
          await client.closeSession(basic.sessionId, "done");
          await until(() => basic.pc.connectionState !== "connected");
          return performance.now() - begun;
        }"""
    )
    assert milliseconds < 1_000
    await page.evaluate("basic.pc.close()")


async def test_the_advanced_example_carries_its_candidates_in_the_offer(page: Page) -> None:
    """It waits for gathering, then connects as the basic one."""
    result: dict[str, Any] = await page.evaluate(
        """async () => {
          const made = await examples.advancedPeerConnection();
          const heard = await hear(made.pc);
          const offered = made.pc.localDescription.sdp.includes("a=candidate:");
          await examples.cleanup([made]);
          return { heard, offered, state: made.pc.connectionState };
        }"""
    )
    assert result["heard"] > 0
    assert result["offered"] is True
    assert result["state"] == "closed"


async def test_the_metadata_example_gives_its_metadata_back(page: Page) -> None:
    """With a channel that says whether it could be opened."""
    result: dict[str, Any] = await page.evaluate(
        """async () => {
          const made = await examples.metadataExample();
          await until(() => made.pc.connectionState === "connected");
          const { metadata, dataChannel, pc } = made;
          const state = pc.connectionState;
          await examples.cleanup([made]);
          return { metadata, label: dataChannel.label, ordered: dataChannel.ordered, state };
        }"""
    )
    assert result["metadata"]["userId"] == "user123"
    assert (result["label"], result["ordered"], result["state"]) == ("chat", True, "connected")


async def test_the_concurrent_example_hears_each_tone_on_its_own_session(page: Page) -> None:
    """440, 550 and 660 Hz at once: no session hears another's."""
    heard = await page.evaluate(
        """async () => {
          window.three = await examples.concurrentSessions();
          const heard = await Promise.all(three.map(({ pc }) => hear(pc)));
          await examples.cleanup(three);
          return heard;
        }"""
    )
    assert heard == [pytest.approx(hz, abs=NEAR) for hz in (440, 550, 660)]


async def test_the_guides_advanced_setup_runs_from_end_to_end_and_leaves_nothing(page: Page, gateway: Gateway) -> None:
    """basic, advanced, metadata, concurrent, cleanup: line by line as the guide has it."""
    await page.evaluate(
        """async () => {
          const basic = await examples.basicPeerConnection();
          const advanced = await examples.advancedPeerConnection();
          const metadata = await examples.metadataExample();
          const concurrent = await examples.concurrentSessions();
          if (concurrent.length !== 3) throw new Error("not all three");
          await examples.cleanup([basic, advanced, metadata, ...concurrent]);
        }"""
    )
    await gateway.idle()
    assert await _sessions(page, gateway) == 0


async def test_candidates_one_by_one_as_set_up_session_sends_them(page: Page) -> None:
    """setupSession, sendIceCandidate with a real candidate, exchangeSdp."""
    states = await page.evaluate(
        """async () => {
          const pc = new RTCPeerConnection({ iceServers: await client.getIceServers() });
          pc.addTransceiver("audio");
          const candidates = [];
          pc.addEventListener("icecandidate", ({ candidate }) => candidate && candidates.push(candidate));
          await pc.setLocalDescription(await pc.createOffer());
          await until(() => pc.iceGatheringState === "complete");
          const { sessionId, answerSdp } = await client.setupSession(pc.localDescription.sdp, candidates);
          await pc.setRemoteDescription({ type: "answer", sdp: answerSdp });
          await until(() => pc.connectionState === "connected");
          const answer = await client.sendIceCandidate(sessionId, null);
          const state = pc.connectionState;
          await client.closeSession(sessionId);
          pc.close();
          return [state, answer.status];
        }"""
    )
    assert states == ["connected", "received"]
