"""What crosses a drain: set-ups, transfers, reloads, pages that come back, a store that goes away, a kill."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway.demo.chromium import BrowserError
from gateway.demo.phone import DeskPhone
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.uri import Uri
from tests.app.phones import SDP
from tests.app.ws_phone import UdpPhone
from tests.call.rig import OFFER
from tests.chaos.places import Redis
from tests.interop.gateway import NEAR, PASSWORDS, PHONE_HZ, TONE_HZ
from tests.interop.house import OTHER_HZ, House, hear_each_other, house, talk, two_phones
from tests.interop.stranger import stranger

ROUTES = json.dumps([{"match": "601", "to": "service:tone"}])
KEY = "the-key-of-the-cluster-in-these-tests"
SOON = 5.0
"""Seconds after its last call in which a gateway is to have ended, beside other work."""

pytestmark = [pytest.mark.wall, pytest.mark.serial, pytest.mark.timeout(120)]


async def over(gateway: House, one: DeskPhone, *others: DeskPhone) -> None:
    """The last hang-up ends the gateway, with status 0."""
    one.hangup()
    began = time.monotonic()
    await asyncio.gather(*(phone.expect("state", state="ended") for phone in (one, *others)))
    assert await gateway.ended() == 0
    assert time.monotonic() - began < SOON


async def refused(gateway: House) -> None:
    """A new call is answered 503."""
    async with stranger() as socket:
        phone = UdpPhone(socket, ("127.0.0.1", gateway.sip), "1003", "gateway.example", PASSWORDS["1003"])
        contact = NameAddr.parse(f"<sip:1003@{socket.place[0]}:{socket.place[1]}>")
        called = Uri.of("601", "gateway.example")
        answer = await phone.ask("INVITE", called, called, contact, SDP.format(port=40000).encode())
        assert answer.status == 503
        assert int(answer.headers.get("Retry-After") or 0) > 0


async def test_a_call_that_rings_as_the_drain_begins_can_be_answered(tmp_path: Path) -> None:
    """It was let in; whoever calls then is told 503, and the gateway ends with that one."""
    async with house(tmp_path, ROUTES=ROUTES) as gateway:
        one, other = await gateway.phone("1001", PHONE_HZ), await gateway.phone("1002", OTHER_HZ)
        other.on_incoming(180)
        one.dial("sip:1002@gateway.example")
        await one.expect("state", state="ringing")
        await gateway.drain()
        await refused(gateway)
        other.answer()
        for phone in (one, other):
            await phone.expect("state", state="answered")
        await talk(one, other)
        await over(gateway, one, other)


async def test_a_call_is_passed_on_held_and_reloaded_over_while_the_gateway_drains(tmp_path: Path) -> None:
    """REFER and re-INVITE are of a call that is up; SIGHUP changes what it may, and begins nothing anew."""
    async with house(tmp_path, ROUTES=ROUTES) as gateway:
        one, other = await two_phones(gateway)
        await gateway.drain()
        gateway.signal(signal.SIGHUP)
        await gateway.logged("configuration reloaded")
        for number, phone in enumerate((other, one)):
            phone.hold()
            await gateway.logged("input=offer-answered", 2 * number + 1)
            phone.unhold()
            await gateway.logged("input=offer-answered", 2 * number + 2)
        await talk(one, other)
        assert (await gateway.health())["status"] == "draining"
        one.transfer("sip:601@gateway.example")
        await one.expect("transfer", code=200, final=True)
        await one.expect("state", state="ended")
        async with asyncio.timeout(8):
            while True:
                await other.listen()
                if abs(float((await other.expect("tone")).details["hz"]) - TONE_HZ) <= NEAR:
                    break
        await refused(gateway)
        await over(gateway, other)


async def test_who_talks_is_passed_on_to_others_while_the_gateway_drains(tmp_path: Path) -> None:
    """To whom was consulted before, and to whom nobody talks with yet; a consultation is a new call, and refused."""
    async with house(tmp_path, ROUTES=ROUTES) as gateway:
        one, other = await two_phones(gateway)
        third = await gateway.phone("1003", PHONE_HZ)
        one.consult("sip:1003@gateway.example")
        for phone in (one, third):
            await phone.expect("state", state="answered")
        await gateway.drain()
        one.connect()
        await one.expect("transfer", code=200, final=True)
        await one.expect("state", state="ended")
        await talk(third, other)
        await refused(gateway)
        other.transfer("sip:1001@gateway.example")
        await other.expect("transfer", code=200, final=True)
        await other.expect("state", state="ended")
        one.speak(OTHER_HZ)
        await talk(third, one)
        await over(gateway, third, one)


async def test_a_page_takes_its_call_back_from_a_gateway_that_drains(tmp_path: Path) -> None:
    """It signs in as ever, and is refused another call."""
    async with house(tmp_path, ROUTES=ROUTES) as gateway, gateway.browser() as browser:
        one = await gateway.phone("1001", PHONE_HZ)
        await browser.dial("1001")
        await one.expect("state", state="answered")
        await hear_each_other(browser, one)
        await gateway.drain()
        assert browser._socket is not None
        await browser._socket.close()
        await gateway.logged("input=leg-away")
        assert (await gateway.take_back(browser))["state"] == "answered"
        await gateway.logged("input=all-returned")
        with pytest.raises(BrowserError):
            await browser.ask("offer", to_peer_id="601", sdp=OFFER, type="offer")
        await hear_each_other(browser, one)
        await over(gateway, one)


async def test_a_page_passes_its_call_on_while_the_gateway_drains(tmp_path: Path) -> None:
    """To a phone that rings for it; the two talk, and the gateway ends with them."""
    async with house(tmp_path) as gateway, gateway.browser() as browser:
        one, other = await gateway.phone("1001", PHONE_HZ), await gateway.phone("1002", OTHER_HZ)
        await browser.dial("1001")
        await one.expect("state", state="answered")
        await hear_each_other(browser, one)
        await gateway.drain()
        [call] = {params["call_id"] for _, params in browser.told if params.get("call_id")}
        await browser.ask("call.transfer", call_id=call, to_peer_id="1002")
        await other.expect("state", state="answered")
        await talk(one, other)
        await over(gateway, one, other)


async def test_calls_of_a_gateway_that_is_killed_as_it_drains_go_on(tmp_path: Path) -> None:
    """At the next one, which takes new calls."""
    async with house(tmp_path, ROUTES=ROUTES) as gateway:
        one, other = await two_phones(gateway)
        await gateway.drain()
        await gateway.kill()
        await gateway.start()
        await talk(one, other)
        assert (await gateway.health())["status"] == "ok"
        third = await gateway.phone("1003", PHONE_HZ)
        third.dial("sip:601@gateway.example")
        await third.expect("state", state="answered")
        for phone in (one, third):
            phone.hangup()
            await phone.expect("state", state="ended")
        await other.expect("state", state="ended")


async def test_a_drain_outlives_its_redis(tmp_path: Path) -> None:
    """That is away as it begins, comes back and goes again: the call goes on, and the gateway ends with it."""
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(Redis(tmp_path))
        (tmp_path / "state").mkdir()
        gateway = House(tmp_path / "state", stack, IDENTITY__STORE=redis.url, CLUSTER__KEY=KEY, ROUTES=ROUTES)
        stack.push_async_callback(gateway.close)
        await gateway.start(CLUSTER__NODE=f"sip:127.0.0.1:{gateway.sip}", CLUSTER__JOURNAL=redis.url)
        one, other = await two_phones(gateway)
        with redis.away():
            await gateway.drain()
            await refused(gateway)
        await talk(one, other)
        with redis.away():
            await talk(one, other)
            await over(gateway, one, other)


async def test_a_gateway_ends_in_the_middle_of_a_reload(tmp_path: Path) -> None:
    """SIGHUP and SIGTERM at once, in either order: no complaint, and status 0; so with a call, when that has ended."""
    for first, second in ((signal.SIGHUP, signal.SIGTERM), (signal.SIGTERM, signal.SIGHUP)):
        folder = tmp_path / first.name
        folder.mkdir()
        async with house(folder, ROUTES=ROUTES) as gateway:
            for number in (first, second):
                gateway.signal(number)
            assert await gateway.ended() == 0
            assert not any(gateway.said(word) for word in ("Traceback", "error "))
