"""Data channels of Chromium and of Firefox: given back by the echo service, and mirrored from one at the other."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from gateway.media.engine import Kind, Party
from tests import peers
from tests.browser.firefox import Firefox
from tests.media.engine_support import phone_sdp, running

pytestmark = [
    pytest.mark.wall,
]

FLAGS = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--no-first-run"]
ONE, OTHER = Party("one", Kind.WEBRTC), Party("other", Kind.WEBRTC)
ECHO = Party("echo", Kind.SERVICE, service="echo")
MAKE = """
  const media = await navigator.mediaDevices.getUserMedia({audio: true});
  window.pc = new RTCPeerConnection();
  pc.addTrack(media.getTracks()[0], media);
  window.heard = [], window.ended = [], window.channels = {};
  window.keep = channel => {
    channels[channel.label] = channel;
    channel.binaryType = 'arraybuffer';
    channel.onmessage = ({data}) =>
      heard.push([channel.label, typeof data === 'string' ? data : [...new Uint8Array(data)]]);
    channel.onclose = () => ended.push(channel.label);
  };
  pc.ondatachannel = ({channel}) => keep(channel);
  return true;
"""
OPEN = "keep(pc.createDataChannel('chat')); return true;"
OFFER = "await pc.setLocalDescription(await pc.createOffer()); return pc.localDescription.sdp;"
ANSWER = """
  await pc.setRemoteDescription({type: 'offer', sdp: %s});
  await pc.setLocalDescription(await pc.createAnswer());
  return pc.localDescription.sdp;
"""
TAKE = "await pc.setRemoteDescription({type: 'answer', sdp: %s}); return true;"
SENT = [["chat", "héllo"], ["chat", ""], ["chat", [0, 255]], ["chat", "x" * 20_000]]
SEND = """
  for (const [, each] of %s) channels.chat.send(typeof each === 'string' ? each : new Uint8Array(each));
  return true;
"""
Run = Callable[[str], Awaitable[Any]]


class _Blank(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html>")

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def blank() -> Any:
    """The address of an empty page on localhost, which is a secure origin."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Blank)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://localhost:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()
    thread.join()


@contextlib.asynccontextmanager
async def chromium(blank: str) -> AsyncIterator[Run]:
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=peers.chromium(), args=FLAGS)
        page = await started.new_page()
        await page.goto(blank)
        await page.evaluate(f"async () => {{ {MAKE} }}")
        yield lambda script: page.evaluate(f"async () => {{ {script} }}")
        await started.close()


@contextlib.asynccontextmanager
async def firefox(blank: str) -> AsyncIterator[Run]:
    async with Firefox(peers.program("firefox-esr", "firefox-esr")) as browser:
        await browser.open(blank)

        async def run(script: str) -> Any:
            return await browser.run(f"return (async () => {{ {script} }})();")

        await run(MAKE)
        yield run


async def comes(run: Run, script: str, wanted: Any) -> None:
    """Wait until the page says so."""
    said = None
    async with asyncio.timeout(30):
        while said != wanted:  # only asking tells
            await asyncio.sleep(0.05)
            said = await run(script)


OPENED = "return channels.chat?.readyState"
BROWSERS = {"chromium": chromium, "firefox": firefox}


@pytest.mark.parametrize("name", [pytest.param("chromium", marks=pytest.mark.core), "firefox"])
async def test_the_echo_service_gives_messages_back(blank: str, name: str) -> None:
    """Text, nothing, octets and a long one, in order."""
    peers.network()
    async with running() as (engine, _), BROWSERS[name](blank) as page:
        await page(OPEN)
        await engine.offer("call", ONE, ECHO, await page(OFFER))
        await page(TAKE % json.dumps(await engine.answer("call", ECHO, ONE, phone_sdp())))
        await comes(page, OPENED, "open")
        await page(SEND % json.dumps(SENT))
        await comes(page, "return heard", SENT)


async def test_chromium_and_firefox_talk_by_a_channel(blank: str) -> None:
    """What one opens is there at the other; messages pass both ways, and the end of it does."""
    peers.network()
    async with running() as (engine, _), chromium(blank) as one, firefox(blank) as other:
        await one(OPEN)
        offer = await engine.offer("call", ONE, OTHER, await one(OFFER))
        answer = await engine.answer("call", OTHER, ONE, await other(ANSWER % json.dumps(offer)))
        await one(TAKE % json.dumps(answer))
        await comes(one, OPENED, "open")
        await comes(other, OPENED, "open")
        await one(SEND % json.dumps(SENT))
        await comes(other, "return heard", SENT)
        await other(SEND % json.dumps(SENT[:1]))
        await comes(one, "return heard", SENT[:1])
        await one("channels.chat.close(); return true;")
        await comes(other, "return ended", ["chat"])
        await comes(one, "return ended", ["chat"])
