"""A real Chromium on the softphone page, with a tone for a microphone and an ear on what it plays."""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from gateway.demo.chromium import BrowserError
from gateway.demo.tones import AUDIBLE, loudest_frequency, rms, sine, write_wav

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext, Page, Playwright

RATE = 48000

_QUIET = (
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
)

_STATE = """() => {
  const view = document.body.dataset.view;
  if (view === "call") return document.getElementById("timer").hidden ? "calling" : "talking";
  if (view === "login" && document.getElementById("status").dataset.tone === "bad") {
    if (document.getElementById("connection").dataset.state === "offline") return "refused";
  }
  return { idle: "ready", incoming: "ringing" }[view] ?? view ?? "";
}"""

_EAR = """
(() => {
  // Hears the samples of the remote track as they are decoded; what an output device adds is not the gateway's.
  const ear = { stream: null, rate: 0, recent: [], kept: 0, firstSound: null, offeredAt: null };
  window.__ear = ear;
  const now = () => performance.timeOrigin + performance.now();
  const setLocal = RTCPeerConnection.prototype.setLocalDescription;
  RTCPeerConnection.prototype.setLocalDescription = function (description) {
    if (description?.type === "offer") ear.offeredAt = now();
    return setLocal.apply(this, arguments);
  };
  const hear = (data) => {
    const samples = new Float32Array(data.numberOfFrames);
    data.copyTo(samples, { planeIndex: 0, format: "f32-planar" });
    ear.rate = data.sampleRate;
    data.close();
    if (ear.firstSound === null) {
      let power = 0;
      for (const sample of samples) power += sample * sample;
      if (Math.sqrt(power / samples.length) < 0.01) return;
      ear.firstSound = now();
    }
    ear.recent.push(samples);
    ear.kept += samples.length;
    while (ear.kept - ear.recent[0].length > ear.rate * 0.3) ear.kept -= ear.recent.shift().length;
  };
  const listen = async (stream) => {
    Object.assign(ear, { stream, recent: [], kept: 0, firstSound: null });
    const reader = new MediaStreamTrackProcessor({ track: stream.getAudioTracks()[0] }).readable.getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done || ear.stream !== stream) {
        value?.close();
        return reader.cancel();
      }
      hear(value);
    }
  };
  setInterval(() => {
    const stream = document.getElementById("remote")?.srcObject ?? null;
    if (stream === ear.stream) return;
    if (stream?.getAudioTracks().length) listen(stream);
    else ear.stream = null;
  }, 1);
  ear.samples = () => ({ rate: ear.rate, samples: ear.recent.flatMap((part) => Array.from(part)) });
})();
"""


