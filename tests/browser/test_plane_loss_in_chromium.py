"""The packet plane is killed under calls of real browsers: new connections, and both sides hear each other again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator
from functools import partial

import pytest
import pytest_asyncio
from playwright.async_api import expect

from bench.process import plane_of
from gateway.call.call import Call
from gateway.demo.browser import SoftphoneBrowser
from tests import peers
from tests.browser.sip_pages import HZ, LIBRARIES, Stage, chromium_stage, desk_phone, hears
from tests.browser.softphone import phone_hears, talk
from tests.browser.text_phone import sip_text_phone
from tests.interop.gateway import BROWSER_HZ, PHONE_HZ
from tests.media.plane_rig import until

REOFFERED = 5.0
"""Seconds in which both sides have agreed anew."""

pytestmark = [
    pytest.mark.wall,
    pytest.mark.serial,
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A gateway on a native plane, and a Chromium."""
    peers.plane()
    async with chromium_stage(tmp_path_factory.mktemp("gateway"), MEDIA__PLANE="native") as made:
        yield made


async def kill_plane(stage: Stage) -> float:
    """SIGKILL, and wait for the next one; when it was, as time.monotonic() says."""
    folder = str(stage.gateway.config.state_dir)
    before = plane_of(folder)
    assert before is not None
    began = time.monotonic()
    os.kill(before, signal.SIGKILL)
    await until(lambda: plane_of(folder) not in (None, before))
    return began


@pytest.mark.parametrize("held", [False, True])
async def test_the_page_makes_a_new_connection(stage: Stage, held: bool) -> None:
    """Agreed within five seconds, tones both ways; a call that the page holds stays held until it takes it back."""
    gateway = stage.gateway
    async with desk_phone(gateway) as phone, SoftphoneBrowser(peers.chromium(), BROWSER_HZ) as browser:
        await browser.open(gateway.app.signed_in_url("alice"))
        await talk(browser, phone)
        if held:
            await browser.page.click("#hold")
            await browser.page.locator("#hold[aria-pressed=true]").wait_for()
        began = await kill_plane(stage)
        [call] = gateway.app.calls
        await until(lambda: [step.input.value for step in call.history].count("offer-answered") >= 2 + held)
        assert time.monotonic() - began < REOFFERED
        if held:
            assert call.bridge is not None
            assert len(call.bridge.holding) == 1
            await browser.page.click("#hold")
            await browser.page.locator("#hold[aria-pressed=false]").wait_for()
        await phone_hears(phone)
        await browser.tone(PHONE_HZ)
        assert browser.console == []
        await browser.hang_up()
        await phone.expect("state", state="ended")


async def test_two_pages_type_to_each_other_by_the_new_connections(stage: Stage) -> None:
    """The one that had opened the channel opens it again; the line that was begun is ended."""
    gateway = stage.gateway
    async with SoftphoneBrowser(peers.chromium(), BROWSER_HZ) as browser:
        await browser.open(gateway.app.signed_in_url("alice"))
        alice = browser.page
        assert alice.context.browser is not None
        context = await alice.context.browser.new_context(permissions=["microphone"])
        bob = await context.new_page()
        await bob.goto(gateway.app.signed_in_url("bob"))
        await bob.locator("body[data-view=idle]").wait_for()
        await alice.evaluate("localStorage.setItem('softphone.text', '1')")
        await browser.dial("bob")
        await bob.click("#accept")
        for page in (alice, bob):
            await expect(page.locator("#text-line")).to_be_enabled(timeout=30_000)
        await bob.fill("#text-line", "Hal")
        await expect(alice.locator("#text-theirs")).to_have_text("Hal")
        await kill_plane(stage)
        [call] = gateway.app.calls
        await until(lambda: [step.input.value for step in call.history].count("offer-answered") >= 2)
        for page in (alice, bob):
            await expect(page.locator("#text-line")).to_be_enabled(timeout=30_000)
        await bob.fill("#text-line", "Hallo")
        await expect(alice.locator("#text-theirs")).to_have_text("Hallo", timeout=30_000)
        await alice.fill("#text-line", "Hi")
        await expect(bob.locator("#text-theirs")).to_have_text("Hi", timeout=30_000)
        await browser.hang_up()


async def test_a_page_and_a_phone_type_to_each_other_once_both_have_agreed_anew(stage: Stage) -> None:
    """Twice: each time by a new channel, and by the phone's other port; what is typed then is whole, either way."""
    gateway = stage.gateway
    async with (
        sip_text_phone(gateway.app) as phone,
        SoftphoneBrowser(peers.chromium(), BROWSER_HZ) as browser,
    ):
        await browser.open(gateway.app.signed_in_url("alice"))
        alice = browser.page
        await alice.evaluate("localStorage.setItem('softphone.text', '1')")
        await browser.dial("1002")
        line, theirs = alice.locator("#text-line"), alice.locator("#text-log li:not(.ours) p")
        await expect(line).to_be_enabled(timeout=30_000)
        [call] = gateway.app.calls
        for number, (ours, heard) in enumerate((("Grüße", "Hello"), ("one", "two"), ("three", "four"))):
            if number:
                agreed, place = answered(call), phone.remote
                await kill_plane(stage)
                # The page gives the channel up as it answers, so that its line is open by the next one alone.
                await until(partial(lambda before: answered(call) >= before + 2, agreed))
                assert phone.remote != place
                await expect(line).to_be_enabled(timeout=30_000)
            phone.read = ""
            await line.fill(ours)
            await until(partial(lambda typed: phone.read.endswith(typed), ours))
            phone.type(f"{heard}\r\n")
            await expect(theirs.last).to_have_text(heard, timeout=30_000)
        assert browser.console == []
        await browser.hang_up()
        await alice.evaluate("localStorage.removeItem('softphone.text')")


def answered(call: Call) -> int:
    """How many offers of a call were."""
    return [step.input.value for step in call.history].count("offer-answered")


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_sip_library_takes_the_other_certificate_in_the_connection_it_has(stage: Stage, library: str) -> None:
    """A re-INVITE, which Chromium answers by a new DTLS association."""
    gateway = stage.gateway
    async with desk_phone(gateway) as desk, stage.phone(library) as page:
        await page.do("call", "1001")
        await page.tone(PHONE_HZ)
        await hears(desk, HZ)
        await kill_plane(stage)
        [call] = gateway.app.calls
        await until(lambda: [step.input.value for step in call.history].count("offer-answered") >= 2)
        await page.tone(PHONE_HZ)
        await hears(desk, HZ)
        desk.hangup()
        await page.until("ended")
