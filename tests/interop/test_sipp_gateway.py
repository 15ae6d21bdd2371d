"""sipp, whose every message is written down in its scenario, calls the gateway and is called by it."""

from __future__ import annotations

import asyncio

import pytest

from tests.interop.gateway import TONE_HZ, Gateway, RpcBrowser
from tests.interop.sipp import Sipp
from tests.interop.sipp_phone import caller

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]


@pytest.mark.core
@pytest.mark.parametrize("number", ["600", "601"])
async def test_sipp_calls_a_service(gateway: Gateway, number: str) -> None:
    """Five calls in a row: challenged, answered, ended; none is left over."""
    async with caller(gateway, "gateway_call", number, "-r", "10", calls=5) as phone:
        await phone.finish()
    await gateway.idle()


@pytest.mark.core
async def test_sipp_calls_a_browser(gateway: Gateway, alice: RpcBrowser) -> None:
    """The page rings and accepts; sipp's BYE ends the call there."""
    async with caller(gateway, "gateway_call", "alice") as phone:
        await alice.status("ringing")
        await alice.accept()
        await phone.finish()
    await alice.status("ready")
    await gateway.idle()


async def test_sipp_is_told_that_a_browser_declined(gateway: Gateway, alice: RpcBrowser) -> None:
    """603."""
    async with caller(gateway, "gateway_declined", "alice") as phone:
        await alice.status("ringing")
        await alice.decline()
        await phone.finish()


@pytest.mark.parametrize(("number", "scenario"), [("4711", "gateway_not_found"), ("bob", "gateway_unavailable")])
async def test_sipp_is_told_who_cannot_be_reached(gateway: Gateway, number: str, scenario: str) -> None:
    """404 for nobody, 480 for a web user without a page."""
    async with caller(gateway, scenario, number) as phone:
        await phone.finish()


@pytest.mark.core
@pytest.mark.parametrize("scenario", ["uas_basic", "uas_slow"])
async def test_a_browser_calls_a_phone_that_sipp_plays(
    gateway: Gateway, alice: RpcBrowser, port: int, scenario: str
) -> None:
    """One that rings at once, one whose first response takes longer than our first retransmission."""
    async with Sipp.uas(scenario, port=port) as phone:
        await phone.bound()
        await alice.dial("1002")
        await alice.status("talking")
        await alice.hang_up()
        await phone.finish()
    await gateway.idle()


async def test_a_browser_calls_a_busy_phone(alice: RpcBrowser, port: int) -> None:
    """Its 486 is acknowledged, and the page is told that it is busy."""
    async with Sipp.uas("uas_busy", port=port) as phone:
        await phone.bound()
        assert await alice.refused("1002") == "busy"
        await phone.finish()


async def test_a_phone_that_hangs_up_ends_the_call_of_the_browser(alice: RpcBrowser, port: int) -> None:
    """sipp sends the BYE."""
    async with Sipp.uas("uas_hangup", port=port) as phone:
        await phone.bound()
        alice.told.clear()
        await alice.dial("1002")
        await alice.status("ready")
        assert ("call_state", "answered") in [(method, params.get("state")) for method, params in alice.told]
        await phone.finish()


@pytest.mark.parametrize("scenario", ["gateway_offerless", "gateway_timer"])
async def test_sipp_changes_its_call_in_the_ways_of_phones(gateway: Gateway, scenario: str) -> None:
    """Offers of ours, session timers that are too short or its own to refresh."""
    async with caller(gateway, scenario, "600", calls=3) as phone:
        await phone.finish()
    await gateway.idle()


async def test_sipp_gives_up_while_it_rings(gateway: Gateway, alice: RpcBrowser) -> None:
    """CANCEL is answered 200, the INVITE 487, and the page rings no more."""
    async with caller(gateway, "gateway_cancel", "alice") as phone:
        await phone.finish()
    await alice.status("ready")
    await gateway.idle()


async def test_sipp_transfers_its_call(gateway: Gateway, alice: RpcBrowser) -> None:
    """It hears by NOTIFY how it went and is hung up on; who stays hears the tone."""
    async with caller(gateway, "gateway_refer", "alice") as phone:
        await alice.status("ringing")
        await alice.accept()
        await phone.finish()
    await alice.tone(TONE_HZ)
    await alice.hang_up()
    await gateway.idle()


async def only_call(page: RpcBrowser) -> str:
    """The id of the one call of a page."""
    [call] = (await page.ask("call.list"))["calls"]
    return str(call["call_id"])


async def test_sipp_is_told_whom_it_talks_with_after_a_transfer(gateway: Gateway, alice: RpcBrowser, port: int) -> None:
    """By an UPDATE with another From, in which the dialog goes on (RFC 4916)."""
    bob = await gateway.browser("bob")
    async with Sipp.uas("uas_identified", port=port) as phone:
        await phone.bound()
        await alice.dial("1002")
        await alice.status("talking")
        transfer = asyncio.ensure_future(alice.ask("call.transfer", call_id=await only_call(alice), to_peer_id="bob"))
        await bob.status("ringing")
        await bob.accept()
        await transfer
        await phone.finish()
    await bob.status("ready")
    await gateway.idle()


async def test_a_page_is_told_whom_it_talks_with_after_a_transfer(
    gateway: Gateway, alice: RpcBrowser, port: int
) -> None:
    """The phone that was called in the place of the page that transfers, by its name."""
    bob = await gateway.browser("bob")
    async with Sipp.uas("uas_basic", port=port) as phone:
        await phone.bound()
        await bob.dial("alice")
        await alice.status("ringing")
        await alice.accept()
        await bob.status("talking")
        await alice.ask("call.transfer", call_id=await only_call(alice), to_peer_id="1002")
        told = await bob.notified("call_identified")
        assert (told["uri"], told["name"]) == (gateway.uri("1002"), "Second phone")
        await bob.hang_up()
        await phone.finish()
    await gateway.idle()
