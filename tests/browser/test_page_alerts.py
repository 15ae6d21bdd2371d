"""Ringing that is heard, notifications that come, a list that lasts, and what axe finds: nothing."""

from __future__ import annotations

import pytest
from axe_playwright_python.async_playwright import Axe

from gateway.call.status import Cause
from tests.web.browser import Stage, answering, stage

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("chromiums")]

_RECORD = """
  window.tones = 0;
  const start = OscillatorNode.prototype.start;
  OscillatorNode.prototype.start = function (...when) {
    if (this.context.state === "running") window.tones += 1;
    return start.apply(this, when);
  };
  window.notices = [];
  window.Notification = class extends EventTarget {
    static permission = "granted";
    static requestPermission() { return Promise.resolve("granted"); }
    constructor(title) { super(); window.notices.push(title); }
    close() { window.notices.push("closed"); }
  };
  document.hasFocus = () => false;
"""


async def test_a_call_that_rings_is_heard_from_the_first_click_on_at_the_latest() -> None:
    """After the one-click link or a reload there was no click yet; nothing is left to turn on then."""
    async with stage() as it:
        await it.page.add_init_script(_RECORD)
        await it.log_in()
        await it.phone.call("alice")
        await it.view("incoming")
        await it.page.click("#party")
        await it.until("window.tones > 0")
        await it.page.wait_for_selector("#unlock", state="hidden")


async def test_a_call_is_notified_to_who_does_not_look_and_the_notice_goes_with_it() -> None:
    """By the caller's name."""
    async with stage() as it:
        await it.page.add_init_script(_RECORD)
        await it.log_in()
        call = await it.phone.call("alice")
        await it.until("window.notices.length === 1")
        assert await it.page.evaluate("window.notices") == ["Reception is calling"]
        call.channel.ended(call, Cause.CANCELLED)
        await it.until("window.notices.length === 2")


async def test_a_call_that_comes_while_somebody_types_is_not_taken_by_the_next_key() -> None:
    """Enter was meant for the number."""
    async with stage() as it:
        await it.log_in()
        await it.page.focus("#dial")
        await it.page.keyboard.type("10")
        call = await it.phone.call("alice")
        await it.view("incoming")
        await it.page.keyboard.type("01")
        await it.page.keyboard.press("Enter")
        await it.page.keyboard.press("Space")
        assert [event[0] for event in call.log] == ["ring"]


async def test_the_list_of_calls_outlasts_a_reload() -> None:
    """With more than six rows; a call that another device took is told apart from a missed one."""
    async with stage() as it:
        await it.log_in()
        for cause in (Cause.ELSEWHERE, Cause.CANCELLED):
            call = it.gateway.ring_user("alice")
            await it.view("incoming")
            call.channel.ended(call, cause)
            await it.view("idle")
        it.gateway.script = lambda call: call.channel.ended(call, Cause.BUSY)
        for number in range(6):
            await it.page.fill("#dial", f"200{number}")
            await it.page.press("#dial", "Enter")
            await it.status("Busy.")
            await it.view("idle")
        await it.page.reload()
        await it.view("idle")
        assert await it.page.locator("#recent li").count() == 8
        labels = await it.page.eval_on_selector_all("#recent .icon", "all => all.map((i) => i.ariaLabel)")
        assert labels[-2:] == ["Missed call from", "Answered on another device, call from"]
        await it.page.click("#clear")
        assert await it.page.inner_text("#recent") == "None yet."


async def test_without_a_microphone_one_can_still_listen() -> None:
    """The offer takes sound only; the far end's tone is heard."""
    async with stage("--deny-permission-prompts", whole=True) as it:
        await it.log_in()
        answering(it.phone)
        await it.page.fill("#dial", "1001")
        await it.page.press("#dial", "Enter")
        await it.status("The microphone is blocked.")
        await it.page.click("#listen")
        await it.status("Connected.")
        assert "a=recvonly" in it.gateway.calls[0].offer
        assert abs(await it.loudest_frequency() - 440) < 12


async def test_connected_is_said_when_there_is_media_and_not_before() -> None:
    """An answer alone is no connection."""
    async with stage() as it:
        await it.log_in()

        async def script(call: object) -> None:
            placed = it.gateway.calls[-1]
            placed.channel.early_answer(placed, await it.phone.answer(placed))
            await it.phone.connection.close()
            placed.channel.answered(placed, None)

        it.gateway.script = script
        await it.page.fill("#dial", "1001")
        await it.page.press("#dial", "Enter")
        await it.status("Connecting the audio…")


async def _findings(it: Stage) -> list[str]:
    results = await Axe().run(it.page)
    return [f"{found['id']}: {found['nodes'][0]['html']}" for found in results.response["violations"]]


