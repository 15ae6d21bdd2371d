"""Script in each field of strangers that a page shows: read as text in a real Chromium, and never run."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.auth.account import Credentials
from gateway.sip.invite.events import Answered
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.uri import Uri
from tests import peers
from tests.app.phones import SDP
from tests.interop.gateway import PASSWORDS, Gateway, config_on_free_ports, gateway_with
from tests.net.peers import Application, Recorder
from tests.web.browser import ALLOWED, chromium

pytestmark = [
    *(pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")),
    pytest.mark.usefixtures("chromiums"),
]

SCRIPT = '<img src=x onerror="window.hit=1"><script>window.hit=2</script>'
TURNED = "\u202egnp\u202c"
USERS = [
    {"id": "alice", "display_name": "Alice", "web": True, "role": "operator"},
    {"id": "bob", "display_name": SCRIPT, "web": True},
    {"id": "1001", "sip": True},
    {"id": "1002", "sip": True},
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """Guests are let in; one user's name is a script."""
    folder = tmp_path_factory.mktemp("script")
    changes = {"USERS": json.dumps(USERS), "WEB__GUESTS": "on", "WEB__GUESTS_MAY_CALL": '["alice"]'}
    async with gateway_with(config_on_free_ports(folder, **changes), folder / "gateway.log") as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def page(gateway: Gateway) -> AsyncIterator[Page]:
    """A page that nobody has signed in to; at its end no script of strangers has run, or tried to."""
    peers.chromium()
    async with chromium(ALLOWED) as browser:
        opened = await browser.new_page()
        violations: list[str] = []
        opened.on("console", lambda line: violations.append(line.text) if "Content Security" in line.text else None)
        yield opened
        assert await opened.evaluate("window.hit") is None
        assert await opened.locator("img[src=x], script:not([src])").count() == 0
        assert violations == []


async def as_text(page: Page, place: str, text: str = SCRIPT) -> None:
    """The text stands in that place as it was written."""
    await expect(page.locator(place).filter(has_text=text).first).to_be_visible()


def called(gateway: Gateway, agent: UserAgent, number: str, name: str, user: str = "1002") -> Recorder:
    """A call of a user under that name."""
    app = gateway.app
    session = agent.invite(
        f"sip:{number}@{app.sip_hostport}",
        received=f"udp:{app.sip_hostport}",
        caller=NameAddr(Uri.parse(f"sip:{user}@{app.config.domain}"), name),
        body=SDP.format(port=40000).encode(),
        headers=(("Subject", SCRIPT), ("Organization", SCRIPT)),
        credentials=Credentials(user, PASSWORDS[user]),
    )
    return Recorder(session)


async def test_names_messages_and_notes_of_others_are_text(gateway: Gateway, page: Page) -> None:
    """A caller's name, a text, a contact's name and note, a guest's name: on the page of whom they are for."""
    app = gateway.app
    agent = UserAgent(UserAgentConfig(listen=(("127.0.0.1", 0),)), Application())
    await agent.start()
    await page.goto(app.signed_in_url("alice"))
    await page.wait_for_selector("body[data-view=idle]")
    caller = called(gateway, agent, "alice", SCRIPT + TURNED)
    await as_text(page, "#party", SCRIPT + "gnp")
    caller.session.hangup()
    await as_text(page, "#recent", SCRIPT)
    bob = await gateway.browser("bob")
    await bob.ask("presence.set", status="busy", note=SCRIPT)
    await as_text(page, "#contacts")
    await bob.ask("message.send", to_peer_id="alice", text=SCRIPT + TURNED + "\x1b[31m")
    await page.locator("#contacts [data-act=write]").first.click()
    await as_text(page, "#conversation-log p", SCRIPT + "gnp[31m")
    await agent.close()


async def test_calls_and_messages_of_others_are_text_to_operators(gateway: Gateway, page: Page) -> None:
    """Users, what was dialled, and every header of a call, hidden characters escaped."""
    agent = UserAgent(UserAgentConfig(listen=(("127.0.0.1", 0),)), Application())
    await agent.start()
    await page.goto(f"{gateway.web}/admin")
    await page.fill("#user", "alice")
    await page.fill("#password", PASSWORDS["alice"])
    await page.press("#password", "Enter")
    await as_text(page, "#users")
    caller = called(gateway, agent, "600", SCRIPT + "\u202egnp")
    await caller.wait(Answered)
    await page.click("#calls [data-of]")
    await page.locator("#ladder button", has_text="INVITE").first.click()
    await as_text(page, "#texts", f"Subject: {SCRIPT}")
    await as_text(page, "#texts", "\\u202egnp")
    caller.session.hangup()
    await agent.close()


async def test_what_strangers_ask_for_is_no_page(gateway: Gateway) -> None:
    """Errors repeat nothing that a browser would take for a page; each answer says what it is."""
    async with httpx.AsyncClient(base_url=gateway.web) as http:
        for path in (f"/{SCRIPT}", f"/api/users/{SCRIPT}", f"/webrtc/rooms/{SCRIPT}/peers", f"/iceservers?x={SCRIPT}"):
            answer = await http.get(path)
            assert "<img" not in answer.text or answer.headers["Content-Type"].startswith("application/json")
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
