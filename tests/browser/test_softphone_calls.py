"""The page in a real Chromium, the whole gateway, a pjsua2 desk phone: what people hear and read."""

from __future__ import annotations

import asyncio
import json

import pytest
from playwright.async_api import WebSocketRoute

from gateway.demo.browser import SoftphoneBrowser
from gateway.demo.phone import DeskPhone
from tests.browser.softphone import RING_SECONDS, phone_hears, says, silent, talk
from tests.interop.gateway import NEAR, PHONE_HZ, Gateway
from tests.web.browser import ALLOWED, LISTEN, NO_DEVICE, chromium

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]

AWAY_MS = 30_000
"""So long a page waits for the gateway, its call with it."""


@pytest.mark.core
async def test_the_page_calls_the_phone_and_hangs_up(page: SoftphoneBrowser, phone: DeskPhone) -> None:
    """Each hears the other's tone; the hang-up reaches the phone as a normal end."""
    await talk(page, phone)
    await page.hang_up()
    assert (await phone.expect("state", state="ended")).details["code"] == 200
    await says(page.page, "The call ended.")


@pytest.mark.core
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


@pytest.mark.core
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


_NOTE_WHAT_IS_SENT = """() => {
  const send = WebSocket.prototype.send;
  window.sent = [];
  WebSocket.prototype.send = function (data) {
    window.sent.push(JSON.parse(data));
    return send.call(this, data);
  };
}"""


async def test_hold_by_the_phone_and_resume(page: SoftphoneBrowser, phone: DeskPhone) -> None:
    """A re-INVITE with sendonly stops the page's voice, one with sendrecv brings both tones back.

    The page's answers name the offers that they answer.
    """
    await talk(page, phone)
    await page.page.evaluate(_NOTE_WHAT_IS_SENT)
    phone.hold()
    await silent(phone)
    await says(page.page, "The other side has put you on hold.")
    phone.unhold()
    await phone.expect("media")
    await phone_hears(phone)
    await page.tone(PHONE_HZ)
    assert await page.status("talking") == "talking"
    named = await page.page.evaluate("sent.filter((one) => one.method === 'answer').map((one) => one.params.exchange)")
    assert len(named) >= 2
    assert named == sorted({*filter(None, named)})
    await page.hang_up()
    await phone.expect("state", state="ended")


async def test_digits_of_the_page_reach_the_phone(page: SoftphoneBrowser, phone: DeskPhone) -> None:
    """As RFC 4733 events, each once and in order."""
    await talk(page, phone)
    for key in "15#":
        await page.page.click(f"#pad [data-key='{key}']")
    seen = [(await phone.expect("digit")).details["digit"] for _ in range(3)]
    assert seen == ["1", "5", "#"]
    await page.hang_up()
    await phone.expect("state", state="ended")


async def test_digits_of_the_phone_are_shown_and_leave_the_call_as_it_is(
    page: SoftphoneBrowser, phone: DeskPhone
) -> None:
    """The page says what was pressed; the tones go on."""
    await talk(page, phone)
    phone.digits("42")
    await page.page.locator("#digits", has_text="42").wait_for(timeout=8_000)
    await page.tone(PHONE_HZ)
    await phone_hears(phone)
    await page.hang_up()
    await phone.expect("state", state="ended")


async def test_closing_the_tab_ends_the_call_of_the_phone(page: SoftphoneBrowser, phone: DeskPhone) -> None:
    """After the moment a reload may take, not when the media has been missed."""
    await talk(page, phone)
    await page.page.goto("about:blank")
    await phone.expect("state", timeout=8, state="ended")


async def test_a_reload_keeps_the_call(page: SoftphoneBrowser, phone: DeskPhone) -> None:
    """The page signs in again, takes the call up over a new connection, and both hear each other again."""
    await talk(page, phone)
    await page.page.reload()
    await says(page.page, "Connected.")
    await phone_hears(phone)
    assert float(await page.page.evaluate(LISTEN)) == pytest.approx(PHONE_HZ, abs=NEAR)
    await page.hang_up()
    await phone.expect("state", state="ended")


