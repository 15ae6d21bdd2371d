"""The operators' page on the whole gateway: a call's quality, its ladder of SIP and web, descriptions side by side."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from aiortc import RTCPeerConnection
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from gateway.demo.phone import DeskPhone
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from tests import peers
from tests.interop.gateway import PASSWORDS, PHONE_HZ, Gateway, config_on_free_ports, gateway_with
from tests.net.peers import Application
from tests.ports import free_ports
from tests.web.browser import chromium

pytestmark = [
    *(pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")),
    pytest.mark.usefixtures("chromiums"),
]

USERS = json.dumps(
    [
        {"id": "alice", "display_name": "Alice", "web": True, "role": "operator"},
        {"id": "bob", "display_name": "Bob", "web": True},
        {"id": "root", "web": True, "role": "admin", "password": "the-admins-own"},
        {"id": "1001", "display_name": "Desk phone", "sip": True},
        {"id": "1002", "display_name": "Second phone", "sip": True},
    ]
)


PLACE, OTHER_PLACE = free_ports(2)
TRUNKS = json.dumps(
    [
        {
            "name": "away",
            "uri": f"sip:127.0.0.1:{PLACE}",
            "fallback_uris": [f"sip:127.0.0.1:{OTHER_PLACE}"],
            "options_interval": 0.5,
        },
        {"name": "asked-nothing", "uri": f"sip:127.0.0.1:{OTHER_PLACE}", "options_interval": 0},
    ]
)


@contextlib.asynccontextmanager
async def answering_sip(port: int) -> AsyncIterator[None]:
    """A telephone system that answers OPTIONS."""
    agent = UserAgent(UserAgentConfig(listen=(("127.0.0.1", port),)), Application())
    await agent.start()
    try:
        yield
    finally:
        await agent.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """With an operator, and trunks of which one is asked whether it is there."""
    folder = tmp_path_factory.mktemp("admin")
    async with gateway_with(
        config_on_free_ports(folder, USERS=USERS, TRUNKS=TRUNKS), folder / "gateway.log"
    ) as running:
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
    await page.fill("#password", PASSWORDS.get(user, "the-admins-own"))
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
    await expect(page.locator("#curves figure")).to_have_count(4)
    await expect(page.locator("#curves figcaption", has_text="now 4.").first).to_be_visible()
    await expect(page.locator("#curves figcaption", has_text="now 0").first).to_be_visible()
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


async def test_the_state_of_trunks_is_shown_as_it_changes(gateway: Gateway, page: Page) -> None:
    """Which of its places answers, or none of them; one that is asked nothing says nothing of itself."""
    await _sign_in(page, "alice")
    rows = page.locator("#trunks tbody tr")
    await expect(rows.filter(has_text="asked-nothing").locator("td").nth(3)).to_have_text("–", timeout=30_000)
    away = rows.filter(has_text="away")
    await expect(away.locator("td").nth(3)).to_have_text("no", timeout=30_000)
    async with answering_sip(PLACE):
        await expect(away.locator("td").nth(3)).to_contain_text(
            f"yes, but not sip:127.0.0.1:{OTHER_PLACE}", timeout=30_000
        )
    await expect(away.locator("td").nth(3)).to_have_text("no", timeout=30_000)
    await expect(away.locator("td").nth(2)).to_have_text("–")


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


async def test_an_administrator_makes_and_removes_a_user(gateway: Gateway, page: Page) -> None:
    """Who can sign in with the password that is shown once; those of the configuration are left alone."""
    await _sign_in(page, "alice")
    await expect(page.locator("#board")).to_be_visible()
    await expect(page.locator("#new-user")).to_be_hidden()
    await page.click("#logout")
    await _sign_in(page, "root")
    await expect(page.locator("#users tr", has_text="Bob")).to_contain_text("by the configuration")
    await page.fill("#new-user [name=id]", "carol")
    await page.fill("#new-user [name=display_name]", "<b>Carol</b>")
    await page.press("#new-user [name=display_name]", "Enter")
    await expect(page.locator("#status")).to_contain_text("The password of carol is ")
    word = (await page.inner_text("#status")).partition(" is ")[2].partition(".")[0]
    carol = {"user": "carol", "password": word}
    async with httpx.AsyncClient(base_url=gateway.web) as http:
        assert (await http.post("/api/session", json=carol)).status_code == 200
        row = page.locator("#users tr", has_text="<b>Carol</b>")
        assert await _findings(page) == []
        await page.fill("#new-user [name=id]", "carol")
        await page.press("#new-user [name=id]", "Enter")
        await expect(page.locator("#status")).to_have_text("There is a user or an identity of that name")
        page.on("dialog", lambda dialog: dialog.accept())
        await row.get_by_role("button", name="Remove: carol").click()
        await expect(row).to_have_count(0)
        assert (await http.post("/api/session", json=carol)).status_code == 401


async def test_a_call_over_http_has_its_offer_and_answer_on_the_ladder(gateway: Gateway, page: Page) -> None:
    """Beside whatever SIP there is."""
    async with httpx.AsyncClient(base_url=gateway.web) as http:
        peer = RTCPeerConnection()
        peer.addTransceiver("audio")
        await peer.setLocalDescription(await peer.createOffer())
        offer = {"type": "offer", "sdp": peer.localDescription.sdp}
        session = (await http.post("/webrtc/offer", json={"sdp": offer, "to": "600"})).json()["session_id"]
        await _sign_in(page, "alice")
        await page.click("#calls [data-of]")
        for title in ("→ POST /webrtc/offer", "← 200 answer"):
            await expect(page.locator("#ladder button", has_text=title)).to_be_visible()
        await http.post("/webrtc/close", json={"session_id": session})
        await peer.close()
