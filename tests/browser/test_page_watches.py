"""The page's contacts against a gateway that limits requests, and in two windows of one person."""

from __future__ import annotations

import json

import pytest
from playwright.async_api import expect

from gateway.people.messages import InstantMessage
from gateway.web.settings import WebSettings
from tests.web.browser import stage

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("chromiums")]


async def test_many_contacts_do_not_cost_the_connection() -> None:
    """They are asked for one after the other, below what the gateway bears."""
    names = json.dumps([f"10{number}" for number in range(40)])
    async with stage(settings=WebSettings(messages_per_second=20, message_burst=15)) as it:
        sockets: list[str] = []
        it.page.on("websocket", lambda socket: sockets.append(socket.url))
        await it.page.add_init_script(f"localStorage['softphone.contacts.alice'] = '{names}'")
        await it.log_in()
        await it.until("document.querySelectorAll('#contacts .line[data-presence=available]').length === 40")
        assert len(sockets) == 1


async def test_two_windows_of_one_person_keep_the_same() -> None:
    """Contacts and messages of both; what both are told is kept once."""
    async with stage() as it:
        await it.log_in()
        first, second = it.page, await it.page.context.new_page()
        await second.goto(f"{it.url}#user=alice&token=wonder")
        await second.wait_for_selector("body[data-view=idle]")
        for window, name in ((first, "1001"), (second, "1002")):
            await window.fill("#contact-name", name)
            await window.press("#contact-name", "Enter")
        for window in (first, second):
            for name in ("1001", "1002"):
                await expect(window.locator("#contacts .line", has_text=name)).to_be_visible()
        sender = "sip:bob@gateway.example"
        message = InstantMessage(id="m1", sender=sender, recipient="alice", body=b"Lunch?", sent_at=1, expires_at=2)
        for inbox in it.gateway.inboxes["alice"]:
            inbox.message(message)
        await second.click("#contacts .line:has-text('bob') [data-act=write]")
        await second.fill("#conversation-text", "Yes.")
        await second.press("#conversation-text", "Enter")
        await first.click("#contacts .line:has-text('bob') [data-act=write]")
        for window in (first, second):
            await expect(window.locator("#conversation-log li p")).to_have_text(["Lunch?", "Yes."])
            own = await window.evaluate("localStorage['softphone.contacts.alice']")
            assert json.loads(own) == ["1001", "1002"]
