"""The page in a real Chromium, the whole gateway, a pjsua2 desk phone: what people hear and read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page

from gateway.demo.browser import SoftphoneBrowser
from gateway.demo.phone import DeskPhone, PhoneError
from tests import peers
from tests.interop.gateway import BROWSER_HZ, NEAR, PHONE_HZ, Gateway, config_on_free_ports, gateway_with

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


async def test_the_page_calls_the_phone_and_hangs_up(page: SoftphoneBrowser, phone: DeskPhone) -> None:
    """Each hears the other's tone; the hang-up reaches the phone as a normal end."""
    await talk(page, phone)
    await page.hang_up()
    assert (await phone.expect("state", state="ended")).details["code"] == 200
    await says(page.page, "The call ended.")


async def test_the_phone_calls_the_page_and_hangs_up(
    page: SoftphoneBrowser, phone: DeskPhone, gateway: Gateway
) -> None:
    """The page names who calls, accepts, both hear each other, and the page says that the call ended."""
    phone.dial(gateway.uri("alice"))
    await page.status("ringing")
    assert await page.page.inner_text("#party") == "Desk phone"
    await phone.expect("state", state="ringing")
    await page.accept()
    await phone.expect("state", state="answered")
    await phone_hears(phone)
    await page.tone(PHONE_HZ)
    phone.hangup()
    await phone.expect("state", state="ended")
    await says(page.page, "The call ended.")
    await page.status("ready")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        ("4711", "There is nobody with that name or number."),
        ("1002", "Not reachable at the moment."),
        ("bob", "Not reachable at the moment."),
    ],
)
async def test_who_cannot_be_reached_is_said_in_words(page: SoftphoneBrowser, number: str, words: str) -> None:
    """Nobody of that number, a phone that is not registered, a web user without a page."""
    await page.dial(number)
    await says(page.page, words)
    await page.status("ready")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (486, "Busy."),
        (603, "The call was declined."),
        (480, "Not reachable at the moment."),
        (488, "no audio format in common"),
    ],
)
async def test_a_refusal_by_the_phone_is_said_in_words(
    page: SoftphoneBrowser, phone: DeskPhone, status: int, words: str
) -> None:
    """The phone's status, in the page's words."""
    phone.on_incoming(status)
    await page.dial("1001")
    await says(page.page, words)
    await page.status("ready")


async def test_a_phone_that_nobody_answers_is_said_in_words(page: SoftphoneBrowser, phone: DeskPhone) -> None:
    """After the configured time the phone is silenced and the caller told."""
    phone.on_incoming(0)
    await page.dial("1001")
    await phone.expect("incoming")
    await says(page.page, "Nobody answered.")
    await phone.expect("state", state="ended")


async def test_giving_up_silences_the_phone(page: SoftphoneBrowser, phone: DeskPhone) -> None:
    """A hang-up before the answer is a CANCEL there."""
    phone.on_incoming(0)
    await page.dial("1001")
    await phone.expect("incoming")
    await page.hang_up()
    assert (await phone.expect("state", state="ended")).details["code"] == 487


async def test_declining_on_the_page_reaches_the_phone(
    page: SoftphoneBrowser, phone: DeskPhone, gateway: Gateway
) -> None:
    """As 603 Decline."""
    phone.dial(gateway.uri("alice"))
    await page.status("ringing")
    await page.page.click("#decline")
    assert (await phone.expect("state", state="ended")).details["code"] == 603
    await says(page.page, "You declined the call.")


async def test_a_caller_who_gives_up_is_a_missed_call(
    page: SoftphoneBrowser, phone: DeskPhone, gateway: Gateway
) -> None:
    """The page stops ringing and says so."""
    phone.dial(gateway.uri("alice"))
    await page.status("ringing")
    phone.hangup()
    await says(page.page, "You missed the call.")
    await phone.expect("state", state="ended")


