"""The other things a browser loads from us: the room client and webrtc-client.js."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.call.status import Cause
from tests.docs_blocks import ROOT, blocks_of
from tests.web.browser import ALLOWED, Phone, answering, stage
from tests.web.fake import FakeCall

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("chromiums")]

DOCUMENTED = Path("docs/gateway-client.md").read_text(encoding="utf-8")


async def test_three_peers_meet_in_a_room() -> None:
    """Each is connected with both others; who leaves is gone from their pages."""
    async with stage() as it:
        pages = [it.page, await it.page.context.new_page(), await it.page.context.new_page()]
        for number, page in enumerate(pages):
            await page.goto(f"{it.url}webrtc/client")
            await page.fill("#peer", f"peer-{number}")
            await page.click("#enter")
            await page.locator("#status", has_text="You are in.").wait_for()
        for page in pages:
            await page.locator("#peers span", has_text="connected").nth(1).wait_for(timeout=30_000)
        await pages[2].click("#leave")
        for page in pages[:2]:
            await page.locator("#peers li", has_text="peer-2").wait_for(state="detached")
            assert await page.locator("#peers li").count() == 1


async def test_webrtc_client_sets_up_and_closes_sessions() -> None:
    """The class of the guide: offers, metadata, candidates, errors with code and session id, clean-up."""
    async with stage() as it:
        phones: list[Phone] = []

        async def script(call: FakeCall) -> None:
            phones.append(Phone(it.gateway))
            call.channel.early_answer(call, await phones[-1].answer(call))

        it.gateway.script = script
        await it.page.goto(it.url)
        await it.page.add_script_tag(url=f"{it.url}webrtc-client.js")
        outcome = await it.page.evaluate(
            """async (base) => {
                const client = new WebRTCSDPClient(base);
                const examples = new WebRTCSDPExamples(client);
                const basic = await examples.basicPeerConnection();
                await new Promise((done) => {
                    const look = () => basic.pc.connectionState === "connected" && done();
                    basic.pc.addEventListener("connectionstatechange", look);
                    look();
                });
                const advanced = await examples.advancedPeerConnection();
                const several = await examples.concurrentSessions();
                await client.sendIceCandidate(basic.sessionId, { candidate: "", sdpMid: "0", sdpMLineIndex: 0 });
                const ids = [basic, advanced, ...several].map(({ sessionId }) => sessionId);
                await examples.cleanup([basic, advanced, ...several]);
                const ice = await client.getIceServers();
                return { ids, ice, several: several.length };
            }""",
            it.url,
        )
        assert len(set(outcome["ids"])) == 5
        assert outcome["ice"] == it.gateway.ice_servers("", "guest")
        assert [call.log[-1] for call in it.gateway.calls] == [("hangup", Cause.NORMAL)] * 5
        assert ("candidate", "", "0") in it.gateway.calls[0].log
        for phone in phones:
            await phone.close()


async def test_the_snippet_of_the_http_page_connects() -> None:
    """That of docs/http-api.md as it stands, but for its address and the tracks that it has its reader add."""
    [shown] = [one.text for one in blocks_of(ROOT / "docs/http-api.md") if "new WebRTCSDPClient" in one.text]
    script = re.findall(r"<script>\n(.*?)</script>", shown, re.DOTALL)[0]
    async with stage() as it:
        phones: list[Phone] = []

        async def answers(call: FakeCall) -> None:
            phones.append(Phone(it.gateway))
            call.channel.early_answer(call, await phones[-1].answer(call))

        it.gateway.script = answers
        await it.page.goto(it.url)
        await it.page.add_script_tag(url=f"{it.url}webrtc-client.js")
        script = script.replace("http://localhost:8080", it.url.rstrip("/"))
        assert "// add tracks, then:" in script
        script = script.replace("// add tracks, then:", 'pc.addTransceiver("audio");')
        connected = """if (pc.connectionState !== "connected") await new Promise((done) => {
            pc.onconnectionstatechange = () => pc.connectionState === "connected" && done();
        })"""
        await it.page.evaluate(f"async () => {{ {script}; {connected}; pc.close(); }}")
        for phone in phones:
            await phone.close()


async def test_webrtc_client_reports_errors_with_code_and_session_id() -> None:
    """And a server that does not answer in time is a request timeout."""
    async with stage() as it:
        await it.page.goto(it.url)
        await it.page.add_script_tag(url=f"{it.url}webrtc-client.js")
        it.gateway.script = lambda call: None
        errors = await it.page.evaluate(
            """async (base) => {
                const report = ({ message, code, sessionId }) => ({ message, code, sessionId });
                const client = new WebRTCSDPClient(base);
                const missing = await client.closeSession("gone", "bye").catch(report);
                const empty = await client.sendOffer(" ", "mine").catch(report);
                const hurried = await new WebRTCSDPClient(base, { timeout: 100 }).sendOffer("v=0").catch(report);
                return [missing, empty, hurried];
            }""",
            it.url,
        )
        assert errors[0] == {"message": "Session not found", "code": 404, "sessionId": "gone"}
        assert (errors[1]["code"], errors[1]["sessionId"]) == (400, "mine")
        assert errors[2]["message"] == "Request timeout"
        it.errors[:] = [line for line in it.errors if "status of 40" not in line]


async def test_the_page_of_the_client_modules_documentation_works_as_it_stands() -> None:
    """It enters, dials, plays the other side's tone, and hangs up."""
    html = "<!doctype html>" + DOCUMENTED.split("```html\n", 1)[1].split("```", 1)[0]
    # A page that a test made up comes from no network, and Chromium would keep it off this machine's.
    async with stage(ALLOWED, "--disable-features=LocalNetworkAccessChecks") as it:
        answering(it.phone)
        await it.page.route("**/own.html", lambda route: route.fulfill(body=html, content_type="text/html"))
        async with it.page.expect_console_message(lambda message: message.text == "normal"):
            await it.page.goto(it.url + "own.html")
            await it.until("document.getElementById('remote').srcObject")
            assert it.gateway.calls[0].to == "600"
            assert abs(await it.loudest_frequency() - 440) < 12
            await it.page.click("#hangup")
