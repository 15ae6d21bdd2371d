"""Real-time text on the page: with a scripted RFC 4103 phone on a network that loses, another page, and none."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable
from string import ascii_letters

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from gateway.call.state import State
from gateway.demo.browser import SoftphoneBrowser
from gateway.demo.phone import DeskPhone
from gateway.media.embedded.data.t140 import MISSING
from gateway.sip.auth.account import Credentials
from tests.browser.softphone import accessible, says
from tests.browser.text_phone import SipTextPhone, sip_text_phone
from tests.interop.gateway import PASSWORDS, Gateway
from tests.media.engine_support import until

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]
TYPED = "Hello from thrx\bee phones\r\nand mo"


RUNS = {2, 4, 5, 8, 9, 10}
"""One packet, two and three in a row, of which the first is lost for good."""
SLOWLY = 150
"""Milliseconds between two keys: so that each packet of 300 ms has something new."""


@pytest_asyncio.fixture(loop_scope="module")
async def text_phone(gateway: Gateway) -> AsyncIterator[SipTextPhone]:
    """A phone with text on a bad network, registered as 1002."""
    async with sip_text_phone(gateway.app, loses=lambda number: number % 7 in (2, 5, 6)) as phone:
        yield phone


@contextlib.asynccontextmanager
async def german_bob(gateway: Gateway, page: SoftphoneBrowser) -> AsyncIterator[Page]:
    """Bob's page, in German, in a profile of its own."""
    browser = page.page.context.browser
    assert browser is not None
    context = await browser.new_context(permissions=["microphone"], locale="de-DE")
    try:
        other = await context.new_page()
        await other.goto(gateway.app.signed_in_url("bob"))
        await other.locator("body[data-view=idle]").wait_for()
        yield other
    finally:
        await context.close()


async def test_text_typed_on_the_page_is_read_at_a_phone_and_back(
    gateway: Gateway, page: SoftphoneBrowser, text_phone: SipTextPhone
) -> None:
    """Each way packets are lost, one and two in a row, and nothing is missing; what is taken back is taken back."""
    alice = page.page
    await page.dial("1002")
    await says(alice, "Connected.")
    await alice.click("#open-text")
    await expect(alice.locator("#text-line")).to_be_focused()
    await alice.keyboard.type("Grüße 你好!!", delay=2 * SLOWLY)
    await alice.keyboard.press("Backspace")
    await alice.keyboard.press("Enter")
    await until(lambda: text_phone.read == "Grüße 你好!!\b\u2028")
    await expect(alice.locator("#text-log li.ours p")).to_have_text("Grüße 你好!")
    text_phone.type(TYPED)
    await expect(alice.locator("#text-log li:not(.ours) p")).to_have_text("Hello from three phones")
    await expect(alice.locator("#text-theirs")).to_have_text("and mo")
    assert text_phone.lost > 5
    [call] = gateway.app.calls
    figures = (await gateway.app.calls.statistics(call.id)).parties.values()
    assert {each.text.sent for each in figures if each.text is not None} == {len(text_phone.read), len(TYPED)}
    await accessible(alice)
    await alice.keyboard.press("Escape")  # leaves the field, not the call
    await expect(alice.locator("#text-line")).not_to_be_focused()
    await page.hang_up()
    await says(alice, "The call ended.")
    await alice.evaluate("localStorage.removeItem('softphone.text')")


async def test_text_that_is_lost_for_good_is_marked_on_the_page_and_at_the_phone(
    page: SoftphoneBrowser, text_phone: SipTextPhone
) -> None:
    """Three packets in a row are more than two generations of redundancy: one mark, and what is around it is read."""
    alice = page.page
    text_phone.loses = RUNS.__contains__
    await page.dial("1002")
    await says(alice, "Connected.")
    await alice.click("#open-text")
    await expect(alice.locator("#text-line")).to_be_focused()
    line = "the quick brown fox jumps over the lazy dog"
    await alice.keyboard.type(line, delay=SLOWLY)
    sent = text_phone.typed_here
    await until(lambda: "".join(sent) == line and text_phone.read.endswith("dog"))
    assert text_phone.read == "".join([*sent[:7], MISSING, *sent[8:]])
    text_phone.type(TYPED)
    await expect(alice.locator("#text-log li:not(.ours) p")).to_have_text(f"Hello f{MISSING}om three phones")
    await expect(alice.locator("#text-theirs")).to_have_text("and mo")
    assert text_phone.lost == 2 * len(RUNS)
    await page.hang_up()
    await says(alice, "The call ended.")
    await alice.evaluate("localStorage.removeItem('softphone.text')")


async def test_a_phone_that_offers_text_has_the_panel_open(
    gateway: Gateway, page: SoftphoneBrowser, text_phone: SipTextPhone
) -> None:
    """Nobody on the page has to ask for it."""
    app, alice = gateway.app, page.page
    session = text_phone.agent.invite(
        f"sip:alice@{app.sip_hostport}",
        received=f"udp:{app.sip_hostport}",
        caller=f"<sip:1001@{app.config.domain}>",
        body=text_phone.sdp().encode(),
        credentials=Credentials("1001", PASSWORDS["1001"]),
    )
    text_phone.follow(session)
    await alice.click("#accept")
    await expect(alice.locator("#text-line")).to_be_enabled()
    text_phone.type("I cannot speak")
    await expect(alice.locator("#text-theirs")).to_have_text("I cannot speak")
    await alice.fill("#text-line", "Fine")
    await until(lambda: text_phone.read == "Fine")
    session.hangup()
    await says(alice, "The call ended.")
    await expect(alice.locator("#text")).to_be_hidden()


