"""Firefox's rate: what a phone asks for is its limit, and no longer than the phone asks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.media.engine import Kind, Party
from tests import peers
from tests.browser.firefox import Firefox
from tests.browser.noise import NOISE, LimitingPhone
from tests.media.engine_support import PLANE, running
from tests.media.plane_scene import native
from tests.peers import firefox

pytestmark = [pytest.mark.wall, pytest.mark.nightly, pytest.mark.serial]

ANSWER = (
    NOISE
    + """
  const sdp = %s;
  window.pc = new RTCPeerConnection();
  for (const track of media.getTracks()) pc.addTrack(track, media);
  await pc.setRemoteDescription({type: "offer", sdp});
  await pc.setLocalDescription(await pc.createAnswer());
  return pc.localDescription.sdp;
"""
)
SENDER, PHONE = Party("sender", Kind.WEBRTC), Party("phone", Kind.RTP, private_source="127.0.0.1")


async def test_firefox_sends_no_more_than_the_phone_asks_for(tmp_path: Path) -> None:
    """TMMBR becomes REMB: what comes at the phone falls below it, and rises when it asks for more."""
    peers.network()
    PLANE.set(lambda: native(tmp_path))
    async with running() as (engine, _), LimitingPhone() as phone, Firefox(firefox()) as browser:
        offer = await engine.offer("call", PHONE, SENDER, phone.sdp())
        answer = await browser.run(f"return (async () => {{ {ANSWER % json.dumps(offer)} }})();")
        phone.take(await engine.answer("call", SENDER, PHONE, answer))
        await phone.gets(lambda bits: bits > 300_000)
        phone.limit(150_000)
        await phone.gets(lambda bits: 0 < bits < 200_000)
        phone.limit(2_000_000)
        await phone.gets(lambda bits: bits > 300_000)
