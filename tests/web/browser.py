"""Chromium on the page, and an aiortc peer that answers its media; for tests/browser/test_page*.py."""

from __future__ import annotations

import asyncio
import contextlib
import fractions
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import av
import numpy as np
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from playwright.async_api import Browser, ConsoleMessage, Page, Playwright, async_playwright

from gateway.call.status import Cause
from gateway.web.app import WebServer, WebSettings
from tests import peers
from tests.web.fake import FakeCall, FakeGateway, running

FAKE_DEVICE = "--use-fake-device-for-media-stream"
NO_DEVICE = "no device"
"""In the place of an argument: a machine without microphone, camera and sound card, whatever this one has."""
NO_SOUND = {"ALSA_CONFIG_PATH": os.devnull, "PULSE_SERVER": f"unix:{os.devnull}", "PIPEWIRE_REMOTE": os.devnull}
ARGUMENTS = [
    "--no-sandbox",
    FAKE_DEVICE,
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
]
ALLOWED = "--use-fake-ui-for-media-stream"
RATE = 48_000


@dataclass(eq=False)
class _Chromiums:
    """Those that run, by their arguments: a start takes more than most tests."""

    playwright: Playwright
    running: dict[tuple[str, ...], Browser] = field(default_factory=dict)

    async def browser(self, executable: str, arguments: tuple[str, ...]) -> Browser:
        """The one with these arguments; one that died is started again."""
        found = self.running.get((executable, *arguments))
        if found is None or not found.is_connected():
            left_out = {NO_DEVICE, FAKE_DEVICE} if NO_DEVICE in arguments else set()
            every = [one for one in (*ARGUMENTS, *arguments) if one not in left_out]
            environ = os.environ | (NO_SOUND if left_out else {})
            found = await self.playwright.chromium.launch(executable_path=executable, args=every, env={**environ})
            self.running[executable, *arguments] = found
        return found

    async def close(self) -> None:
        """End all."""
        for browser in self.running.values():
            await browser.close()


_kept: _Chromiums | None = None


@contextlib.asynccontextmanager
async def chromiums() -> AsyncIterator[None]:
    """Inside, browsers that `chromium` starts run on for the next test of this event loop that asks for the same."""
    global _kept
    async with async_playwright() as playwright:
        _kept = found = _Chromiums(playwright)
        try:
            yield
        finally:
            _kept = None
            await found.close()


@contextlib.asynccontextmanager
async def chromium(*arguments: str, whole: bool = False) -> AsyncIterator[Browser]:
    """The system's Chromium, headless, and at the end without what was opened in it; skips without it, fails in CI.

    `whole`: the one with windows, that refuses a microphone and shows notifications.
    """
    executable = peers.whole_chromium() if whole else peers.chromium()
    async with contextlib.AsyncExitStack() as stack:
        if _kept is None:
            await stack.enter_async_context(chromiums())
        assert _kept is not None
        browser = await _kept.browser(executable, arguments)
        others = browser.contexts
        try:
            yield browser
        finally:
            for context in browser.contexts:
                if context not in others:
                    await context.close()


