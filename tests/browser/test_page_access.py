"""The softphone page for everybody: keyboard only, phone width, no microphone, no connection."""

from __future__ import annotations

from dataclasses import replace

import pytest
from playwright.async_api import Page

from gateway.call.status import Cause
from gateway.web.auth.oidc import OpenIdProvider
from tests.ports import free_port
from tests.web.browser import ALLOWED, NO_DEVICE, answering, chromium, stage
from tests.web.fake import FakeGateway, running
from tests.web.openid import openid_provider

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("chromiums")]

_OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


async def _focused(page: Page) -> str:
    return str(await page.evaluate("document.activeElement.id"))


async def test_everything_works_by_keyboard_alone() -> None:
    """Log in, dial, send digits, mute, hang up, accept and decline without a mouse."""
    async with stage() as it:
        await it.page.goto(it.url)
        press = it.page.keyboard.press
        await it.page.keyboard.type("alice")
        await press("Tab")
        await it.page.keyboard.type("wonder")
        await press("Enter")
        await it.view("idle")
        assert await _focused(it.page) == "dial"
        answering(it.phone)
        await it.page.keyboard.type("1001")
        await press("Enter")
        await it.status("Connected.")
        assert await _focused(it.page) == "hangup"
        await press("m")
        await it.status("microphone is muted")
        await press("5")
        await it.gateway.calls[0].happens("digit", "5", 160)
        await press("Escape")
        await it.gateway.calls[0].happens("hangup", Cause.NORMAL)
        await it.view("idle")
        assert await _focused(it.page) == "dial"
        await press("Tab")
        await press("7")
        assert await it.page.input_value("#dial") == "7"
        ringing = it.gateway.ring_user("alice")
        await it.view("incoming")
        # The next key must not take the call: somebody may be typing.
        assert await _focused(it.page) not in ("accept", "decline")
        await press("Enter")
        assert ringing.log == [("ring",)]
        await press("Escape")
        await ringing.happens("reject", Cause.DECLINED)


async def test_people_sign_in_at_a_provider_from_the_page() -> None:
    """A link, the provider's own pages, and back in the phone; who is nobody here is told so."""
    port = free_port()
    base = f"http://127.0.0.1:{port}/"
    async with openid_provider(f"{base}api/session/oidc/callback") as settings:
        provider = OpenIdProvider(replace(settings, name="Office"))
        async with running(FakeGateway(), None, port, provider), chromium() as browser:
            for name, found in (("carol", "nobody here has that account"), ("alice", "Ready")):
                context = await browser.new_context()
                page = await context.new_page()
                await page.goto(base)
                await page.click("text=Log in with Office")
                await page.fill("input[name=login]", name)
                await page.fill("input[name=password]", "whatever")
                for prompt in ("login", "consent"):
                    # Each page of the provider's names its prompt: the second click never finds the first page again.
                    await page.click(f"form:has(input[name=prompt][value={prompt}]) button[type=submit]")
                await page.locator("#status", has_text=found).wait_for()
                assert page.url == base
            assert await page.locator("#me").text_content() == "alice"
            await page.reload()
            await page.wait_for_selector("body[data-view=idle]")


@pytest.mark.parametrize("dark", [False, True])
async def test_the_page_fits_360_pixels(dark: bool) -> None:
    """No view scrolls sideways, and every button is at least 40 pixels high."""
    async with stage(width=360, height=740, dark=dark) as it:
        await it.page.goto(it.url)
        assert await it.page.evaluate(_OVERFLOW) <= 0
        await it.log_in()
        await it.page.fill("#dial", "a-name-that-is-much-longer-than-the-field@somewhere.example")
        assert await it.page.evaluate(_OVERFLOW) <= 0
        await it.page.fill("#dial", "")
        call = await it.phone.call("alice", "A caller with a rather long display name, as some have")
        await it.view("incoming")
        assert await it.page.evaluate(_OVERFLOW) <= 0
        await it.page.click("#accept")
        await it.phone.accepted(call)
        await it.status("Connected.")
        assert await it.page.evaluate(_OVERFLOW) <= 0
        heights = await it.page.eval_on_selector_all(
            "#pad button, .actions button", "all => all.map((b) => b.offsetHeight).filter((height) => height)"
        )
        assert heights
        assert min(heights) >= 40