async def test_a_reload_keeps_a_muted_microphone_muted(page: SoftphoneBrowser, phone: DeskPhone) -> None:
    """The phone hears nothing of what is said until it is opened again."""
    await talk(page, phone)
    await page.page.click("#mute")
    await silent(phone)
    await page.page.reload()
    await says(page.page, "Connected, your microphone is muted.")
    await page.tone(PHONE_HZ)
    await silent(phone)
    await page.page.click("#mute")
    await phone_hears(phone)
    await page.hang_up()
    await phone.expect("state", state="ended")


async def test_a_reload_keeps_a_call_that_has_no_microphone(
    page: SoftphoneBrowser, phone: DeskPhone, gateway: Gateway
) -> None:
    """It was gone on with without one, and so it is afterwards, reload after reload."""
    async with chromium(ALLOWED, NO_DEVICE) as browser:
        deaf = await browser.new_page()
        await deaf.goto(gateway.app.signed_in_url("alice"))
        await deaf.locator("body[data-view=idle]").wait_for()
        await deaf.fill("#dial", "1001")
        await deaf.click("#call")
        await says(deaf, "No microphone was found")
        await deaf.click("#listen")
        await says(deaf, "Connected.")
        for _ in range(2):
            await deaf.reload()
            await says(deaf, "Connected.")
            assert float(await deaf.evaluate(LISTEN)) == pytest.approx(PHONE_HZ, abs=NEAR)
        await deaf.click("#hangup")
        await phone.expect("state", state="ended")


async def test_a_reloaded_call_comes_to_an_end_where_the_gateway_stays_away(
    page: SoftphoneBrowser, phone: DeskPhone, gateway: Gateway
) -> None:
    """It was there for the sign-in, and is gone before it has given the call back."""
    assert page.page.context.browser is not None
    context = await page.page.context.browser.new_context(permissions=["microphone"])
    alone = await context.new_page()
    gone = asyncio.Event()

    async def through(socket: WebSocketRoute) -> None:
        if gone.is_set():
            await socket.close(code=1012)
            return
        server = socket.connect_to_server()

        def pass_on(message: str | bytes) -> None:
            if "call.attach" in str(message):
                gone.set()
                closing.append(asyncio.ensure_future(socket.close(code=1012)))
            else:
                server.send(message)

        socket.on_message(pass_on)

    closing: list[asyncio.Future[None]] = []
    await alone.clock.install()
    await alone.route_web_socket("**/rpc", through)
    await alone.goto(gateway.app.signed_in_url("alice"))
    await alone.locator("body[data-view=idle]").wait_for()
    await alone.fill("#dial", "1001")
    await alone.click("#call")
    await says(alone, "Connected.")
    await alone.reload()
    await asyncio.wait_for(gone.wait(), 30)
    await alone.wait_for_selector("#connection[data-state=connecting]")
    await alone.wait_for_selector("body[data-view=call]")
    await alone.clock.fast_forward(AWAY_MS)
    await alone.wait_for_selector("body[data-view=idle]")
    await says(alone, "The connection to the gateway was lost.")
    await asyncio.gather(*closing)
    await context.close()


async def test_a_cut_socket_does_not_touch_the_call(page: SoftphoneBrowser, phone: DeskPhone) -> None:
    """The sound goes on meanwhile; the page takes the call up where it was and can end it."""
    cut: list[WebSocketRoute] = []

    def through(socket: WebSocketRoute) -> None:
        socket.connect_to_server()
        cut.append(socket)

    await page.page.route_web_socket("**/rpc", through)
    await page.page.reload()
    await page.status("ready")
    await talk(page, phone)
    await cut[-1].close(code=1012)
    await page.page.wait_for_selector("#connection[data-state=connecting]")
    await phone_hears(phone)
    await page.page.wait_for_selector("#connection[data-state=online]")
    await says(page.page, "Connected.")
    await page.tone(PHONE_HZ)
    await page.hang_up()
    await phone.expect("state", state="ended")


async def test_who_hangs_up_while_the_gateway_is_away_is_heard_once_it_is_back(
    page: SoftphoneBrowser, phone: DeskPhone
) -> None:
    """The other side does not wait for somebody who has left it."""
    alice, sockets, closed = page.page, list[WebSocketRoute](), False

    async def through(socket: WebSocketRoute) -> None:
        if closed:
            await socket.close(code=1012)
            return
        socket.connect_to_server()
        sockets.append(socket)

    await alice.route_web_socket("**/rpc", through)
    await alice.reload()
    await page.status("ready")
    await talk(page, phone)
    closed = True
    await sockets[-1].close(code=1012)
    await says(alice, "Reconnecting")
    await alice.click("#hangup")
    await alice.wait_for_selector("body[data-view=idle]")
    closed = False
    await phone.expect("state", state="ended", timeout=8)
    await alice.wait_for_selector("#connection[data-state=online]")