class SoftphoneBrowser:
    """The page in a browser of its own; an async context manager."""

    def __init__(self, executable: str, hz: int, *, microphone: bool = True) -> None:
        self._executable = executable
        self._hz = hz
        self._microphone = microphone
        self._folder = tempfile.TemporaryDirectory(prefix="gateway-demo-")
        self._playwright: Playwright | None = None
        self._browser: Browser | None = None
        self._context: BrowserContext | None = None
        self.page: Page
        self.console: list[str] = []
        """What the page wrote to its console, for error messages."""

    async def __aenter__(self) -> SoftphoneBrowser:
        wav = Path(self._folder.name) / "microphone.wav"
        write_wav(wav, sine(self._hz, 10.0, RATE), RATE)
        from playwright.async_api import async_playwright  # the extra `browser`

        self._playwright = await async_playwright().start()
        self._browser = await self._playwright.chromium.launch(
            executable_path=self._executable,
            headless=True,
            chromium_sandbox=False,
            args=[*_QUIET, f"--use-file-for-fake-audio-capture={wav}"],
            ignore_default_args=["--mute-audio"],
        )
        self._context = await self._browser.new_context()
        if self._microphone:
            await self._context.grant_permissions(["microphone"])
        self.page = await self._context.new_page()
        self.page.on("console", lambda message: self.console.append(message.text))
        self.page.on("pageerror", lambda error: self.console.append(str(error)))
        await self.page.add_init_script(_EAR)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for part in (self._context, self._browser):
            if part is not None:
                await part.close()
        if self._playwright is not None:
            await self._playwright.stop()
        self._folder.cleanup()

    @property
    def name(self) -> str:
        """What it is, for the report."""
        return f"Chromium {self._browser.version}" if self._browser is not None else "Chromium"

    async def open(self, url: str, timeout: float = 30.0) -> None:
        """Load the page (its URL names the account) and wait until it is ready to call."""
        # raw=1: the page leaves the microphone as it is; noise suppression would take a steady tone for noise.
        await self.page.goto(url + "&raw=1")
        await self.status("ready", timeout=timeout)

    async def status(self, *wanted: str, timeout: float = 30.0) -> str:
        """Wait until the page's state is one of `wanted`; raises BrowserError with what it says instead.

        It says so at once where signing in is refused, the state "refused".
        """
        state = ""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while state not in (*wanted, "refused"):
                    await asyncio.sleep(0.005 if state else 0)
                    state = str(await self.page.evaluate(_STATE))
        if state in wanted:
            return state
        words = await self.page.locator("#status").inner_text()
        raise BrowserError(
            f"the page never became {' or '.join(wanted)}; it says: {words!r}; console: {self.console[-5:]}"
        )

    async def dial(self, number: str) -> None:
        """Type a number or name and press Call; `status` waits for what comes of it."""
        await self.page.fill("#dial", number)
        await self._forget_sound()
        await self.page.click("#call")

    async def accept(self) -> None:
        """Answer the call that rings."""
        await self._forget_sound()
        await self.page.click("#accept")

    async def _forget_sound(self) -> None:
        """The first sound of the call before must not be taken for one of the next."""
        await self.page.evaluate("window.__ear.firstSound = null")

    async def hang_up(self) -> None:
        """Press Hang up."""
        await self.page.click("#hangup")

    async def reset(self) -> None:
        """Back to rest, whatever state the page is in."""
        await self.page.keyboard.press("Escape")

    async def offered_at(self) -> float | None:
        """When the page last made an offer, in seconds of time.monotonic()."""
        found = await self.page.evaluate("window.__ear.offeredAt")
        return None if found is None else self._here(found)

    def _here(self, milliseconds: float) -> float:
        """A time of the page (ms since 1970) on our monotonic clock."""
        return milliseconds / 1000 - time.time() + time.monotonic()

    async def first_sound(self, timeout: float = 30.0) -> float:
        """When the page first played something audible, in seconds of time.monotonic()."""
        found = await self._poll("window.__ear.firstSound", timeout, "no sound was heard on the page")
        return self._here(float(found))

    async def tone(self, hz: float, timeout: float = 30.0) -> float:
        """The frequency (Hz) of a clean tone within 15 Hz of `hz`, once it is heard; BrowserError after `timeout` s."""
        heard = 0.0
        try:
            async with asyncio.timeout(timeout):
                while True:
                    found = await self.page.evaluate("window.__ear.samples()")
                    pcm = (np.array(found["samples"], dtype=np.float64) * 32767).astype(np.int16)
                    rate = int(found["rate"])
                    if rate and pcm.size > rate // 4 and rms(pcm) > AUDIBLE:
                        heard, share = loudest_frequency(pcm, rate)
                        if abs(heard - hz) <= 15 and share > 0.8:
                            return heard
                    await asyncio.sleep(0.05)
        except TimeoutError:
            instead = f"the loudest was {heard:.0f} Hz" if heard else "all was silent"
            raise BrowserError(
                f"the page has not heard {hz:g} Hz within {timeout:g} s: {instead}; does the other side speak? "
                "--verbose shows the gateway's log"
            ) from None

    async def _poll(self, script: str, timeout: float, failure: str) -> Any:
        try:
            async with asyncio.timeout(timeout):
                while True:
                    found = await self.page.evaluate(script)
                    if found is not None:
                        return found
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise BrowserError(f"{failure}; console: {self.console[-5:]}") from None
