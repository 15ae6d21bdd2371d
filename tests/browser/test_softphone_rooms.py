"""Rooms, recordings, voice messages, and calls merged to one on the page: a whole gateway, two users, two phones."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page, WebSocketRoute

from gateway.demo.browser import SoftphoneBrowser
from gateway.demo.phone import DeskPhone
from tests.browser.softphone import RING_SECONDS, accessible, phone_hears, says, sees, talk
from tests.interop.gateway import BROWSER_HZ, PHONE_HZ, Gateway, config_on_free_ports, gateway_with

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]

SECOND_HZ = 1046
_ROUTES = [{"match": "801", "to": "room:team"}, {"match": "802", "to": "room:pictures"}]
_ROOMS = [{"name": "team", "pin": "4711", "moderators": ["alice"]}]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """A gateway with a room, recordings by users, and a mailbox of alice's."""
    folder: Path = tmp_path_factory.mktemp("rooms")
    changes = {"ROUTES": json.dumps(_ROUTES), "ROOMS": json.dumps(_ROOMS), "SIP__RING_TIMEOUT": str(RING_SECONDS)}
    changes |= {
        "USERS__ALICE__SIP": "true",
        "RECORDING__BY_USERS": "true",
        "RECORDING__MIN_FREE": "0",
        "VOICEMAIL__USERS": "alice",
    }
    async with gateway_with(config_on_free_ports(folder, **changes), folder / "gateway.log") as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def second(gateway: Gateway) -> DeskPhone:
    """Desk phone 1002, with a tone of its own."""
    return await gateway.phone("1002", SECOND_HZ)


@pytest_asyncio.fixture(loop_scope="module")
async def bob(gateway: Gateway, page: SoftphoneBrowser) -> AsyncIterator[Page]:
    """Bob's page, in a profile of its own, on a phone in the dark."""
    browser = page.page.context.browser
    assert browser is not None
    context = await browser.new_context(
        permissions=["microphone"], viewport={"width": 360, "height": 740}, color_scheme="dark"
    )
    other = await context.new_page()
    await other.goto(gateway.app.signed_in_url("bob"))
    await other.locator("body[data-view=idle]").wait_for()
    yield other
    await context.close()


async def join(page: Page) -> None:
    """By the number and the PIN."""
    await page.fill("#room-number", "801")
    await page.fill("#room-pin", "4711")
    await page.press("#room-pin", "Enter")


def row(name: str, note: str = "") -> str:
    """Somebody in the list; who speaks is said there, too."""
    return (
        f"#room li:has(b:text-is('{name}')):has(span:text('{note}'))" if note else f"#room li:has(b:text-is('{name}'))"
    )


async def shown(page: Page, selector: str, *, is_shown: bool = True) -> None:
    await page.locator(selector).wait_for(state="visible" if is_shown else "hidden", timeout=30_000)


_NAMED = """async (names) => {
  const videos = () => [...document.querySelectorAll("#picture, #others video")].filter((one) => one.checkVisibility());
  const frames = (one) => one.getVideoPlaybackQuality().totalVideoFrames;
  const name = (one) => (one.id ? document.getElementById("picture-name") : one.nextElementSibling).textContent;
  for (let look = 0; look < 120; look++) {
    const before = new Map(videos().map((one) => [one, frames(one)]));
    await new Promise((done) => setTimeout(done, 300));
    const moving = videos().filter((one) => frames(one) > (before.get(one) ?? Infinity));
    if (moving.map(name).sort().join() === names.sort().join()) return "";
  }
  return `${videos().map((one) => `${name(one)}: ${frames(one)}`)}`;
}"""
"""Waits for moving pictures of those names and of nobody else; what is there instead, where they do not come."""


async def sees_all(page: Page, *names: str) -> None:
    """All at once: a browser that takes less than is sent may see one less meanwhile."""
    assert await page.evaluate(_NAMED, names) == ""


async def test_users_with_cameras_see_each_other_in_a_room(gateway: Gateway, page: SoftphoneBrowser, bob: Page) -> None:
    """Dialled with video, with their names; one reloads its page; a third comes, whom both see beside, and leaves."""
    alice = page.page
    for one in (alice, bob):
        await one.context.grant_permissions(["microphone", "camera"])
        await one.fill("#dial", "802")
        await one.click("#video")
        await says(one, "Connected.")
    await sees(alice, bob)
    await bob.reload()
    await says(bob, "Connected.")
    await sees(bob, alice)
    await sees_all(alice, "Bob")
    third = await bob.context.new_page()
    await third.goto(gateway.app.signed_in_url("bob"))
    await third.locator("body[data-view=idle]").wait_for()
    await third.fill("#dial", "802")
    await third.click("#video")
    both = (alice, ("Bob", "Bob")), (bob, ("Alice", "Bob")), (third, ("Alice", "Bob"))
    await asyncio.gather(*[sees_all(one, *names) for one, names in both])
    await third.click("#hangup")
    await says(third, "The call ended.")
    await third.close()
    await asyncio.gather(sees_all(alice, "Bob"), sees_all(bob, "Alice"))
    await bob.click("#hangup")
    await says(bob, "The call ended.")
    await alice.click("#hangup")
    await says(alice, "The call ended.")


