"""A call of JsSIP or SIP.js outlives its WebSocket, and a reload of its page (docs/sip-over-websocket.md)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.browser.sip_pages import HZ, LIBRARIES, SipPage, Stage, desk_phone, hears
from tests.docs_blocks import blocks_of
from tests.interop.gateway import PHONE_HZ, TONE_HZ

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]


NAMES = {"jssip": "JsSIP", "sipjs": "SIP.js"}


def shown(library: str, when: str) -> str:
    """The block of docs/sip-over-websocket.md that begins with the library's name and these words."""
    page = Path(__file__).parents[2] / "docs" / "sip-over-websocket.md"
    [text] = [one.text for one in blocks_of(page) if one.text.startswith(f"// {NAMES[library]}, {when}\n")]
    return text


async def replaces(page: SipPage) -> str:
    """The header that names the page's call, as the gateway knows its dialog."""
    kept = await page.get("phone.dialog")
    return f"Replaces: {kept['callId']};to-tag={kept['remote']};from-tag={kept['local']}"


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("calls", [True, False])
async def test_a_call_outlives_its_socket(stage: Stage, library: str, calls: bool) -> None:
    """The socket is lost; registered again, a re-INVITE with an ICE restart (as documented) goes on with the call."""
    gateway = stage.gateway
    async with desk_phone(gateway) as desk, stage.phone(library) as page:
        if calls:
            await page.do("call", "1001")
        else:
            desk.dial(gateway.uri("1002"))
            await page.until("incoming")
            await page.do("answer")
        await page.tone(PHONE_HZ)
        await hears(desk, HZ)
        before = await page.ice_name()
        await page.get("phone.lose()")
        await page.until("disconnected")
        await hears(desk, HZ)
        await page.until("registered")
        await page.run(f"const {{ session }} = phone; {shown(library, 'when it is registered again')}")
        async with asyncio.timeout(30):
            while await page.ice_name() == before:  # noqa: ASYNC110  # only asking tells
                await asyncio.sleep(0.02)
        await page.tone(PHONE_HZ)
        await hears(desk, HZ)
        await page.do("digit", "5", "info")
        assert (await desk.expect("digit")).details["digit"] == "5"
        desk.hangup()
        await page.until("ended")


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_page_without_its_socket_hears_of_the_end_as_it_connects_again(stage: Stage, library: str) -> None:
    """Its library registers the same Contact by the next socket, and the call is over there, too."""
    async with desk_phone(stage.gateway) as desk, stage.phone(library) as page:
        await page.do("call", "1001")
        await page.tone(PHONE_HZ)
        await hears(desk, HZ)
        await page.get("phone.lose()")
        await page.until("disconnected")
        desk.hangup()
        await desk.expect("state", state="ended")
        await page.until("registered")
        await page.until("ended")


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_page_that_was_put_on_hold_while_it_had_no_socket_comes_back_as_documented(
    stage: Stage, library: str
) -> None:
    """Its own re-INVITE with an ICE restart comes first, and crosses nothing."""
    async with desk_phone(stage.gateway) as desk, stage.phone(library) as page:
        await page.do("call", "1001")
        await page.tone(PHONE_HZ)
        await hears(desk, HZ)
        before = await page.ice_name()
        await page.get("phone.lose()")
        await page.until("disconnected")
        desk.hold()
        await page.silence()
        await page.until("registered")
        await page.run(f"const {{ session }} = phone; {shown(library, 'when it is registered again')}")
        async with asyncio.timeout(30):
            while await page.ice_name() == before:  # noqa: ASYNC110  # only asking tells
                await asyncio.sleep(0.02)
        desk.unhold()
        await page.tone(PHONE_HZ)
        await hears(desk, HZ)
        desk.hangup()
        await page.until("ended")


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_page_that_was_reloaded_takes_its_call_back(stage: Stage, library: str) -> None:
    """By what is documented, an INVITE that replaces the old dialog; the phone keeps its call, and hears the page."""
    gateway = stage.gateway
    async with desk_phone(gateway) as desk, stage.phone(library) as page:
        await page.do("call", "1001")
        await page.tone(PHONE_HZ)
        await hears(desk, HZ)
        kept = await page.run(f"const {{ session }} = phone; {shown(library, 'when the call is answered')} return kept")
        await page.load()
        await page.start(library, gateway, "1002", HZ)
        watch = "phone.took(session); phone.watch(session.sessionDescriptionHandler.peerConnection);"
        await page.run(f"""
            const {{ ua }} = phone, number = phone.uri("1001"), kept = {json.dumps(kept)};
            navigator.mediaDevices.getUserMedia = () => phone.sound.microphone();
            {shown(library, "after the reload")}
            phone.session = session;
            {watch if library == "sipjs" else ""}
        """)
        await page.tone(PHONE_HZ)
        await hears(desk, HZ)
        assert len(gateway.app.calls) == 1
        await page.do("hangup")
        await desk.expect("state", state="ended")


@pytest.mark.parametrize("library", LIBRARIES)
async def test_nobody_else_takes_a_call_back(stage: Stage, library: str) -> None:
    """Another user that knows the dialog is refused, and the call goes on."""
    async with stage.phone(library) as page, stage.phone(library, "1001") as other:
        await page.do("call", "601")
        await page.tone(TONE_HZ)
        await other.do("call", "601", [await replaces(page)])
        await other.until("failed")
        await page.tone(TONE_HZ)
        await page.do("hangup")
        await page.until("ended")
