"""A call for a user whose page is closed, on the whole gateway with a push service on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.interop.gateway import BROWSER_HZ, PASSWORDS, Gateway, config_on_free_ports, gateway_with
from tests.web.push_support import PushBrowser, PushService, push_service

OTHER_HZ = 880


@pytest.fixture
def service() -> Iterator[PushService]:
    """A push service."""
    with push_service() as running:
        yield running


@asynccontextmanager
async def sleeping(service: PushService, folder: Path, **changes: str) -> AsyncIterator[tuple[Gateway, PushBrowser]]:
    """A gateway, and alice's browser: subscribed, its page closed."""
    config = config_on_free_ports(folder, WEB__PUSH_SERVICES=json.dumps([service.origin]), **changes)
    browser = PushBrowser()
    given = browser.subscription(service.origin + "/alice")
    body = {"endpoint": given.endpoint, "keys": {"p256dh": given.p256dh, "auth": given.auth}}
    async with gateway_with(config, folder / "gateway.log") as gateway, httpx.AsyncClient() as http:
        headers = {"Authorization": f"Bearer alice:{PASSWORDS['alice']}"}
        (await http.post(f"{gateway.web}/api/push", json=body, headers=headers)).raise_for_status()
        yield gateway, browser


async def _told(service: PushService, browser: PushBrowser) -> Any:
    _, _, body = await asyncio.to_thread(service.next)
    return browser.read(body)


async def test_the_page_that_a_call_has_woken_rings_and_takes_it(service: PushService, tmp_path: Path) -> None:
    """The caller waits meanwhile, then both hear each other; the notice of the call is replaced once."""
    async with sleeping(service, tmp_path) as (gateway, asleep):
        bob = await gateway.browser("bob", OTHER_HZ)
        await bob.dial("alice")
        assert await _told(service, asleep) == {"type": "call", "from": "Bob"}
        alice = await gateway.browser("alice")
        await alice.status("ringing")
        await alice.accept()
        await bob.status("talking")
        await alice.tone(OTHER_HZ)
        await bob.tone(BROWSER_HZ)
        await bob.hang_up()
        await gateway.idle()
        assert await _told(service, asleep) == {"type": "elsewhere", "from": "Bob"}
        assert service.requests.empty()


async def test_a_call_that_no_page_comes_for_ends_and_is_told_as_missed(service: PushService, tmp_path: Path) -> None:
    """After web.push_wait, not after the phones' ring_timeout."""
    async with sleeping(service, tmp_path, WEB__PUSH_WAIT="0.5") as (gateway, asleep):
        bob = await gateway.browser("bob")
        assert await bob.refused("alice") == "unavailable"
        assert (await _told(service, asleep))["type"] == "call"
        assert await _told(service, asleep) == {"type": "missed", "from": "Bob"}


@pytest.mark.wall
async def test_a_caller_who_gives_up_is_told_as_missed(service: PushService, tmp_path: Path) -> None:
    """The notice of the call is replaced."""
    async with sleeping(service, tmp_path) as (gateway, asleep):
        bob = await gateway.browser("bob")
        await bob.dial("alice")
        assert (await _told(service, asleep))["type"] == "call"
        await bob.hang_up()
        assert (await _told(service, asleep))["type"] == "missed"


async def test_nobody_is_woken_where_the_configuration_says_so(service: PushService, tmp_path: Path) -> None:
    """web.push_wait: 0."""
    async with sleeping(service, tmp_path, WEB__PUSH_WAIT="0") as (gateway, _):
        bob = await gateway.browser("bob")
        assert await bob.refused("alice") == "alice is not reachable at the moment"
        assert service.requests.empty()
