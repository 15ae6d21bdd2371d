"""Two phones and three pages of a real Chromium in one room of a whole gateway, each with a tone of its own."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from tests.app.tone_peers import TONES, Phone, others, tones_in
from tests.browser.bare import blank_page
from tests.interop.gateway import Gateway, config_on_free_ports, gateway_with
from tests.media.engine_support import until
from tests.net.peers import Application
from tests.web.browser import ALLOWED, chromium

pytestmark = [
    pytest.mark.wall,
]

RATE = 12_000
"""Samples a second of what a page says that it hears."""
SPEAK = """async (hertz) => {
  const context = new AudioContext({ sampleRate: 48000 });
  await context.resume();
  const out = context.createMediaStreamDestination();
  const oscillator = new OscillatorNode(context, { frequency: hertz });
  oscillator.connect(new GainNode(context, { gain: 0.15 })).connect(out);
  oscillator.start();
  const pc = window.pc = new RTCPeerConnection();
  let recent = [];
  window.heard = () => recent.map((sample) => Math.round(sample * 32767));
  pc.ontrack = async ({ track }) => {
    window.player = Object.assign(new Audio(), { srcObject: new MediaStream([track]), muted: true });
    player.play(); // what nobody plays is not decoded
    const reader = new MediaStreamTrackProcessor({ track }).readable.getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const samples = new Float32Array(value.numberOfFrames);
      value.copyTo(samples, { planeIndex: 0, format: "f32-planar" });
      const step = value.sampleRate / 12000;
      value.close();
      recent = [...recent, ...samples.filter((_, index) => index % step === 0)].slice(-6000);
    }
  };
  pc.addTrack(out.stream.getAudioTracks()[0], out.stream);
  await pc.setLocalDescription(await pc.createOffer());
  return pc.localDescription.sdp;
}"""
TAKE = "async (sdp) => { await pc.setRemoteDescription({ type: 'answer', sdp }); }"


class Browser:
    """A page that calls by HTTP."""

    def __init__(self, page: Any, gateway: Gateway, user: str) -> None:
        self._page, self._gateway, self._user = page, gateway, user

    async def dial(self, number: str) -> None:
        offer = await self._page.evaluate(SPEAK, TONES[self._user])
        body = {"sdp": {"type": "offer", "sdp": offer}, "to": number}
        account = (self._user, self._gateway.app.password(self._user))
        async with httpx.AsyncClient(base_url=self._gateway.web, auth=account, timeout=60) as http:
            answered = await http.post("/webrtc/offer", json=body)
        await self._page.evaluate(TAKE, answered.json()["sdp"]["sdp"])

    async def comes_to_hear(self, tones: set[float]) -> None:
        """Wait until it hears these and no others."""
        async with asyncio.timeout(60):
            heard = None
            while heard != tones:  # only asking tells
                await asyncio.sleep(0.1)
                pcm = np.array(await self._page.evaluate("heard()"))
                heard = tones_in(pcm, RATE)


async def test_each_of_two_phones_and_three_pages_hears_exactly_the_others(tmp_path: Path) -> None:
    """Four tones each: Opus to the pages, PCMU to the phones; and no less when one of them has gone."""
    users: list[dict[str, Any]] = [{"id": user, "web": True} for user in ("alice", "bob")]
    users.append({"id": "carol", "web": True, "password": "carols-own-Secret-0815"})
    users += [{"id": user, "sip": True} for user in ("1001", "1002")]
    routes = [{"match": "800", "to": "room:team"}]
    changes = {"USERS": json.dumps(users), "ROUTES": json.dumps(routes), "LIMITS__LOAD": "0"}
    async with AsyncExitStack() as stack:
        config = config_on_free_ports(tmp_path, **changes)
        gateway = await stack.enter_async_context(gateway_with(config, tmp_path / "gateway.log"))
        browser = await stack.enter_async_context(chromium(ALLOWED, "--autoplay-policy=no-user-gesture-required"))
        context = await stack.enter_async_context(await browser.new_context())
        agent = UserAgent(UserAgentConfig(listen=(("127.0.0.1", 0),)), Application())
        await agent.start()
        stack.push_async_callback(agent.close)
        phones = {user: Phone(agent, gateway, user) for user in ("1001", "1002")}
        for phone in phones.values():
            assert await phone.dial("800") == 200
            stack.push_async_callback(phone.rtp.close)
        pages = {user: Browser(await blank_page(context), gateway, user) for user in ("alice", "bob", "carol")}
        for page in pages.values():
            await page.dial("800")
        for name, phone in phones.items():
            await until(lambda phone=phone, name=name: phone.hears() == others(name))
        for name, page in pages.items():
            await page.comes_to_hear(others(name))
        await phones["1002"].hang_up()
        for name, page in pages.items():
            await page.comes_to_hear(others(name) - {TONES["1002"]})
