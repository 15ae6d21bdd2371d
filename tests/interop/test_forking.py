"""A user with a page and a phone: both ring, one has the call, whatever the other speaks."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway.demo.phone import DeskPhone
from tests.interop.gateway import NEAR, Gateway, RpcBrowser, config_on_free_ports, gateway_with, hear_each_other

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]

CALLER_HZ = 1000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """A gateway where alice has a page and a desk phone of her own."""
    folder = tmp_path_factory.mktemp("forking")
    config = config_on_free_ports(folder, USERS__ALICE__SIP="true")
    async with gateway_with(config, folder / "gateway.log") as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(home: Gateway) -> RpcBrowser:
    return await home.browser("alice")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def phone(home: Gateway) -> DeskPhone:
    return await home.phone("alice")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def caller(home: Gateway) -> DeskPhone:
    return await home.phone("1001", CALLER_HZ)


async def test_the_page_takes_the_call_and_the_phone_stops_ringing(
    home: Gateway, page: RpcBrowser, phone: DeskPhone, caller: DeskPhone
) -> None:
    """WebRTC and RTP are offered at once; the phone's INVITE is cancelled."""
    phone.on_incoming(0)
    caller.dial(home.uri("alice"))
    await phone.expect("incoming")
    await page.status("ringing")
    await page.accept()
    await caller.expect("state", state="answered")
    await phone.expect("state", state="ended")
    assert abs(await page.tone(CALLER_HZ) - CALLER_HZ) <= NEAR
    caller.hangup()
    await caller.expect("state", state="ended")
    await page.status("ready")
    await home.idle()


async def test_the_phone_takes_the_call_and_the_page_hears_where(
    home: Gateway, page: RpcBrowser, phone: DeskPhone, caller: DeskPhone
) -> None:
    """The page is told "elsewhere", and the phones hear each other."""
    phone.on_incoming(0)
    caller.dial(home.uri("alice"))
    await page.status("ringing")
    await phone.expect("incoming")
    phone.answer()
    await caller.expect("state", state="answered")
    await page.status("ready")
    assert page.last_cause == "elsewhere"
    await caller.listen()
    heard = float((await caller.expect("tone")).details["hz"])
    assert abs(heard - 784) <= NEAR
    caller.hangup()
    await phone.expect("state", state="ended")
    await home.idle()


async def test_declining_on_the_page_leaves_the_phone_to_answer(
    home: Gateway, page: RpcBrowser, phone: DeskPhone, caller: DeskPhone
) -> None:
    """The page speaks for the pages only; the desk phone may still be picked up."""
    phone.on_incoming(0)
    caller.dial(home.uri("alice"))
    await page.status("ringing")
    await phone.expect("incoming")
    await page.decline()
    await page.status("ready")
    phone.answer()
    await caller.expect("state", state="answered")
    caller.hangup()
    await phone.expect("state", state="ended")
    await home.idle()


async def test_another_browser_reaches_the_phone_while_the_page_rings(
    home: Gateway, page: RpcBrowser, phone: DeskPhone
) -> None:
    """A caller that was answered early is joined with whichever callee answers."""
    bob = await home.browser("bob")
    phone.on_incoming(0)
    await bob.dial("alice")
    await page.status("ringing")
    await phone.expect("incoming")
    phone.answer()
    await bob.status("talking")
    await hear_each_other(bob, phone)
    await bob.hang_up()
    await phone.expect("state", state="ended")
    await home.idle()
