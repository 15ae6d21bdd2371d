"""JsSIP and SIP.js as they come from npm, in Chromium and Firefox, over the gateway's WebSocket, with a desk phone."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from tests.browser.sip_pages import HZ, LIBRARIES, Stage, desk_phone, hears
from tests.browser.softphone import silent
from tests.interop.gateway import PASSWORDS, PHONE_HZ, TONE_HZ

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]

PAGE = Path(__file__).parents[2] / "docs" / "sip-over-websocket.md"
HEARS = """
  const received = async (connection) =>
    [...(await connection.getStats()).values()].find(({ type, kind }) => type === "inbound-rtp" && kind === "audio");
  for (;;) {
    const connection = session.connection ?? session.sessionDescriptionHandler?.peerConnection;
    const found = connection && (await received(connection));
    if (found?.packetsReceived > 5) return session.isEstablished?.() ?? session.state;
    await new Promise((done) => setTimeout(done, 50));
  }
"""
"""Until audio comes; whether the library says that the call is up."""


@pytest.mark.parametrize(("library", "up"), [("JsSIP", True), ("SIP.js", "Established")])
async def test_what_the_page_shows_first_is_a_call(stage: Stage, library: str, up: object) -> None:
    """The snippet of docs/sip-over-websocket.md as it stands there, with this gateway's names and a microphone."""
    [snippet] = re.findall(rf"^```js\n// {re.escape(library)}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    gateway = stage.gateway
    for shown, here in (
        ('"wss://gateway.example.com/sip"', json.dumps(gateway.web.replace("http", "ws", 1) + "/sip")),
        ("@gateway.local", f"@{gateway.config.domain}"),
        ('"…"', json.dumps(PASSWORDS["1001"])),
    ):
        assert shown in snippet
        snippet = snippet.replace(shown, here)
    microphone = """
      const context = new AudioContext();
      const out = context.createMediaStreamDestination();
      const oscillator = context.createOscillator();
      oscillator.connect(out);
      oscillator.start();
      navigator.mediaDevices.getUserMedia = async () => out.stream;
    """
    async with stage.page() as page, asyncio.timeout(30):
        assert await page.run(f"return (async () => {{ {microphone} {snippet} {HEARS} }})()") == up
        for call in gateway.app.calls:
            call.stop()
        await gateway.idle()


@pytest.mark.parametrize("library", LIBRARIES)
async def test_the_tone_is_heard_and_the_call_is_hung_up(stage: Stage, library: str) -> None:
    """Register, dial 601, hear its frequency, hold it and come back, hang up; 600 gives back what is said."""
    async with stage.phone(library) as page:
        await page.do("call", "601")
        await page.until("confirmed")
        await page.tone(TONE_HZ)
        await page.do("hold")
        await page.silence()
        await page.do("resume")
        await page.sound()
        await page.do("hangup")
        await page.until("ended")
        await page.do("call", "600")
        await page.tone(HZ)
        await page.do("hangup")
        await stage.gateway.idle()


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_desk_phone_is_called_held_and_sent_digits(stage: Stage, library: str) -> None:
    """Tones both ways, silence while it is held, digits of both kinds, and the phone hangs up."""
    gateway = stage.gateway
    async with desk_phone(gateway) as desk, stage.phone(library) as page:
        await page.do("call", "1001")
        await page.until("confirmed")
        await page.tone(PHONE_HZ)
        await hears(desk, HZ)
        await page.do("hold")
        await page.silence()
        await silent(desk)
        await page.do("resume")
        await page.sound()
        await hears(desk, HZ)
        for digit, way in (("5", "rtp"), ("8", "info")):
            await page.do("digit", digit, way)
            assert (await desk.expect("digit")).details["digit"] == digit
        desk.hangup()
        await page.until("ended")


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_browser_is_called_by_a_desk_phone(stage: Stage, library: str) -> None:
    """Tones both ways; the phone puts it on hold and takes it back; the browser hangs up."""
    gateway = stage.gateway
    async with desk_phone(gateway) as desk, stage.phone(library) as page:
        desk.dial(gateway.uri("1002"))
        assert await page.until("incoming") == "1001"
        await page.do("answer")
        await page.until("confirmed")
        await page.tone(PHONE_HZ)
        await hears(desk, HZ)
        desk.hold()
        await page.silence()
        desk.unhold()
        await page.tone(PHONE_HZ)
        await page.do("hangup")
        await desk.expect("state", state="ended")


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_lost_socket_is_registered_again(stage: Stage, library: str) -> None:
    """The library connects again as it is told to in its guide, and is called by the new socket."""
    gateway = stage.gateway
    async with desk_phone(gateway) as desk, stage.phone(library) as page:
        await page.get("phone.lose()")
        await page.until("disconnected")
        await page.until("registered")
        desk.dial(gateway.uri("1002"))
        await page.until("incoming")
        await page.do("answer")
        await page.tone(PHONE_HZ)
        desk.hangup()
        await page.until("ended")


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_wrong_password_is_refused(stage: Stage, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library says so, and nobody can be called there."""
    monkeypatch.setitem(PASSWORDS, "1002", "not the password")
    async with stage.page() as page:
        await page.open(library, stage.gateway, "1002", HZ)
        await page.until("refused")


@pytest.mark.parametrize("library", LIBRARIES)
async def test_messages_go_both_ways(stage: Stage, library: str) -> None:
    """MESSAGE between two browsers (RFC 3428)."""
    async with stage.phone(library) as page, stage.phone(library, "1001", PHONE_HZ) as other:
        assert await page.do("message", "1001", "Grüße") == "delivered"
        assert await other.until("message") == "Grüße"
