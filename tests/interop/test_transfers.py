"""pjsua2 desk phones transfer calls through a whole gateway: blind and attended, to phones, pages and services."""

from __future__ import annotations

import asyncio

import pytest
import pytest_asyncio

from gateway.demo.phone import DeskPhone
from tests.interop.gateway import NEAR, PHONE_HZ, TONE_HZ, Gateway, RpcBrowser, hear_each_other

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]

SECOND_HZ = 1000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def phone(gateway: Gateway) -> DeskPhone:
    """Desk phone 1001, registered; it transfers."""
    return await gateway.phone("1001", SECOND_HZ)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def second(gateway: Gateway) -> DeskPhone:
    """Desk phone 1002, registered; it is transferred."""
    return await gateway.phone("1002", PHONE_HZ)


async def talking(gateway: Gateway, phone: DeskPhone, second: DeskPhone) -> None:
    """1001 has called 1002, and each hears the other."""
    phone.dial(gateway.uri("1002"))
    await second.expect("tone")
    await phone.expect("tone")


async def on_hold(gateway: Gateway) -> None:
    """One side holds the other."""
    async with asyncio.timeout(30):
        # A phone that is held says nothing of it.
        while not any(call.bridge is not None and call.bridge.holding for call in gateway.app.calls):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def hears(phone: DeskPhone, hz: float) -> None:
    """That tone reaches the phone, after what was still on its way."""
    async with asyncio.timeout(8):
        while True:
            await phone.listen()
            if float((await phone.expect("tone")).details["hz"]) == pytest.approx(hz, abs=NEAR):
                return


@pytest.mark.parametrize("held", [False, True])
async def test_a_phone_passes_its_call_on_to_a_service(
    gateway: Gateway, phone: DeskPhone, second: DeskPhone, held: bool
) -> None:
    """Blind: who is passed on hears the tone, whether it was on hold or not; who passed on hears 200 and is free."""
    await talking(gateway, phone, second)
    if held:
        phone.hold()
        await on_hold(gateway)
    phone.transfer(gateway.uri("601"))
    await phone.expect("transfer", code=200, final=True)
    await phone.expect("state", state="ended")
    await hears(second, TONE_HZ)
    second.hangup()
    await second.expect("state", state="ended")
    await gateway.idle()


async def test_a_digit_on_its_way_leaves_nobody_silent_after_a_transfer(
    gateway: Gateway, phone: DeskPhone, second: DeskPhone
) -> None:
    """It comes as INFO and is played as an event to the phone that stays, when the other passes the call on."""
    await talking(gateway, phone, second)
    phone.digits("8", "info")
    await second.expect("digit")
    phone.transfer(gateway.uri("601"))
    await phone.expect("transfer", code=200, final=True)
    await phone.expect("state", state="ended")
    await hears(second, TONE_HZ)
    second.hangup()
    await second.expect("state", state="ended")
    await gateway.idle()


async def test_a_phone_passes_its_call_on_to_a_page(
    gateway: Gateway, phone: DeskPhone, second: DeskPhone, alice: RpcBrowser
) -> None:
    """The page rings, the phone is told so, and then the page and the other phone hear each other."""
    await talking(gateway, phone, second)
    phone.transfer(gateway.uri("alice"))
    await alice.status("ringing")
    await phone.expect("transfer", code=180)
    await alice.accept()
    await phone.expect("transfer", code=200, final=True)
    await phone.expect("state", state="ended")
    await hear_each_other(alice, second)
    await alice.hang_up()
    await second.expect("state", state="ended")
    await gateway.idle()


async def test_a_refused_transfer_leaves_the_call(
    gateway: Gateway, phone: DeskPhone, second: DeskPhone, alice: RpcBrowser
) -> None:
    """The phone hears 603, and the two talk on."""
    await talking(gateway, phone, second)
    phone.transfer(gateway.uri("alice"))
    await alice.status("ringing")
    await alice.decline()
    await phone.expect("transfer", code=603, final=True)
    await hears(second, SECOND_HZ)
    phone.transfer(gateway.uri("4711"))
    await phone.expect("transfer", code=404, final=True)
    await hears(phone, PHONE_HZ)
    phone.hangup()
    await second.expect("state", state="ended")
    await gateway.idle()


async def test_a_phone_connects_the_two_it_talks_with(
    gateway: Gateway, phone: DeskPhone, second: DeskPhone, alice: RpcBrowser
) -> None:
    """Attended: 1001 holds 1002, calls Alice, and leaves the two to each other."""
    await talking(gateway, phone, second)
    phone.consult(gateway.uri("alice"))
    await alice.status("ringing")
    await alice.accept()
    await alice.status("talking")
    await phone.expect("state", state="answered")
    phone.connect()
    await phone.expect("transfer", code=200, final=True)
    # The other call ended before or after that.
    await phone.expect("state", state="ended")
    await hear_each_other(alice, second)
    assert len(gateway.app.calls) == 1
    second.hangup()
    await second.expect("state", state="ended")
    await alice.status("ready")
    await gateway.idle()


async def test_a_transfer_that_crosses_a_hang_up_leaves_nothing(
    gateway: Gateway, phone: DeskPhone, second: DeskPhone, alice: RpcBrowser
) -> None:
    """Who was to be passed on has gone: the page that rang for it stops, and the call is over for all."""
    await talking(gateway, phone, second)
    phone.transfer(gateway.uri("alice"))
    second.hangup()
    await second.expect("state", state="ended")
    await phone.expect("state", state="ended")
    await gateway.idle()
    await alice.status("ready")