async def test_a_microphone_that_fails_while_the_gateway_is_away_ends_the_call_there(
    gateway: Gateway, page: SoftphoneBrowser, phone: DeskPhone
) -> None:
    """After a reload: the person is told at once and in words, the gateway once it is back."""
    sockets, closed = list[WebSocketRoute](), False
    asked, refused = asyncio.Event(), asyncio.Event()

    async def through(socket: WebSocketRoute) -> None:
        if closed:
            await socket.close(code=1012)
            return
        socket.connect_to_server()
        sockets.append(socket)

    async def ask() -> None:
        asked.set()
        await refused.wait()

    alone = await page.page.context.new_page()
    await alone.goto(gateway.app.signed_in_url("alice"))
    await alone.locator("body[data-view=idle]").wait_for()
    await alone.fill("#dial", "1001")
    await alone.click("#call")
    await says(alone, "Connected.")
    await alone.goto(f"{gateway.web}/docs")  # what a reload needs is kept when the page goes
    kept = await alone.evaluate("() => Object.entries(sessionStorage)")
    await alone.close()
    # The same tab in a browser whose microphone was pulled out; what it asks for comes when the test says so.
    async with chromium(ALLOWED, NO_DEVICE) as browser:
        context = await browser.new_context()
        alone = await context.new_page()
        await alone.route_web_socket("**/rpc", through)
        await alone.expose_function("asksForTheMicrophone", ask)
        await alone.add_init_script(
            f"""for (const [name, value] of {json.dumps(kept)}) sessionStorage.setItem(name, value);
            const get = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
            navigator.mediaDevices.getUserMedia = async (wanted) => {{
              await asksForTheMicrophone();
              return get(wanted);
            }};"""
        )
        await alone.goto(gateway.app.signed_in_url("alice"))
        await asyncio.wait_for(asked.wait(), 30)
        closed = True
        await sockets[-1].close(code=1012)
        await alone.wait_for_selector("#connection[data-state=connecting]")
        refused.set()
        await says(alone, "No microphone was found")
        closed = False
        await phone.expect("state", state="ended", timeout=8)


async def test_a_reload_while_it_rings_rings_again(page: SoftphoneBrowser, phone: DeskPhone, gateway: Gateway) -> None:
    """The caller hears ringing all the while, and is answered by the page that came back."""
    phone.dial(gateway.uri("alice"))
    await page.status("ringing")
    await page.page.reload()
    await page.status("ringing")
    await page.accept()
    await phone.expect("state", state="answered")
    await phone_hears(phone)
    await page.hang_up()
    await phone.expect("state", state="ended")


async def test_the_page_holds_and_resumes(page: SoftphoneBrowser, phone: DeskPhone) -> None:
    """Silence at the phone while it is held, both tones afterwards."""
    await talk(page, phone)
    await page.page.click("#hold")
    await says(page.page, "On hold.")
    await silent(phone)
    await page.page.click("#hold")
    await says(page.page, "Connected.")
    await phone_hears(phone)
    assert float(await page.page.evaluate(LISTEN)) == pytest.approx(PHONE_HZ, abs=NEAR)
    await page.hang_up()
    await phone.expect("state", state="ended")


async def test_mute_is_silence_at_the_phone(page: SoftphoneBrowser, phone: DeskPhone) -> None:
    """And the tone is back after it; the phone is heard throughout."""
    await talk(page, phone)
    await page.page.click("#mute")
    await silent(phone)
    await page.tone(PHONE_HZ)
    await page.page.click("#mute")
    await phone_hears(phone)
    await page.hang_up()
    await phone.expect("state", state="ended")


async def test_the_address_bar_forgets_the_password(page: SoftphoneBrowser, gateway: Gateway) -> None:
    """What signed the page in is nowhere to be read over a shoulder."""
    assert gateway.app.password("alice") not in page.page.url
    assert json.dumps(gateway.app.password("alice")) not in await page.page.content()
