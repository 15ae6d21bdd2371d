"""The operators' page on the whole gateway: a call's quality, its ladder of SIP and web, descriptions side by side."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from gateway.demo.phone import DeskPhone
from tests import peers
from tests.interop.gateway import PASSWORDS, PHONE_HZ, Gateway, config_on_free_ports, gateway_with
from tests.web.browser import chromium

pytestmark = [pytest.mark.peer, pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

USERS = json.dumps(
    [
        {"id": "alice", "display_name": "Alice", "web": True, "role": "operator"},
        {"id": "bob", "display_name": "Bob", "web": True},
        {"id": "1001", "display_name": "Desk phone", "sip": True},
        {"id": "1002", "display_name": "Second phone", "sip": True},
    ]
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """With an operator."""
    folder = tmp_path_factory.mktemp("admin")
    async with gateway_with(config_on_free_ports(folder, USERS=USERS), folder / "gateway.log") as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def page(gateway: Gateway) -> AsyncIterator[Page]:
    """The page before anybody has signed in."""
    peers.chromium()
    async with chromium() as browser:
        opened = await browser.new_page(color_scheme="dark")
        errors: list[str] = []
        opened.on("pageerror", lambda error: errors.append(str(error)))
        await opened.goto(f"{gateway.web}/admin")
        yield opened
        assert errors == []


async def _sign_in(page: Page, user: str) -> None:
    await page.fill("#user", user)
    await page.fill("#password", PASSWORDS[user])
    await page.press("#password", "Enter")


async def _findings(page: Page) -> list[str]:
    results = await Axe().run(page)
    return [f"{found['id']}: {found['nodes'][0]['html']}" for found in results.response["violations"]]


async def test_an_operator_follows_a_call_from_the_browser_to_the_phone(gateway: Gateway, page: Page) -> None:
    """Its quality, every message of both sides in order, what the gateway made of the offer; and ends it."""
    phone: DeskPhone = await gateway.phone("1001", PHONE_HZ)
    phone.on_incoming(200)
    await _sign_in(page, "alice")
    await expect(page.locator("#users tr", has_text="Desk phone")).to_contain_text("1")
    assert await _findings(page) == []
    bob = await gateway.browser("bob")
    await bob.dial("1001")
    await bob.tone(PHONE_HZ)
    await page.click("#calls [data-of]")
    titles = page.locator("#ladder button")
    for title in ("→ offer", "← INVITE", "→ SIP/2.0 200", "← ACK"):
        await expect(titles.filter(has_text=title).first).to_be_visible()
    order = await titles.all_inner_texts()
    assert order.index("→ offer") < next(i for i, title in enumerate(order) if "INVITE" in title)
    await expect(page.locator("#media tbody tr")).to_have_count(2)
    await expect(page.locator("#media tbody")).to_contain_text("g722")
    await titles.filter(has_text="→ offer").first.click()
    await titles.filter(has_text="← INVITE").first.click()
    await expect(page.locator("#texts pre")).to_have_count(2)
    await expect(page.locator("#texts pre .old", has_text="UDP/TLS/RTP/SAVPF")).to_have_count(1)
    await expect(page.locator("#texts pre .new", has_text="RTP/AVP")).to_have_count(1)
    shown = await page.inner_text("#texts")
    assert "a=ice-pwd:[redacted]" in shown
    assert await _findings(page) == []
    await page.click("#end")
    await phone.expect("state", state="ended")
    await expect(page.locator("#ladder button", has_text="BYE")).to_be_visible()
    await expect(page.locator("#calls tbody tr")).to_have_count(0)


async def test_it_is_for_operators_and_a_reload_keeps_them_signed_in(gateway: Gateway, page: Page) -> None:
    """Others are told so; who signs out sees nothing more."""
    await _sign_in(page, "bob")
    await expect(page.locator("#status")).to_have_text("This page is for operators.")
    await expect(page.locator("#board")).to_be_hidden()
    await _sign_in(page, "alice")
    await expect(page.locator("#board")).to_be_visible()
    await page.reload()
    await expect(page.locator("#board")).to_be_visible()
    await page.click("#logout")
    await expect(page.locator("#board")).to_be_hidden()
    await page.reload()
    await expect(page.locator("#login")).to_be_visible()
