"""A Chromium without a window, and tabs in it that each have one RTCPeerConnection (peer.js)."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gateway.testing import loudest_frequency
from gateway.testing.peers import find_chromium, no_chromium

if TYPE_CHECKING:
    from playwright.async_api import Browser

FLAGS = (
    "--allow-loopback-in-peer-connection",  # ICE leaves loopback out (RFC 8445 5.1.1.1); here it is enough.
    "--disable-features=WebRtcHideLocalIpsWithMdns",  # Addresses as they are, as after getUserMedia.
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-networking",
    "--disable-component-update",
)
PEER = Path(__file__).with_name("peer.js")


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A running Chromium; without one the lesson ends with the sentence that says what to install."""
    executable = find_chromium()
    if executable is None:
        sys.exit(f"FAIL: {no_chromium()}")
    from playwright.async_api import Error, async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, chromium_sandbox=False, args=FLAGS)
        try:
            yield browser
        except Error as error:
            sys.exit(f"FAIL: Chromium says: {error.message}")
        finally:
            await browser.close()


def near(heard: float, hz: float) -> bool:
    """Whether a frequency that was heard is the one that was said."""
    return abs(heard - hz) <= 15


class Tab:
    """One page, which says a steady tone into its call."""

    def __init__(self, browser: Browser, hz: float) -> None:
        self.hz = hz
        self._browser = browser

    async def open(self, *, video: bool = False) -> None:
        """Load the page and make its connection."""
        context = await self._browser.new_context(permissions=["microphone"])
        self._page = await context.new_page()
        await self._page.evaluate(PEER.read_text())
        await self._page.evaluate("([hz, video]) => peer.open(hz, video)", [self.hz, video])

    async def offer(self) -> str:
        """createOffer and setLocalDescription; candidates come later."""
        return str(await self._page.evaluate("peer.offer()"))

    async def answer(self, offer: str) -> str:
        """setRemoteDescription, createAnswer and setLocalDescription."""
        return str(await self._page.evaluate("offer => peer.answer(offer)", offer))

    async def accept(self, answer: str) -> str:
        """setRemoteDescription; the signalling state that follows."""
        return str(await self._page.evaluate("answer => peer.accept(answer)", answer))

    async def candidates(self) -> list[str]:
        """All that were gathered ("candidate:…"), once there are no more."""
        return [str(one) for one in await self._page.evaluate("peer.gathered()")]

    async def add(self, candidate: str, mid: str) -> None:
        """addIceCandidate."""
        given = {"candidate": candidate, "sdpMid": mid}
        await self._page.evaluate("candidate => peer.connection.addIceCandidate(candidate)", given)

    async def connected(self) -> dict[str, str]:
        """What was agreed on (tlsVersion, dtlsCipher, srtpCipher), once ICE and DTLS are through."""
        agreed: dict[str, str] = await self._page.evaluate("peer.connected()")
        return agreed

    async def tone(self) -> float:
        """The frequency that is heard in Hz, once it is one clean tone."""
        while True:
            rate, samples = await self._page.evaluate("[peer.rate ?? 48000, peer.heard]")
            hz, share = loudest_frequency(np.array(samples), int(rate))
            if len(samples) > rate // 5 and share > 0.8:
                return hz
            await asyncio.sleep(0.05)
