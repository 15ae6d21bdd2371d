"""The softphone page in real Chromium: calls both ways, with sound."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from gateway.call.leg import Verdict
from gateway.call.status import Cause
from tests.web.browser import answering, refusing, stage

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("chromiums")]


async def test_an_outgoing_call_rings_connects_and_sounds_both_ways() -> None:
    """Dial, hear 440 Hz by frequency, be heard, mute, press digits, hang up."""
    async with stage() as it:
        await it.log_in()
        assert it.page.url == it.url
        answering(it.phone)
        await it.page.fill("#dial", "1001")
        await it.page.click("#call")
        await it.status("Connected.")
        call = it.gateway.calls[0]
        assert (call.to, call.caller and call.caller.id) == ("1001", "alice")
        assert abs(await it.loudest_frequency() - 440) < 12
        await it.phone.sound.wait()
        await it.page.click("#mute")
        assert await it.page.get_attribute("#mute", "aria-pressed") == "true"
        await it.until("document.getElementById('timer').textContent !== '0:00'")
        await it.page.click("#hangup")
        await call.happens("hangup", Cause.NORMAL)
        await it.status("The call ended.")
        assert await it.page.inner_text("#recent b") == "1001"


async def test_an_incoming_call_is_accepted_and_ended_by_the_far_end() -> None:
    """The caller's name shows, accept connects, the page says that the call ended."""
    async with stage() as it:
        await it.log_in()
        call = await it.phone.call("alice")
        await it.status("Reception is calling.")
        assert await it.page.inner_text("#party") == "Reception"
        assert "Reception" in await it.page.title()
        await it.page.click("#accept")
        await it.phone.accepted(call)
        await it.status("Connected.")
        assert abs(await it.loudest_frequency() - 440) < 12
        call.channel.ended(call, Cause.NORMAL)
        await it.status("The call ended.")
        await it.view("idle")


@pytest.mark.parametrize(
    ("verified", "words"), [("passed", "is verified"), ("failed", "is not verified"), ("none", "")]
)
async def test_what_the_trunk_says_of_the_number_is_shown(verified: Verdict, words: str) -> None:
    """Before the call is taken; nothing where nothing is said."""
    async with stage() as it:
        await it.log_in()
        it.gateway.ring_user("alice", verified=verified)
        await it.view("incoming")
        assert words in await it.page.inner_text("#verified")
        assert await it.page.is_visible("#verified") is bool(words)


async def test_an_incoming_call_is_declined() -> None:
    """The gateway hears declined, the page is ready again."""
    async with stage() as it:
        await it.log_in()
        call = await it.phone.call("alice")
        await it.view("incoming")
        await it.page.click("#decline")
        await call.happens("reject", Cause.DECLINED)
        await it.status("You declined the call.")


async def test_a_caller_who_gives_up_leaves_a_missed_call() -> None:
    """It is on the list, to be called back."""
    async with stage() as it:
        await it.log_in()
        call = await it.phone.call("alice")
        await it.view("incoming")
        call.channel.ended(call, Cause.CANCELLED)
        await it.status("You missed the call.")
        it.gateway.script = lambda call: None
        await it.page.click("#recent button")
        await it.view("call")


async def test_a_call_answered_elsewhere_is_not_missed() -> None:
    """Another device of the same user took it."""
    async with stage() as it:
        await it.log_in()
        call = await it.phone.call("alice")
        await it.view("incoming")
        call.channel.ended(call, Cause.ELSEWHERE)
        await it.status("Answered on another device.")
        assert await it.page.locator("#recent .missed").count() == 0


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (Cause.BUSY, "Busy."),
        (Cause.NO_ANSWER, "Nobody answered."),
        (Cause.DECLINED, "declined"),
        (Cause.UNAVAILABLE, "Not reachable"),
        (Cause.NOT_ACCEPTABLE, "no audio format in common"),
        (Cause.MEDIA_FAILED, "audio connection could not be made"),
        (Cause.OVERLOADED, "Too many calls"),
        (Cause.LIMIT, "As many calls are up"),
        (Cause.OUT_OF_SERVICE, "cannot take the call"),
        (Cause.FORBIDDEN, "not allowed"),
    ],
)
async def test_each_refusal_is_said_in_words(cause: Cause, words: str) -> None:
    """The dialled number stays, to try again."""
    async with stage() as it:
        await it.log_in()
        refusing(it.gateway, cause)
        await it.page.fill("#dial", "1001")
        await it.page.press("#dial", "Enter")
        await it.status(words)
        await it.view("idle")
        assert await it.page.input_value("#dial") == "1001"


async def test_a_callee_who_does_not_exist_is_said_in_words() -> None:
    """The gateway's 404."""
    async with stage() as it:
        await it.log_in()
        await it.page.fill("#dial", "nobody")
        await it.page.press("#dial", "Enter")
        await it.status("There is nobody with that name or number.")


async def test_two_guests_call_each_other_peer_to_peer() -> None:
    """Relayed signalling, media between the browsers."""
    async with stage() as it:
        await it.log_in("ann", "")
        other = await it.page.context.new_page()
        await other.goto(f"{it.url}#user=ben")
        await other.wait_for_selector("body[data-view=idle]")
        await it.page.fill("#dial", "ben")
        await it.page.press("#dial", "Enter")
        await other.wait_for_selector("body[data-view=incoming]")
        assert await other.inner_text("#party") == "ann"
        await other.click("#accept")
        await it.status("Connected.")
        await it.until("document.getElementById('remote').srcObject?.getAudioTracks()[0].muted === false")
        await other.click("#hangup")
        await it.status("The call ended.")
        assert it.gateway.calls == []


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not is_so():  # noqa: ASYNC110  # the gateway's side of a page
            await asyncio.sleep(0.02)


async def test_a_page_leaves_a_gateway_that_drains_once_no_call_is_up() -> None:
    """It connects anew, to whoever is behind that address then; a call is talked to its end before."""
    async with stage() as it:
        await it.log_in()
        channels = it.gateway.channels["alice"]
        [first] = channels
        first.draining(60.0, False)
        await _until(lambda: bool(channels) and channels != [first])
        [second] = channels
        call = await it.phone.call("alice")
        await it.page.click("#accept")
        await it.phone.accepted(call)
        await it.status("Connected.")
        second.draining(60.0, False)
        assert abs(await it.loudest_frequency() - 440) < 12
        assert channels == [second]
        call.channel.ended(call, Cause.NORMAL)
        await _until(lambda: bool(channels) and channels != [second])
