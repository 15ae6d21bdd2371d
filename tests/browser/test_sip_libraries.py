"""JsSIP and SIP.js as they come from npm, in a real Chromium, over the gateway's WebSocket, with a real desk phone."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, Page, async_playwright

from gateway.demo.phone import DeskPhone
from gateway.demo.ports import free_ports
from tests.browser.sip_pages import LIBRARIES, SipPage, page_server
from tests.interop.gateway import NEAR, PASSWORDS, PHONE_HZ, TONE_HZ, Gateway, config_on_free_ports, gateway_with
from tests.peers import chromium

pytestmark = [pytest.mark.peer, pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

HZ = 523
FLAGS = [
    "--no-sandbox",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
]


class ChromiumPage:
    """A `Script` by playwright."""

    def __init__(self, page: Page) -> None:
        self._page = page

    async def run(self, script: str) -> Any:
        return await self._page.evaluate(f"() => {{ {script} }}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Gateway, BrowserContext, str]]:
    """A gateway, a Chromium, and the URL of the page, which is of another origin that the gateway allows."""
    executable = chromium()
    folder: Path = tmp_path_factory.mktemp("gateway")
    [port] = free_ports(1)
    origin = f"http://localhost:{port}"
    config = config_on_free_ports(folder, WEB__ALLOWED_ORIGINS=f'["{origin}"]', LOG__LEVEL="debug")
    async with (
        page_server(port),
        gateway_with(config, folder / "gateway.log") as gateway,
        async_playwright() as playwright,
    ):
        browser = await playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield gateway, await browser.new_context(), f"{origin}/phone.html"
        await browser.close()


@contextlib.asynccontextmanager
async def phone(
    stage: tuple[Gateway, BrowserContext, str], library: str, user: str = "1002", hz: int = HZ
) -> AsyncIterator[SipPage]:
    """A registered browser phone in a page of its own; the gateway is idle again afterwards."""
    gateway, context, url = stage
    tab = await context.new_page()
    await tab.goto(url)
    await tab.wait_for_function("globalThis.ready")
    page = SipPage(ChromiumPage(tab))
    await page.start(library, gateway, user, hz)
    try:
        yield page
    finally:
        await page.do("stop")
        await tab.close()
        for call in gateway.app.calls:
            call.stop()
        await gateway.idle()


@contextlib.asynccontextmanager
async def desk_phone(gateway: Gateway) -> AsyncIterator[DeskPhone]:
    """A registered desk phone that says a tone, for one test."""
    desk = await gateway.phone("1001")
    try:
        yield desk
    finally:
        await desk.close()


@pytest.mark.parametrize("library", LIBRARIES)
async def test_the_tone_is_heard_and_the_call_is_hung_up(stage: Any, library: str) -> None:
    """Register, dial 601, hear its frequency, hold it and come back, hang up; 600 gives back what is said."""
    async with phone(stage, library) as page:
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
        await stage[0].idle()


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_desk_phone_is_called_held_and_sent_digits(stage: Any, library: str) -> None:
    """Tones both ways, silence while it is held, digits of both kinds, and the phone hangs up."""
    gateway = stage[0]
    async with desk_phone(gateway) as desk, phone(stage, library) as page:
        await page.do("call", "1001")
        await page.until("confirmed")
        await page.tone(PHONE_HZ)
        assert abs((await desk.expect("tone")).details["hz"] - HZ) <= NEAR
        await page.do("hold")
        await page.silence()
        await page.do("resume")
        await desk.listen()
        assert abs((await desk.expect("tone")).details["hz"] - HZ) <= NEAR
        for digit, way in (("5", "rtp"), ("8", "info")):
            await page.do("digit", digit, way)
            assert (await desk.expect("digit")).details["digit"] == digit
        desk.hangup()
        await page.until("ended")


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_browser_is_called_by_a_desk_phone(stage: Any, library: str) -> None:
    """Tones both ways; the phone puts it on hold and takes it back; the browser hangs up."""
    gateway = stage[0]
    async with desk_phone(gateway) as desk, phone(stage, library) as page:
        desk.dial(gateway.uri("1002"))
        assert await page.until("incoming") == "1001"
        await page.do("answer")
        await page.until("confirmed")
        await page.tone(PHONE_HZ)
        assert abs((await desk.expect("tone")).details["hz"] - HZ) <= NEAR
        desk.hold()
        await page.silence()
        desk.unhold()
        await page.tone(PHONE_HZ)
        await page.do("hangup")
        await desk.expect("state", state="ended")


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_lost_socket_is_registered_again(stage: Any, library: str) -> None:
    """The library connects again as it is told to in its guide, and is called by the new socket."""
    gateway = stage[0]
    async with desk_phone(gateway) as desk, phone(stage, library) as page:
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
async def test_a_wrong_password_is_refused(stage: Any, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library says so, and nobody can be called there."""
    monkeypatch.setitem(PASSWORDS, "1002", "not the password")
    gateway, context, url = stage
    tab = await context.new_page()
    await tab.goto(url)
    await tab.wait_for_function("globalThis.ready")
    page = SipPage(ChromiumPage(tab))
    await page.open(library, gateway, "1002", HZ)
    await page.until("refused")
    await tab.close()


@pytest.mark.parametrize("library", LIBRARIES)
async def test_messages_go_both_ways(stage: Any, library: str) -> None:
    """MESSAGE between two browsers (RFC 3428)."""
    async with phone(stage, library) as page, phone(stage, library, "1001", PHONE_HZ) as other:
        assert await page.do("message", "1001", "Grüße") == "delivered"
        assert await other.until("message") == "Grüße"


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_browser_transfers_blind(stage: Any, library: str) -> None:
    """REFER: the desk phone is connected with the tone, the browser is out of it."""
    gateway = stage[0]
    async with desk_phone(gateway) as desk, phone(stage, library) as page:
        await page.do("call", "1001")
        await page.tone(PHONE_HZ)
        await desk.expect("tone")
        assert await page.do("transfer", "601") == "accepted"
        await desk.listen()
        assert abs((await desk.expect("tone")).details["hz"] - TONE_HZ) <= NEAR
        desk.hangup()


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_browser_transfers_attended(stage: Any, library: str) -> None:
    """Hold one, ask the other, connect them: both hear each other's side, the browser is out of it."""
    gateway = stage[0]
    async with desk_phone(gateway) as desk, phone(stage, library) as page:
        await page.do("call", "1001")
        await page.tone(PHONE_HZ)
        await desk.expect("tone")
        await page.do("hold")
        await page.get("void (phone.held = phone.session)")
        await page.do("call", "601")
        await page.tone(TONE_HZ)
        assert await page.get("phone.connect(phone.held, phone.session)") == "accepted"
        await desk.listen()
        assert abs((await desk.expect("tone")).details["hz"] - TONE_HZ) <= NEAR
        desk.hangup()
