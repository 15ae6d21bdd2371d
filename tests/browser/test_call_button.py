"""The call button of a site: another origin, somebody without an account, a call with sound."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from aiortc import RTCSessionDescription
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from gateway.call.status import Cause
from gateway.store.identity_memory import MemoryStore
from gateway.web.app import WebSettings, serve
from gateway.web.auth.links import GuestLinks, link_refusal
from gateway.web.statics import StaticFile
from tests.docs_blocks import ROOT, blocks_of
from tests.ports import free_ports
from tests.web.browser import ALLOWED, Phone, Tone, answering, chromium, refusing
from tests.web.fake import FakeGateway, running

pytestmark = pytest.mark.wall

_PAGE = """<!doctype html><html lang="{lang}"><title>A shop</title><main><h1>A shop</h1>
<script src="{base}call-button.js" data-link="{token}" {more}></script></main>"""


COUNTING = """
  window.made = [];
  window.RTCPeerConnection = class extends RTCPeerConnection {
    constructor(...given) {
      super(...given);
      made.push(this);
    }
  };
"""


@asynccontextmanager
async def shop(
    *, allowed: bool = True, more: str = "", lang: str = "en", uses: int = 0
) -> AsyncIterator[tuple[Page, Phone]]:
    """The page of a site on another origin, and the phone that its button calls."""
    gateway, phone = FakeGateway(), None
    gateway.guests_allowed = False
    port, other = free_ports(2)
    gateway.roles = {"alice": "operator"}
    rule = partial(link_refusal, gateway)
    links = GuestLinks(MemoryStore(), "gateway.test", 86_400.0, time.time, os.urandom, mark=lambda _: "", refusal=rule)
    _, token = await links.make("alice", "600", 3_600, uses)
    origin = f"http://localhost:{other}"
    settings = WebSettings(allowed_origins=(origin,) if allowed else ())

    async def page_of(request: Request) -> HTMLResponse:
        base = f"http://127.0.0.1:{port}/"
        return HTMLResponse(_PAGE.format(lang=lang, base=base, token=token, more=more))

    site = await serve(Starlette(routes=[Route("/", page_of)]), "localhost", other)
    phone = Phone(gateway)
    try:
        async with running(gateway, settings, port, links=links), chromium(ALLOWED) as browser:
            page = await browser.new_page()
            await page.goto(f"{origin}/")
            yield page, phone
    finally:
        await phone.close()
        await site.stop()


async def says(page: Page, text: str) -> None:
    await page.locator("#status", has_text=text).wait_for(timeout=30_000)


async def test_somebody_calls_from_another_site_and_both_hear() -> None:
    """By keyboard, told in words, muted and not, hung up; no axe finding, and each call anew."""
    async with shop(more='data-label="Ask us"') as (page, phone):
        answering(phone)
        findings = await Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa"]})
        assert findings.violations_count == 0, findings.generate_report()
        await page.keyboard.press("Tab")
        assert await page.locator("#call").text_content() == "Ask us"
        await page.keyboard.press("Enter")
        await says(page, "You are connected.")
        await phone.sound.wait()
        assert await page.locator("#call").text_content() == "Hang up"
        await page.click("#mute")
        assert await page.locator("#mute").text_content() == "Unmute"
        await page.click("#call")
        await says(page, "The call has ended.")
        await phone.gateway.calls[0].happens("hangup", Cause.NORMAL)
        assert await page.locator("#call").evaluate("(button) => button === button.getRootNode().activeElement")
        refusing(phone.gateway, Cause.BUSY)
        await page.click("#call")
        await says(page, "They are in another call.")


async def test_another_end_takes_the_call_over_and_an_offer_that_is_none_is_refused() -> None:
    """Another certificate is met by another connection; what cannot be taken is told to be, and the call goes on.

    Each answer names its offer.
    """
    async with shop() as (page, phone):
        answering(phone)
        await page.add_init_script(COUNTING)
        await page.reload()
        await page.click("#call")
        await says(page, "You are connected.")
        await phone.sound.wait()
        [call] = phone.gateway.calls
        call.offers("v=0\r\n")
        await call.happens("update_answer", None)
        other = Phone(phone.gateway)
        other.connection.addTrack(Tone(660))
        await other.connection.setLocalDescription(await other.connection.createOffer())
        call.changed.clear()
        call.offers(other.connection.localDescription.sdp)
        async with asyncio.timeout(30):
            while not (given := [event[1] for event in call.log if event[0] == "update_answer" and event[1]]):
                await call.changed.wait()
                call.changed.clear()
            assert call.named == [1, 2]
            answer = RTCSessionDescription(given[0], "answer")
            await other.connection.setRemoteDescription(answer)
            await other.sound.wait()
        assert await page.evaluate("made.map(({ connectionState }) => connectionState)") == [
            "closed",
            "closed",
            "connected",
        ]
        await says(page, "You are connected.")
        await other.close()


async def test_a_link_that_is_used_up_or_a_site_that_is_not_allowed_says_so_in_words() -> None:
    """In the language of the page."""
    async with shop(uses=1, lang="de") as (page, phone):
        refusing(phone.gateway, Cause.NO_ANSWER)
        await page.click("text=Rufen Sie uns an")
        await says(page, "Niemand hat abgenommen.")
        await page.click("text=Rufen Sie uns an")
        await says(page, "Dieser Link gilt nicht mehr.")
    async with shop(allowed=False) as (page, _):
        await page.click("text=Call us")
        await says(page, "The call did not succeed.")


def test_the_button_is_small() -> None:
    """Below 10 kB as it is, a third of that on the way."""
    content = Path("gateway/web/static/call-button.js").read_bytes()
    assert len(content) < 10_000
    assert len(StaticFile("call-button.js", content)._packed) < 4_000


def test_the_button_of_the_page_is_the_tested_one() -> None:
    """The line of docs/http-api.md is that of the shop above, but for its address and its link."""
    [shown] = [one.text for one in blocks_of(ROOT / "docs/http-api.md") if "call-button.js" in one.text]
    ours = shown.strip().replace("https://phone.example.com/", "{base}").replace("TOKEN", "{token}")
    assert ours.replace("async", "{more}") in _PAGE