async def test_users_meet_in_a_room_by_its_number_and_pin(page: SoftphoneBrowser, bob: Page) -> None:
    """Each sees who is there; the moderator mutes, records, locks and removes, also after a reload."""
    alice = page.page
    await join(alice)
    await shown(alice, row("Alice", "you"))
    assert await alice.input_value("#room-pin") == ""
    await join(bob)
    await shown(bob, row("Bob", "you"))
    await shown(alice, row("Bob"))
    assert await bob.locator("#room button:visible").count() == 0
    assert not await bob.is_visible("#record")
    await alice.reload()
    await says(alice, "Connected.")
    await alice.locator("#room li", has_text="Bob").locator("[data-act=mute]").click()
    await shown(bob, row("Bob", "muted"))
    await alice.click("#record")
    for one in (alice, bob):
        await shown(one, "#recorded")
        await accessible(one)
    await alice.click("#record")
    for one in (alice, bob):
        await shown(one, "#recorded", is_shown=False)
    await alice.click("#lock")
    await alice.locator("#lock[aria-pressed=true]").wait_for()
    await alice.locator("#room li", has_text="Bob").locator("[data-act=kick]").click()
    await says(bob, "The call ended.")
    await join(bob)
    await says(bob, "Busy.")
    await alice.click("#hangup")
    await shown(alice, "#room", is_shown=False)


async def test_a_user_opens_a_room_that_a_phone_joins_and_closes_it(
    page: SoftphoneBrowser, bob: Page, phone: DeskPhone, gateway: Gateway
) -> None:
    """A name, a wanted number and a made PIN, told once; the owner moderates; at its end all hear why."""
    alice = page.page
    await alice.fill("#open-title", "Round <b>&")
    await alice.fill("#open-number", "9999")
    await alice.press("#open-pin", "Enter")
    await alice.locator("#opened-told", has_text="no number of a room").wait_for()
    await alice.fill("#open-number", "8042")
    await alice.press("#open-number", "Enter")
    room = alice.locator("#opened-rooms li", has_text="8042 · Round <b>&")
    await room.wait_for()
    told = await alice.inner_text("#opened-told")
    assert "8042" in told
    pin = re.sub(r"\D", "", told.partition("PIN")[2])
    assert len(pin) == 6
    assert pin in await room.inner_text()
    assert await alice.input_value("#open-title") == ""
    await accessible(alice)
    phone.dial(gateway.uri("8042"))
    await phone.expect("state", state="answered")
    phone.digits(pin)
    await room.locator("[data-act=join]").click()
    await shown(alice, row("Alice", "you"))
    await shown(alice, row("Desk phone"))
    await page.tone(PHONE_HZ)
    await alice.locator("#room li", has_text="Desk phone").locator("[data-act=mute]").click()
    await shown(alice, row("Desk phone", "muted"))
    await alice.click("#hangup")
    await says(alice, "The call ended.")
    await alice.reload()
    await room.filter(has_text="with a PIN, somebody is there").wait_for()
    assert pin not in await alice.content()
    await room.locator("[data-act=newPin]").click()
    await room.filter(has_not_text=pin).filter(has_text="PIN ").wait_for()
    assert await bob.locator("#opened-rooms li").count() == 0
    await bob.fill("#room-number", "8042")
    await bob.press("#room-number", "Enter")
    await says(bob, "Connected.")
    alice.once("dialog", lambda dialog: asyncio.ensure_future(dialog.accept()))
    await room.locator("[data-act=end]").click()
    await room.wait_for(state="detached")
    await phone.expect("state", state="ended")
    await says(bob, "The room was closed.")
    await accessible(bob)


async def test_a_recording_is_seen_by_both_sides_through_a_cut_and_a_reload(page: SoftphoneBrowser, bob: Page) -> None:
    """The sign is the gateway's word, not the page's memory."""
    alice, cut = page.page, list[WebSocketRoute]()

    def through(socket: WebSocketRoute) -> None:
        socket.connect_to_server()
        cut.append(socket)

    await alice.route_web_socket("**/rpc", through)
    await alice.reload()
    await page.status("ready")
    await page.dial("bob")
    await bob.click("#accept")
    await says(alice, "Connected.")
    await alice.click("#record")
    for one in (alice, bob):
        await shown(one, "#recorded")
    await cut[-1].close(code=1012)
    await alice.wait_for_selector("#connection[data-state=connecting]")
    await alice.wait_for_selector("#connection[data-state=online]")
    await alice.reload()
    await says(alice, "Connected.")
    await shown(alice, "#recorded")
    await alice.click("#record")
    for one in (alice, bob):
        await shown(one, "#recorded", is_shown=False)
    await alice.click("#hangup")
    await says(bob, "The call ended.")


