"""The page in a real Chromium, the whole gateway, a pjsua2 desk phone: what people hear and read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page, WebSocketRoute

from gateway.demo.browser import SoftphoneBrowser
from gateway.demo.phone import DeskPhone, PhoneError
from tests import peers
from tests.interop.gateway import BROWSER_HZ, NEAR, PHONE_HZ, Gateway, config_on_free_ports, gateway_with
from tests.web.browser import LISTEN

pytestmark = [pytest.mark.peer, pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

RING_SECONDS = 4


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """A gateway that lets phones ring for some seconds only."""
    folder: Path = tmp_path_factory.mktemp("softphone")
    config = config_on_free_ports(folder, SIP__RING_TIMEOUT=str(RING_SECONDS))
    async with gateway_with(config, folder / "gateway.log") as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def phone(gateway: Gateway) -> DeskPhone:
    """Desk phone 1001, registered."""
    return await gateway.phone("1001", PHONE_HZ)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(gateway: Gateway) -> AsyncIterator[SoftphoneBrowser]:
    """Chromium with a tone for a microphone."""
    async with SoftphoneBrowser(peers.chromium(), BROWSER_HZ) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def page(gateway: Gateway, phone: DeskPhone, browser: SoftphoneBrowser) -> AsyncIterator[SoftphoneBrowser]:
    """Alice's page, fresh, with nobody in a call; its console stays free of errors."""
    phone.on_incoming(200)
    browser.console.clear()
    await browser.page.goto("about:blank")
    await browser.open(gateway.app.signed_in_url("alice"))
    await phone.listen()  # what was left of the test before is passed over
    yield browser
    phone.hangup()
    await gateway.idle()
    assert browser.console == []


async def says(page: Page, words: str) -> None:
    """Wait until the page's status line says `words`."""
    await page.locator("#status", has_text=words).wait_for(timeout=8_000)


async def phone_hears(phone: DeskPhone, hz: float = BROWSER_HZ) -> None:
    await phone.listen()
    assert float((await phone.expect("tone")).details["hz"]) == pytest.approx(hz, abs=NEAR)


async def talk(page: SoftphoneBrowser, phone: DeskPhone) -> None:
    """A call from the page to the phone, up, with both tones found."""
    await page.dial("1001")
    await page.status("talking")
    await phone_hears(phone)
    await page.tone(PHONE_HZ)


async def silent(phone: DeskPhone) -> None:
    """Wait until the phone's hold was accepted: no fresh sound for a while, after sound there was."""
    async with asyncio.timeout(8):
        while True:
            await phone.listen()
            try:
                await phone.expect("sound", timeout=0.4)
            except PhoneError:
                return


async def test_a_reload_keeps_the_call(page: SoftphoneBrowser, phone: DeskPhone) -> None:
    """The page signs in again, takes the call up over a new connection, and both hear each other again."""
    await talk(page, phone)
    await page.page.reload()
    await says(page.page, "Connected.")
    await phone_hears(phone)
    assert float(await page.page.evaluate(LISTEN)) == pytest.approx(PHONE_HZ, abs=NEAR)
    await page.hang_up()
    await phone.expect("state", state="ended")


async def test_a_cut_socket_does_not_touch_the_call(page: SoftphoneBrowser, phone: DeskPhone) -> None:
    """The sound goes on meanwhile; the page takes the call up where it was and can end it."""
    cut: list[WebSocketRoute] = []

    def through(socket: WebSocketRoute) -> None:
        socket.connect_to_server()
        cut.append(socket)

    await page.page.route_web_socket("**/rpc", through)
    await page.page.reload()
    await page.status("ready")
    await talk(page, phone)
    await cut[-1].close(code=1012)
    await page.page.wait_for_selector("#connection[data-state=connecting]")
    await phone_hears(phone)
    await page.page.wait_for_selector("#connection[data-state=online]")
    await says(page.page, "Connected.")
    await page.tone(PHONE_HZ)
    await page.hang_up()
    await phone.expect("state", state="ended")


async def test_a_reload_while_it_rings_rings_again(page: SoftphoneBrowser, phone: DeskPhone, gateway: Gateway) -> None:
    """The caller hears ringing all the while, and is answered by the page that came back."""
    phone.dial(gateway.uri("alice"))
    await page.status("ringing")
    await page.page.reload()
    await page.status("ringing")
    await page.accept()
    await phone.expect("state", state="answered")
    await phone_hears(phone)
    await page.hang_up()
    await phone.expect("state", state="ended")


async def test_the_page_holds_and_resumes(page: SoftphoneBrowser, phone: DeskPhone) -> None:
    """Silence at the phone while it is held, both tones afterwards."""
    await talk(page, phone)
    await page.page.click("#hold")
    await says(page.page, "On hold.")
    await silent(phone)
    await page.page.click("#hold")
    await says(page.page, "Connected.")
    await phone_hears(phone)
    assert float(await page.page.evaluate(LISTEN)) == pytest.approx(PHONE_HZ, abs=NEAR)
    await page.hang_up()
    await phone.expect("state", state="ended")


async def test_mute_is_silence_at_the_phone(page: SoftphoneBrowser, phone: DeskPhone) -> None:
    """And the tone is back after it; the phone is heard throughout."""
    await talk(page, phone)
    await page.page.click("#mute")
    await silent(phone)
    await page.tone(PHONE_HZ)
    await page.page.click("#mute")
    await phone_hears(phone)
    await page.hang_up()
    await phone.expect("state", state="ended")


async def test_the_address_bar_forgets_the_password(page: SoftphoneBrowser, gateway: Gateway) -> None:
    """What signed the page in is nowhere to be read over a shoulder."""
    assert gateway.app.password("alice") not in page.page.url
    assert json.dumps(gateway.app.password("alice")) not in await page.page.content()
