"""The page's contacts against a gateway that limits requests."""

from __future__ import annotations

import json

import pytest

from gateway.web.settings import WebSettings
from tests.web.browser import stage

pytestmark = pytest.mark.browser


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