async def test_two_pages_type_to_each_other(gateway: Gateway, page: SoftphoneBrowser) -> None:
    """Who has asked for text once has it in the next call from the beginning; the other page is German."""
    alice = page.page
    await alice.evaluate("localStorage.setItem('softphone.text', '1')")
    async with german_bob(gateway, page) as bob:
        await page.dial("bob")
        await bob.click("#accept")
        await expect(bob.get_by_label("Ihr Text: die Gegenseite liest mit, während Sie tippen")).to_be_enabled()
        await bob.fill("#text-line", "Hallo")
        await expect(alice.locator("#text-theirs")).to_have_text("Hallo")
        await bob.fill("#text-line", "Hallx")
        await expect(alice.locator("#text-theirs")).to_have_text("Hallx")
        await alice.fill("#text-line", "Hi")
        await alice.press("#text-line", "Enter")
        await expect(bob.locator("#text-log p")).to_have_text("Hi")
        await accessible(bob)
        await page.hang_up()
        await says(bob, "Das Gespräch ist beendet.")
    await alice.evaluate("localStorage.removeItem('softphone.text')")


async def test_a_phone_without_text_has_the_call_and_it_is_said(page: SoftphoneBrowser, phone: DeskPhone) -> None:
    """Once somebody asks; in the next call the page asks by itself and nothing is said."""
    alice = page.page
    await page.dial("1001")
    await says(alice, "Connected.")
    await alice.click("#open-text")
    await says(alice, "The other side takes no text.")
    await expect(alice.locator("#text")).to_be_hidden()
    await page.hang_up()
    await phone.expect("state", state="ended")
    await page.dial("1001")
    await says(alice, "Connected.")
    await expect(alice.locator("#text")).to_be_hidden()
    await page.hang_up()
    await alice.evaluate("localStorage.removeItem('softphone.text')")


async def typed_while(phone: SipTextPhone, work: Awaitable[object]) -> str:
    """What the phone types from now on until that is done, a character every 20 to 60 ms."""
    written = ""
    doing = asyncio.ensure_future(work)
    while not doing.done():
        written += ascii_letters[len(written) % len(ascii_letters)]
        phone._send(written[-1].encode())
        await asyncio.wait([doing], timeout=random.uniform(0.02, 0.06))
    await doing
    phone.type("")
    return written


async def test_nothing_typed_is_missing_over_a_hold_a_reload_and_a_transfer(
    gateway: Gateway, page: SoftphoneBrowser, text_phone: SipTextPhone
) -> None:
    """The page has what was read and typed before the reload, and what the phone types meanwhile; then it is bob's."""
    alice = page.page
    theirs = alice.locator("#text-theirs")
    await page.dial("1002")
    await says(alice, "Connected.")
    await alice.click("#open-text")
    await expect(alice.locator("#text-line")).to_be_focused()
    await alice.keyboard.type("one", delay=2 * SLOWLY)
    await alice.keyboard.press("Enter")
    text_phone.type("first\r\n")
    await alice.click("#hold")
    await says(alice, "On hold.")
    await alice.locator("#text-line").focus()
    await alice.keyboard.type("tw", delay=2 * SLOWLY)
    await alice.click("#hold")
    await says(alice, "Connected.")
    [call] = gateway.app.calls
    await until(lambda: call.state is State.CONNECTED and text_phone.is_heard)
    text_phone.type("held ")
    await expect(theirs).to_have_text("held")
    await until(lambda: text_phone.read == "one\u2028tw")
    meanwhile = await typed_while(text_phone, alice.reload())
    await says(alice, "Connected.")
    await expect(alice.locator("#text-log p")).to_have_text(["one", "first"])
    await expect(theirs).to_have_text(f"held {meanwhile}")
    await expect(alice.locator("#text-line")).to_have_value("tw")
    await alice.locator("#text-line").focus()
    await alice.keyboard.type("o", delay=SLOWLY)
    await alice.keyboard.press("Enter")
    await until(lambda: text_phone.read == "one\u2028two\u2028")
    text_phone.type("back\r\n")
    await expect(alice.locator("#text-log p")).to_have_text(["one", "first", "two", f"held {meanwhile}back"])
    async with german_bob(gateway, page) as bob:
        await alice.click("#transfer")
        await alice.fill("#target", "bob")
        await alice.click("#transferring [type=submit]")
        await bob.click("#accept")
        await says(alice, "The call was transferred.")
        await expect(bob.locator("#text-line")).to_be_enabled()
        await bob.locator("#text-line").focus()
        await bob.keyboard.type("bob", delay=2 * SLOWLY)
        await until(lambda: text_phone.read == "one\u2028two\u2028bob")
        text_phone.type("hello")
        await expect(bob.locator("#text-theirs")).to_have_text("hello")
        await bob.click("#hangup")
        await says(bob, "Das Gespräch ist beendet.")
    await alice.evaluate("localStorage.removeItem('softphone.text')")
