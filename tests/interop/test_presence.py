"""Presence, lamps and waiting messages at pjsua2, baresip and sipp, of pages and phones of a whole gateway."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.demo.phone import DeskPhone
from tests.interop.baresip import Baresip, baresip
from tests.interop.gateway import PASSWORDS, Gateway, RpcBrowser, config_on_free_ports, gateway_with
from tests.interop.sipp import Sipp

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """A gateway that tells changes at once, and keeps messages."""
    folder = tmp_path_factory.mktemp("gateway")
    groups = {f"USERS__{user}__PICKUP_GROUPS": "desk" for user in ("ALICE", "1002")}
    config = config_on_free_ports(folder, MESSAGES__STORE="memory", PRESENCE__NOTIFY_INTERVAL="0", **groups)
    async with gateway_with(config, folder / "gateway.log") as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def phone(gateway: Gateway) -> DeskPhone:
    return await gateway.phone("1001")


async def test_a_phone_sees_a_page_come_talk_and_go(gateway: Gateway, phone: DeskPhone) -> None:
    """Offline, there, on the phone, there, offline: each as it happens."""
    alice = gateway.uri("alice")
    phone.watch(alice)
    await phone.expect("presence", uri=alice, state="ACTIVE", online=False)
    async with RpcBrowser() as page:
        await page.open(gateway.app.signed_in_url("alice"))
        await phone.expect("presence", uri=alice, online=True, note="")
        await page.dial("600")
        await page.status("talking")
        await phone.expect("presence", uri=alice, online=True, note="On the phone")
        await page.hang_up()
        await phone.expect("presence", uri=alice, online=True, note="")
    await phone.expect("presence", uri=alice, online=False)
    phone.watch(alice, False)
    await phone.expect("presence", uri=alice, state="TERMINATED")


async def test_a_phone_sees_a_phone_come_and_go(gateway: Gateway, phone: DeskPhone) -> None:
    """By its registration."""
    other = gateway.uri("1002")
    phone.watch(other)
    await phone.expect("presence", uri=other, state="ACTIVE", online=False)
    second = await gateway.phone("1002")
    await phone.expect("presence", uri=other, online=True)
    second.unregister()
    await phone.expect("presence", uri=other, online=False)
    await second.close()
    phone.watch(other, False)


async def test_nobody_is_not_there_to_be_watched(gateway: Gateway, phone: DeskPhone) -> None:
    """404, and the subscription is over."""
    nobody = gateway.uri("nobody")
    phone.watch(nobody)
    await phone.expect("presence", uri=nobody, state="TERMINATED")


async def test_a_lamp_for_waiting_messages(gateway: Gateway, phone: DeskPhone) -> None:
    """message-summary: what is kept for its user, until the phone has it."""
    absent = await gateway.spare_phone()
    host, port = gateway.sip
    phone.write(gateway.uri("1002"), "are you there?")
    assert (await phone.expect("message_status")).details["code"] == 202
    await absent.register("1002", PASSWORDS["1002"], gateway.config.domain, f"{host}:{port}", mailbox=True)
    told = (await absent.expect("mailbox")).details["message"]
    assert re.search(r"^Messages-Waiting: (yes|no)\r?$", told, re.MULTILINE)
    assert "Voice-Message: 0/0 (0/0)" in told
    while "Messages-Waiting: yes" in told:
        told = (await absent.expect("mailbox")).details["message"]
    await absent.close()


async def test_sipp_has_a_lamp(gateway: Gateway) -> None:
    """Subscribes to a user's calls with digest, is told, and ends it."""
    account = ("-s", "alice", "-au", "1002", "-ap", PASSWORDS["1002"], "-auth_uri", f"alice@{gateway.config.domain}")
    async with Sipp.uac("gateway_subscribe", gateway.sip, *account) as lamp:
        await lamp.finish()


async def test_a_page_sees_phones_and_is_seen_as_it_says(gateway: Gateway, phone: DeskPhone) -> None:
    """What a user says on the page reaches the phone; what happens to the phone reaches the page."""
    alice = gateway.uri("alice")
    phone.watch(alice)
    async with RpcBrowser() as page:
        await page.open(gateway.app.signed_in_url("alice"))
        assert (await page.ask("presence.watch", peer_id="1001"))["status"] == "available"
        await page.ask("presence.set", status="busy", note="not now")
        await phone.expect("presence", uri=alice, online=True, note="not now")
        phone.dial(gateway.uri("600"))
        await page.notified("presence", status="on-the-phone")
        await phone.expect("state", state="answered")
        phone.hangup()
        await phone.expect("state", state="ended")
        await page.notified("presence", status="available")
        phone.appear("away", "gone fishing")
        told = await page.notified("presence", note="gone fishing")
        assert told == {"peer_id": "1001", "status": "away", "note": "gone fishing"}
    phone.watch(alice, False)


async def test_sipp_picks_up_what_rings_at_a_page(gateway: Gateway, phone: DeskPhone) -> None:
    """Its lamp says which call of its group it is; the page stops ringing, and who called hears the phone."""
    async with RpcBrowser() as page:
        await page.open(gateway.app.signed_in_url("alice"))
        phone.codecs("PCMU")  # else it offers again what it chose, which sipp does not expect
        phone.dial(gateway.uri("alice"))
        await page.status("ringing")
        account = ("-au", "1002", "-ap", PASSWORDS["1002"], "-auth_uri", f"alice@{gateway.config.domain}")
        async with Sipp.uac("gateway_pickup", gateway.sip, "-s", "alice", *account) as taker:
            await phone.expect("state", state="answered")
            await page.status("ready")
            phone.hangup()
            await taker.finish()
    await gateway.idle()


async def test_baresip_sees_a_page_and_they_write_to_each_other(gateway: Gateway, tmp_path: Path) -> None:
    """A phone without a line of code in common with pjsua2: its contact list, and messages both ways."""
    account = ("1002", PASSWORDS["1002"], gateway.sip, gateway.config.domain)
    alice = gateway.uri("alice")
    async with baresip(tmp_path, *account, codec="PCMU", source="ausine,660", contact=alice) as phone:
        await phone.expect("REGISTER_OK")
        await shows(phone, "Offline")
        async with RpcBrowser() as page:
            await page.open(gateway.app.signed_in_url("alice"))
            await shows(phone, "Online")
            phone.command("message", "hello from baresip")
            message = await page.notified("message", text="hello from baresip")
            assert message["from_peer_id"] == gateway.uri("1002")
            sent = await page.ask("message.send", to_peer_id=message["from_peer_id"], text="hello baresip")
            assert sent["outcome"] == "delivered"
        await shows(phone, "Offline")


async def shows(phone: Baresip, status: str) -> None:
    """Wait until baresip's list of contacts shows that; it has no event for it."""
    async with asyncio.timeout(30):
        while True:
            if status in await phone.ask("contacts"):
                return
            await asyncio.sleep(0.05)