class Tone(MediaStreamTrack):
    """A sine wave of `frequency` Hz in 20 ms frames, paced by the clock."""

    kind = "audio"

    def __init__(self, frequency: int) -> None:
        super().__init__()
        self._frequency = frequency
        self._sample = 0
        self._started = 0.0

    async def recv(self) -> av.AudioFrame:
        if self.readyState != "live":
            raise MediaStreamError
        loop = asyncio.get_running_loop()
        self._started = self._started or loop.time()
        await asyncio.sleep(max(0.0, self._started + self._sample / RATE - loop.time()))
        count = RATE // 50
        times = (np.arange(count) + self._sample) / RATE
        samples = (np.sin(2 * np.pi * self._frequency * times) * 12_000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self._sample, fractions.Fraction(1, RATE)
        self._sample += count
        return frame


@dataclass(eq=False)
class Phone:
    """The far end of one call: an aiortc peer that plays a tone and listens."""

    gateway: FakeGateway
    frequency: int = 440
    connection: RTCPeerConnection = field(default_factory=RTCPeerConnection)
    heard: list[np.ndarray] = field(default_factory=list)
    sound: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.connection.on("track", self._on_track)

    def _on_track(self, track: MediaStreamTrack) -> None:
        self.tasks.append(asyncio.create_task(self._listen(track)))

    async def _listen(self, track: MediaStreamTrack) -> None:
        with contextlib.suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                assert isinstance(frame, av.AudioFrame)
                samples = frame.to_ndarray().astype(float).ravel()
                self.heard.append(samples)
                if np.abs(samples).max() > 300:
                    self.sound.set()

    async def answer(self, call: FakeCall) -> str:
        """Take the browser's offer, give the answer."""
        await self.connection.setRemoteDescription(RTCSessionDescription(call.offer, "offer"))
        self.connection.addTrack(Tone(self.frequency))
        await self.connection.setLocalDescription(await self.connection.createAnswer())
        return str(self.connection.localDescription.sdp)

    async def call(self, user: str, name: str = "Reception") -> FakeCall:
        """Ring the browser, take its answer when it comes."""
        self.connection.addTrack(Tone(self.frequency))
        await self.connection.setLocalDescription(await self.connection.createOffer())
        call = FakeCall(f"in-{id(self)}", self.gateway.channels[user][-1])
        call.channel.incoming(call, "sip:1001@gateway.example", name, str(self.connection.localDescription.sdp))
        return call

    async def accepted(self, call: FakeCall) -> None:
        """Wait for the browser's answer and connect."""
        async with asyncio.timeout(30):
            while not any(event[0] == "answer" for event in call.log):
                call.changed.clear()
                await call.changed.wait()
        sdp = next(event[1] for event in call.log if event[0] == "answer")
        await self.connection.setRemoteDescription(RTCSessionDescription(sdp, "answer"))

    async def close(self) -> None:
        """End the media."""
        await self.connection.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@dataclass
class Stage:
    """A gateway, its server, a page in a browser and the far end."""

    gateway: FakeGateway
    server: WebServer
    page: Page
    phone: Phone
    errors: list[str]

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://127.0.0.1:{self.server.port}/"

    async def log_in(self, user: str = "alice", token: str = "wonder") -> None:
        """By the fragment, as a link would."""
        await self.page.goto(f"{self.url}#user={user}&token={token}")
        await self.page.wait_for_selector("body[data-view=idle]")

    async def status(self, text: str) -> None:
        """Wait until the live region says `text`."""
        await self.page.locator("#status", has_text=text).wait_for(timeout=30_000)

    async def until(self, condition: str) -> None:
        """Wait until a JavaScript expression is true (the page's policy forbids wait_for_function)."""
        loop = f"async () => {{ while (!({condition})) await new Promise((done) => setTimeout(done, 20)); }}"
        await asyncio.wait_for(self.page.evaluate(loop), 30)

    async def view(self, name: str) -> None:
        """Wait for a view."""
        await self.page.wait_for_selector(f"body[data-view={name}]", timeout=30_000)

    async def loudest_frequency(self) -> float:
        """What the page's audio element plays, in Hz."""
        return float(await self.page.evaluate(LISTEN))


LISTEN = """async () => {
  const context = new AudioContext();
  await context.resume();
  const source = context.createMediaStreamSource(document.getElementById("remote").srcObject);
  const analyser = new AnalyserNode(context, { fftSize: 8192, smoothingTimeConstant: 0 });
  source.connect(analyser);
  const bins = new Float32Array(analyser.frequencyBinCount);
  for (let i = 0; i < 100; i++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    analyser.getFloatFrequencyData(bins);
    const loudest = bins.indexOf(Math.max(...bins));
    if (bins[loudest] > -45) {
      const { sampleRate } = context;
      await context.close();
      return (loudest * sampleRate) / analyser.fftSize;
    }
  }
  return 0;
}"""


def _is_mistake(message: ConsoleMessage) -> bool:
    """Whether the console tells of a mistake of the page; a refused sign-in and a push service that a browser without
    memories has not are the browser's own lines."""
    return message.type == "error" and not any(words in message.text for words in ("status of 401", "incognito mode"))


def answering(phone: Phone) -> None:
    """Script the gateway: early answer, ringing, then answered."""

    async def script(call: FakeCall) -> None:
        call.channel.early_answer(call, await phone.answer(call))
        call.channel.ringing(call, None)
        call.channel.answered(call, None)

    phone.gateway.script = script


def refusing(gateway: FakeGateway, cause: Cause) -> None:
    """Script the gateway: the call ends at once."""
    gateway.script = lambda call: call.channel.ended(call, cause)


@contextlib.asynccontextmanager
async def stage(
    *arguments: str,
    whole: bool = False,
    width: int = 1280,
    height: int = 860,
    dark: bool = False,
    locale: str = "en-US",
    settings: WebSettings | None = None,
) -> AsyncIterator[Stage]:
    """Everything up; page errors fail the test at the end. `whole` as in `chromium`."""
    gateway = FakeGateway()
    async with running(gateway, settings) as server, chromium(*(arguments or (ALLOWED,)), whole=whole) as browser:
        context = await browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", locale=locale
        )
        page = await context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if _is_mistake(message) else None)
        phone = Phone(gateway)
        try:
            yield Stage(gateway, server, page, phone, errors)
        finally:
            await phone.close()
        assert not errors, errors