async def test_two_calls_become_one_of_three(
    page: SoftphoneBrowser, phone: DeskPhone, second: DeskPhone, gateway: Gateway
) -> None:
    """The phones hear each other; one may go, and the others go on."""
    alice = page.page
    await _two_calls(page, phone, second, gateway)
    await alice.click("#lines [data-act=merge]")
    await says(alice, "Connected.")
    assert await alice.inner_text("#party") == "Conference"
    await alice.locator("#room li").nth(2).wait_for()
    await alice.click("#mute")
    await phone_hears(phone, SECOND_HZ)
    await phone_hears(second, PHONE_HZ)
    phone.hangup()
    await phone.expect("state", state="ended")
    await alice.locator("#room li").nth(2).wait_for(state="detached")
    await page.tone(SECOND_HZ)
    await page.hang_up()
    second.hangup()
    await second.expect("state", state="ended")


async def _two_calls(page: SoftphoneBrowser, phone: DeskPhone, second: DeskPhone, gateway: Gateway) -> None:
    await second.listen()
    await talk(page, phone)
    second.dial(gateway.uri("alice"))
    await page.page.click("#lines [data-act=accept]")
    await page.tone(SECOND_HZ)


async def test_who_hangs_up_before_the_merge_leaves_the_other_call_as_it_was(
    page: SoftphoneBrowser, phone: DeskPhone, second: DeskPhone, gateway: Gateway
) -> None:
    """The merge is refused, said in words, and one goes on talking."""
    alice = page.page
    asked = asyncio.Event()

    def through(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()

        async def passed(message: str | bytes) -> None:
            if "call.merge" in str(message):
                phone.hangup()
                # The phone says "ended" before its BYE has reached the gateway.
                calls = [asyncio.create_task(call.finished()) for call in gateway.app.calls]
                _, others = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
                for other in others:
                    other.cancel()
            server.send(message)
            if "call.merge" in str(message):
                asked.set()

        socket.on_message(passed)

    await alice.route_web_socket("**/rpc", through)
    await alice.reload()
    await page.status("ready")
    await _two_calls(page, phone, second, gateway)
    await alice.click("#lines [data-act=merge]")
    await asyncio.wait_for(asked.wait(), 30)
    await says(alice, "no answered call of yours")
    await page.tone(SECOND_HZ)
    await phone_hears(second)
    assert await alice.is_enabled("#transfer")
    await page.hang_up()
    await second.expect("state", state="ended")


async def test_two_tabs_and_a_phone_of_one_user_ring_and_one_of_them_has_the_call(
    page: SoftphoneBrowser, phone: DeskPhone, gateway: Gateway
) -> None:
    """The phone answers, then a tab: the others stop at once, and both tabs say where the call went."""
    alice, tab = page.page, await page.page.context.new_page()
    await tab.goto(gateway.app.signed_in_url("alice"))
    await tab.locator("body[data-view=idle]").wait_for()
    own = await gateway.phone("alice", SECOND_HZ)
    try:
        own.on_incoming(0)
        for answered in ("phone", "tab"):
            phone.dial(gateway.uri("alice"))
            await own.expect("incoming")
            for one in (alice, tab):
                await one.locator("body[data-view=incoming]").wait_for()
            if answered == "phone":
                own.answer()
            else:
                await tab.click("#accept")
            await says(alice, "Answered on another device.")
            await says(tab, "Answered on another device." if answered == "phone" else "Connected.")
            await phone.expect("state", state="answered")
            await phone_hears(phone, SECOND_HZ if answered == "phone" else BROWSER_HZ)
            if answered == "phone":
                phone.hangup()
            else:
                await tab.click("#hangup")
                await phone.expect("state", state="ended")
            await own.expect("state", state="ended")
        await accessible(alice)  # with calls that were answered elsewhere among the latest
    finally:
        own.unregister()
        await own.expect("registration")
        await tab.close()


async def test_a_voice_message_lights_up_is_heard_and_deleted(
    page: SoftphoneBrowser, phone: DeskPhone, gateway: Gateway
) -> None:
    """The light comes by itself and goes with the last new message; a reload does not bring it back."""
    alice = page.page
    phone.dial(gateway.uri("alice"))
    await page.status("ringing")
    await alice.click("#decline")
    await phone.expect("state", state="answered")
    await phone.expect(
        "tone"
    )  # the mailbox asks for the message, a quarter of a second long: heard since `page` listened
    await alice.wait_for_timeout(1_800)  # so long is what is said
    phone.hangup()
    await shown(alice, "#light")
    assert await alice.get_attribute("#light", "aria-label") == "1 new voice message"
    await alice.set_viewport_size({"width": 360, "height": 740})
    await accessible(alice)
    await alice.set_viewport_size({"width": 1280, "height": 720})
    await alice.click("#light")
    await alice.locator("#voicemail li", has_text="new").locator("[data-act=play]").click()
    await shown(alice, "#light", is_shown=False)
    heard = "document.getElementById('voicemail-player').currentTime"
    while not await alice.evaluate(heard):
        await alice.wait_for_timeout(50)
    await alice.reload()
    await alice.locator("#voicemail li").wait_for()
    assert not await alice.is_visible("#light")
    await alice.click("#voicemail [data-act=remove]")
    await shown(alice, "#voicemail-none")