async def test_each_view_shows_its_own_parts_only() -> None:
    """What a view does not need is neither seen nor reached by Tab."""
    parts = ["user", "dial", "pad", "call", "mute", "hold", "hangup", "accept", "decline"]
    visible = "ids => ids.filter((id) => document.getElementById(id).checkVisibility())"
    async with stage() as it:
        await it.page.goto(it.url)
        assert await it.page.evaluate(visible, parts) == ["user"]
        await it.log_in()
        assert await it.page.evaluate(visible, parts) == ["dial", "pad", "call"]
        call = await it.phone.call("alice")
        await it.view("incoming")
        assert await it.page.evaluate(visible, parts) == ["accept", "decline"]
        await it.page.click("#accept")
        await it.phone.accepted(call)
        await it.status("Connected.")
        assert await it.page.evaluate(visible, parts) == ["pad", "mute", "hold", "hangup"]


async def test_a_refused_microphone_is_said_and_an_incoming_call_rings_on() -> None:
    """No offer goes out; the caller is not declined behind the user's back."""
    async with stage("--deny-permission-prompts", whole=True) as it:
        await it.log_in()
        await it.page.fill("#dial", "1001")
        await it.page.press("#dial", "Enter")
        await it.status("The microphone is blocked.")
        await it.view("idle")
        assert it.gateway.calls == []
        ringing = it.gateway.ring_user("alice")
        await it.view("incoming")
        await it.page.click("#accept")
        await it.status("The microphone is blocked.")
        assert await it.page.evaluate("document.body.dataset.view") == "incoming"
        assert ringing.log == [("ring",)]


async def test_a_missing_microphone_is_said() -> None:
    """Nothing to plug in, nothing to call with; who only listens is in the call."""
    async with stage(ALLOWED, NO_DEVICE) as it:
        await it.log_in()
        answering(it.phone)
        await it.page.fill("#dial", "1001")
        await it.page.press("#dial", "Enter")
        await it.status("No microphone was found.")
        assert it.gateway.calls == []
        await it.page.click("#listen")
        await it.status("Connected.")
        assert "a=recvonly" in it.gateway.calls[0].offer
        await it.until("document.getElementById('remote').srcObject?.getAudioTracks()[0]?.muted === false")


async def test_a_wrong_password_is_said_and_can_be_corrected() -> None:
    """The focus is where the mistake is."""
    async with stage() as it:
        await it.page.goto(it.url)
        await it.page.fill("#user", "alice")
        await it.page.fill("#password", "wrong")
        await it.page.click("#enter")
        await it.status("Name or password is wrong.")
        assert await _focused(it.page) == "password"
        await it.page.fill("#password", "wonder")
        await it.page.click("#enter")
        await it.view("idle")
        assert await it.page.input_value("#password") == ""


async def test_a_lost_connection_leaves_the_call_and_comes_back_by_itself() -> None:
    """The page says so, announces itself again and takes its call up."""
    async with stage() as it:
        await it.log_in()
        answering(it.phone)
        await it.page.fill("#dial", "1001")
        await it.page.press("#dial", "Enter")
        await it.status("Connected.")
        it.server.close_sockets()
        await it.page.wait_for_selector("#connection[data-state=connecting]")
        assert await it.page.is_disabled("#call")
        await it.status("Reconnecting…")
        await it.page.wait_for_selector("#connection[data-state=online]", timeout=30_000)
        await it.status("Connected.")
        await it.gateway.calls[0].happens("returned", None)
        assert len(it.gateway.channels["alice"]) == 1


async def test_a_reload_keeps_the_login_and_logging_out_forgets_it() -> None:
    """By a cookie that no script reads: neither password nor token is in the page's storage or its address."""
    async with stage() as it:
        await it.log_in()
        assert "wonder" not in await it.page.evaluate("location.href")
        kept = await it.page.evaluate("JSON.stringify([{...sessionStorage}, {...localStorage}, document.cookie])")
        assert "wonder" not in kept
        assert "eyJ" not in kept
        await it.page.reload()
        await it.view("idle")
        assert await it.page.inner_text("#me") == "alice"
        await it.page.click("#logout")
        await it.view("login")
        await it.page.reload()
        await it.view("login")


async def test_a_guest_gets_in_with_one_click_and_hears_the_echo() -> None:
    """The newcomer's way."""
    async with stage() as it:
        await it.page.goto(it.url)
        await it.page.click("#guest")
        await it.view("idle")
        answering(it.phone)
        await it.page.click("[data-number='600']")
        await it.status("Connected.")
        assert it.gateway.calls[0].to == "600"