async def test_a_page_closed_while_it_rings_lets_the_caller_wait_for_it(
    page: SoftphoneBrowser, phone: DeskPhone, gateway: Gateway
) -> None:
    """It may be a reload: the phone goes on ringing until nobody has answered, or the page is given up."""
    phone.dial(gateway.uri("alice"))
    await page.status("ringing")
    await page.page.goto("about:blank")
    ended = await phone.expect("state", state="ended", timeout=RING_SECONDS + 3)
    assert ended.details["code"] in (408, 480)


async def test_two_pages_ring_and_the_first_has_the_call(
    page: SoftphoneBrowser, phone: DeskPhone, gateway: Gateway
) -> None:
    """The other page is told where the call went, and does not count it as missed."""
    other = await page.page.context.new_page()
    await other.goto(gateway.app.signed_in_url("alice"))
    await other.locator("body[data-view=idle]").wait_for()
    phone.dial(gateway.uri("alice"))
    await page.status("ringing")
    await other.locator("body[data-view=incoming]").wait_for()
    await page.accept()
    await phone.expect("state", state="answered")
    await says(other, "Answered on another device.")
    assert await other.locator("#recent li:first-child .elsewhere").count() > 0
    await other.close()
    await phone_hears(phone)
    await page.tone(PHONE_HZ)
    await page.hang_up()
    await phone.expect("state", state="ended")


async def test_one_of_two_ringing_pages_closes_and_the_other_has_the_call(
    page: SoftphoneBrowser, phone: DeskPhone, gateway: Gateway
) -> None:
    """Closing a tab is not declining."""
    other = await page.page.context.new_page()
    await other.goto(gateway.app.signed_in_url("alice"))
    await other.locator("body[data-view=idle]").wait_for()
    phone.dial(gateway.uri("alice"))
    await other.locator("body[data-view=incoming]").wait_for()
    await page.status("ringing")
    await other.goto("about:blank")
    await other.close()
    await page.accept()
    await phone.expect("state", state="answered")
    await page.tone(PHONE_HZ)
    phone.hangup()
    await phone.expect("state", state="ended")


async def test_hold_by_the_phone_and_resume(page: SoftphoneBrowser, phone: DeskPhone) -> None:
    """A re-INVITE with sendonly stops the page's voice, one with sendrecv brings both tones back."""
    await talk(page, phone)
    phone.hold()
    await silent(phone)
    await says(page.page, "The other side has put you on hold.")
    phone.unhold()
    await phone.expect("media")
    await phone_hears(phone)
    await page.tone(PHONE_HZ)
    assert await page.status("talking") == "talking"
    await page.hang_up()
    await phone.expect("state", state="ended")


async def silent(phone: DeskPhone) -> None:
    """Wait until the phone's hold was accepted: no fresh sound for a while, after sound there was."""
    async with asyncio.timeout(8):
        while True:
            await phone.listen()
            try:
                await phone.expect("sound", timeout=0.4)
            except PhoneError:
                return


async def test_digits_of_the_page_reach_the_phone(page: SoftphoneBrowser, phone: DeskPhone) -> None:
    """As RFC 4733 events, each once and in order."""
    await talk(page, phone)
    for key in "15#":
        await page.page.click(f"#pad [data-key='{key}']")
    seen = [(await phone.expect("digit")).details["digit"] for _ in range(3)]
    assert seen == ["1", "5", "#"]
    await page.hang_up()
    await phone.expect("state", state="ended")


async def test_digits_of_the_phone_leave_the_call_as_it_is(page: SoftphoneBrowser, phone: DeskPhone) -> None:
    """They pass as events towards the browser, which has no use for them; the tones go on."""
    await talk(page, phone)
    phone.digits("42")
    await page.tone(PHONE_HZ)
    await phone_hears(phone)
    await page.hang_up()
    await phone.expect("state", state="ended")


async def test_closing_the_tab_ends_the_call_of_the_phone(page: SoftphoneBrowser, phone: DeskPhone) -> None:
    """After the moment a reload may take, not when the media has been missed."""
    await talk(page, phone)
    await page.page.goto("about:blank")
    await phone.expect("state", timeout=8, state="ended")
