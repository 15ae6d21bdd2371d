"""More than one call on the page: call waiting, swapping, transferring, calls of other devices; and its language."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.async_playwright import Axe

from gateway.call.status import Cause
from tests.web.browser import Stage, answering, stage
from tests.web.fake import FakeCall

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("chromiums")]


_OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


async def _talking(it: Stage) -> FakeCall:
    answering(it.phone)
    await it.page.fill("#dial", "1001")
    await it.page.press("#dial", "Enter")
    await it.status("Connected.")
    return it.gateway.calls[-1]


async def test_a_second_call_waits_and_can_be_declined_or_missed() -> None:
    """The first goes on untouched; nobody is told busy, and no key takes the second by accident."""
    async with stage() as it:
        await it.log_in()
        first = await _talking(it)
        waiting = it.gateway.ring_user("alice", "sip:1002@gateway.example", "")
        await it.status("1002 is calling, too.")
        assert await it.page.evaluate("document.activeElement.id") == "hangup"
        await it.page.click("#lines [data-act=decline]")
        await waiting.happens("reject", Cause.DECLINED)
        missed = it.gateway.ring_user("alice", "sip:1003@gateway.example", "")
        await it.page.wait_for_selector("#lines [data-act=accept]")
        missed.channel.ended(missed, Cause.CANCELLED)
        await it.page.wait_for_selector("#lines", state="hidden")
        assert await it.page.get_attribute("#recent .icon", "aria-label") == "Missed call from"
        assert await it.page.inner_text("#party") == "1001"
        assert not [event for event in first.log if event[0] in ("hangup", "update")]


async def test_a_first_call_that_ends_leaves_the_second_ringing() -> None:
    """It comes to the front, and rings as any other."""
    async with stage() as it:
        await it.log_in()
        first = await _talking(it)
        second = it.gateway.ring_user("alice", "sip:1002@gateway.example", "Second")
        await it.page.wait_for_selector("#lines [data-act=accept]")
        first.channel.ended(first, Cause.NORMAL)
        await it.view("incoming")
        await it.status("Second is calling.")
        assert second.log == [("ring",)]


async def test_a_page_that_cannot_transfer_says_why_and_the_call_goes_on() -> None:
    """The field closes, the reason is said, Transfer can be tried again."""
    async with stage() as it:
        await it.log_in()
        call = await _talking(it)
        await it.page.click("#transfer")
        assert await it.page.evaluate("document.activeElement.id") == "target"
        await it.page.keyboard.type("+49 (30) 12")
        await it.page.keyboard.press("Enter")
        await call.happens("transfer", "+493012", None)
        await it.status("Transferring…")
        call.report.ended(Cause.BUSY)
        await it.status("Busy.")
        assert await it.page.is_enabled("#transfer")
        await it.page.click("#transfer")
        await it.page.keyboard.press("Escape")
        assert await it.page.is_hidden("#transferring")
        await it.view("call")


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (360, True)])
async def test_the_page_speaks_german_where_the_browser_does_or_somebody_chose_it(width: int, dark: bool) -> None:
    """No word is left in English, no line too wide; the choice outlasts a reload."""
    async with stage(width=width, dark=dark, locale="de-AT") as it:
        await it.page.goto(it.url)
        await it.status("Melden Sie sich an")
        assert await it.page.evaluate("document.documentElement.lang") == "de"
        await it.page.fill("#user", "alice")
        await it.page.fill("#password", "wonder")
        await it.page.click("#enter")
        await it.view("idle")
        call = it.gateway.ring_user("alice")
        await it.status("Desk ruft an.")
        assert await it.page.inner_text("#accept") == "Annehmen"
        assert await it.page.evaluate(_OVERFLOW) <= 0
        call.channel.ended(call, Cause.CANCELLED)
        await it.status("Sie haben den Anruf verpasst.")
        await it.page.click("#logout")
        await it.page.select_option("#language", "en")
        await it.status("Log in to make and take calls.")
        await it.page.reload()
        await it.status("Log in to make and take calls.")
        assert await it.page.inner_text("#enter") == "Log in"


@pytest.mark.parametrize(
    ("locale", "day", "today", "share"),
    [
        ("en-US", r"1/\d/70, \d{1,2}:\d\d\s[AP]M", r"\d{1,2}:\d\d\s[AP]M", "3.4%"),
        ("en-GB", r"\d\d/01/1970, \d\d:\d\d", r"\d\d:\d\d", "3.4%"),
        ("de-DE", r"\d\d\.01\.70, \d\d:\d\d", r"\d\d:\d\d", "3,4\xa0%"),
    ],
)
async def test_times_and_numbers_are_written_as_where_the_browser_is(
    locale: str, day: str, today: str, share: str
) -> None:
    """A day, a time of today and a share; both kinds of English."""
    async with stage(locale=locale) as it:
        await it.page.goto(it.url)
        shown = await it.page.evaluate(
            """async () => {
              const words = await import("/static/words.js");
              return [words.when(5 * 86_400_000), words.when(Date.now()), words.percent(0.034)];
            }"""
        )
        assert re.fullmatch(day, shown[0])
        assert re.fullmatch(today, shown[1])
        assert shown[2] == share


@pytest.mark.core
@pytest.mark.parametrize("locale", ["en-US", "de-DE"])
async def test_two_calls_and_a_transfer_fit_a_phone_and_axe_finds_nothing(locale: str) -> None:
    """At 360 pixels, with a long name."""
    async with stage(width=360, height=740, dark=True, locale=locale) as it:
        await it.log_in()
        answering(it.phone)
        await it.page.fill("#dial", "1001")
        await it.page.press("#dial", "Enter")
        await it.page.wait_for_selector("#quality:not([hidden])")
        it.gateway.ring_user("alice", name="A caller with a rather long display name, as some have")
        await it.page.wait_for_selector("#lines [data-act=accept]")
        assert await it.page.evaluate(_OVERFLOW) <= 0
        await it.page.click("#transfer")
        assert await it.page.evaluate(_OVERFLOW) <= 0
        results = await Axe().run(it.page)
        assert [f"{found['id']}: {found['nodes'][0]['html']}" for found in results.response["violations"]] == []


async def test_both_languages_have_the_same_words() -> None:
    """Every name, and every value that is filled in."""
    async with stage() as it:
        await it.page.goto(it.url)
        different = await it.page.evaluate(
            """async () => {
              const [en, de] = await Promise.all(["en", "de"].map((tag) => import(`/static/words.${tag}.js`)));
              const values = (text) => [...text.matchAll(/{\\w+}/g)].map(String).sort();
              const flat = ({ default: words }) => Object.entries(words).flatMap(([group, inner]) =>
                Object.entries(inner).map(([key, text]) => `${group}.${key} ${values(text)}`));
              const [ours, theirs] = [flat(en), flat(de)];
              const missing = (some, others) => some.filter((word) => !others.includes(word));
              return [...missing(ours, theirs), ...missing(theirs, ours)];
            }"""
        )
        assert different == []