@pytest.mark.parametrize("dark", [False, True])
async def test_axe_finds_nothing_in_any_view(dark: bool) -> None:
    """Login, dialler, incoming call, call, rooms and the API's page; light and dark (WCAG 2.1 AA)."""
    async with stage(dark=dark) as it:
        await it.page.goto(it.url)
        assert await _findings(it) == []
        await it.log_in()
        assert await _findings(it) == []
        call = await it.phone.call("alice")
        await it.view("incoming")
        assert await _findings(it) == []
        await it.page.click("#accept")
        await it.phone.accepted(call)
        await it.status("Connected.")
        assert await _findings(it) == []
        for path in ("webrtc/client", "docs"):
            await it.page.goto(it.url + path)
            assert await _findings(it) == []


async def test_call_is_in_sight_on_a_phone_on_its_side() -> None:
    """In landscape the keypad stands beside it."""
    async with stage(width=740, height=360) as it:
        await it.log_in()
        box = await it.page.locator("#call").bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= 360


_PLACES = "[...document.querySelectorAll('#call, #pad button, .side button')].map((it) => it.getBoundingClientRect().y)"


@pytest.mark.parametrize(("width", "height"), [(1100, 800), (360, 740), (740, 360)])
async def test_what_the_page_says_and_offers_moves_no_button_under_a_finger(width: int, height: int) -> None:
    """An offer that came or went between press and release took the click with it, and no call was placed."""
    async with stage(width=width, height=height) as it:
        await it.log_in()
        said = [
            "(ui, say) => ui.tell(say('state.ready'))",
            "(ui) => ui.showUnlock(false)",
            "(ui) => ui.showUnlock(true)",
            "(ui) => { ui.showUnlock(false); ui.showListen(() => {}); }",
            "(ui) => ui.showListen(null)",
            "(ui, say) => ui.tell(say('microphone.NotAllowedError'), 'bad')",
            "(ui, say) => ui.tell(say('state.retrying'), 'bad')",
        ]
        modules = "Promise.all([import('/static/ui.js'), import('/static/words.js')])"
        places = [
            await it.page.evaluate(
                f"async () => {{ const [ui, {{ say }}] = await {modules}; ({does})(ui, say); return {_PLACES}; }}"
            )
            for does in said
        ]
        assert len(places[0]) > 12
        assert places == [places[0]] * len(said)


async def test_the_microphone_is_chosen_tested_and_used() -> None:
    """Its level moves while it is tested; the choice outlasts a reload and is what the next call asks for."""
    async with stage() as it:
        await it.log_in()
        await it.page.click("#test")
        await it.until("document.getElementById('level').value > 0.05")
        await it.until("document.getElementById('microphone').options.length > 1")
        await it.page.click("#test")
        value = await it.page.evaluate("document.getElementById('microphone').options[1].value")
        await it.page.select_option("#microphone", value)
        await it.page.reload()
        await it.view("idle")
        await it.page.evaluate(
            """() => {
              const get = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
              navigator.mediaDevices.getUserMedia = (wanted) => { window.wanted = wanted; return get(wanted); };
            }"""
        )
        answering(it.phone)
        await it.page.fill("#dial", "1001")
        await it.page.press("#dial", "Enter")
        await it.status("Connected.")
        assert await it.page.evaluate("window.wanted.audio.deviceId.ideal") == value


@pytest.mark.parametrize(("language", "name", "said"), [("en-GB", "Volume", "90%"), ("de-DE", "Lautstärke", "90\xa0%")])
async def test_the_volume_is_set_by_keys_in_a_call_and_kept(language: str, name: str, said: str) -> None:
    """A screen reader hears its name and percent; what calls play is as loud, also after a reload."""
    async with stage(locale=language) as it:
        await it.log_in()
        answering(it.phone)
        await it.page.fill("#dial", "1001")
        await it.page.press("#dial", "Enter")
        await it.view("call")
        slider = it.page.get_by_role("slider", name=name)
        await slider.focus()
        for _ in range(2):
            await it.page.keyboard.press("ArrowLeft")
        assert await slider.get_attribute("aria-valuetext") == said
        assert await it.page.evaluate("document.getElementById('remote').volume") == 0.9
        await it.page.click("#hangup")
        await it.view("idle")
        await it.page.reload()
        await it.view("idle")
        assert await slider.input_value() == "90"
        assert await it.page.evaluate("document.getElementById('remote').volume") == 0.9
        await slider.focus()
        await it.page.keyboard.press("5")
        assert await it.page.input_value("#dial") == "5"


@pytest.mark.parametrize("kept", ['{"volume": 7}', '{"volume": "loud"}', '{"volume": null}', "{", '{"speaker": ""}'])
async def test_a_volume_that_cannot_be_is_the_whole(kept: str) -> None:
    """What an older page, or somebody else, left in the browser's storage stops nothing."""
    async with stage() as it:
        await it.page.add_init_script(f"localStorage.setItem('softphone.devices', {kept!r})")
        await it.log_in()
        assert await it.page.locator("#volume").input_value() == "100"
        assert await it.page.evaluate("document.getElementById('remote').volume") == 1
