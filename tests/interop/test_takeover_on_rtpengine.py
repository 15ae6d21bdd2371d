"""A gateway vanishes whose calls a shared rtpengine carries: another one goes on with them, and no packet is missed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from bench.rtpengine import Daemon
from gateway.client import Call, GatewayClient
from gateway.demo.aiortc_browser import RATE, Mono, ToneTrack
from gateway.demo.phone import DeskPhone
from gateway.demo.tones import Listener
from gateway.media.rtpengine.client import ClientConfig, NgHost
from tests.interop.gateway import BROWSER_HZ, NEAR, PASSWORDS, PHONE_HZ, RpcBrowser
from tests.interop.house import OTHER_HZ, hear_each_other, talk
from tests.interop.site import TAKEN, Site, dialled, over, recorded, two_of_one_journal
from tests.media.plane_rig import until
from tests.media.rtpengine_support import rtpengine

pytestmark = [pytest.mark.wall, pytest.mark.serial, pytest.mark.timeout(120)]


def carried_by(daemon: Daemon) -> dict[str, str]:
    return {"MEDIA__ENGINE": "rtpengine:{}:{}".format(*daemon.address)}


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with rtpengine() as made:
        yield made


@pytest.fixture
async def site(tmp_path: Path, daemon: Daemon) -> AsyncIterator[Site]:
    """Two gateways of one rtpengine."""
    async with two_of_one_journal(tmp_path, carried_by(daemon), carried_by(daemon)) as made:
        yield made


async def calls_at(daemon: Daemon) -> list[str]:
    """What it has."""
    with contextlib.closing(NgHost(daemon.address, ClientConfig(), time.monotonic, os.urandom)) as host:
        await host.open()
        found = (await host.ask({"command": "list", "limit": 1000}))["calls"]
        assert isinstance(found, list)
        return sorted(str(name) for name in found)


async def has_none(daemon: Daemon) -> None:
    """Wait until it has no call."""
    async with asyncio.timeout(10):
        while await calls_at(daemon):  # noqa: ASYNC110  # the daemon tells of nothing
            await asyncio.sleep(0.05)


async def three_phones_and_a_page(site: Site) -> tuple[DeskPhone, DeskPhone, DeskPhone, RpcBrowser]:
    """The first two talk, and the third with the page, at the first gateway."""
    one, other, third = await site.phones(("1001", PHONE_HZ), ("1002", OTHER_HZ), ("1003", PHONE_HZ))
    await dialled(one, other)
    browser = await site.stack.enter_async_context(site.first.browser())
    await browser.dial("1003")
    await third.expect("state", state="answered")
    await asyncio.gather(talk(one, other), hear_each_other(browser, third))
    return one, other, third, browser


async def test_calls_on_a_shared_rtpengine_go_on_at_another_gateway(site: Site, daemon: Daemon) -> None:
    """One between phones and one of a page can be held and ended there; whose they were comes back twice meanwhile."""
    first, second = site.first, site.second
    one, other, third, browser = await three_phones_and_a_page(site)
    there = await calls_at(daemon)
    assert len(there) == 2
    await first.kill()
    await talk(one, other)
    assert (await second.take_back(browser))["state"] == "answered"
    await second.logged(TAKEN)
    await asyncio.gather(talk(one, other), hear_each_other(browser, third))
    for _ in range(2):
        await first.start()
        await first.logged("calls of the gateway before at rtpengine")
        assert await calls_at(daemon) == there
        await first.kill()
    for phone in (one, third):
        phone.hold()
    await browser.notified("call_held", held=True)
    for phone in (one, third):
        phone.unhold()
    await browser.notified("call_held", held=False)
    await asyncio.gather(talk(one, other), hear_each_other(browser, third))
    one.hangup()
    await browser.hang_up()
    await asyncio.gather(over(one), over(other), over(third))
    await has_none(daemon)
    await until(lambda: recorded(second) == ["normal"] * 2)
    assert recorded(first) == []


async def hears(call: Call, hz: float) -> None:
    """Wait until the program hears that tone."""
    ear, mono = Listener(RATE), Mono()
    async for frame in call.frames():
        for samples in mono.of(frame):
            ear.hear(samples, 0.0)
        if abs((ear.tone() or 0.0) - hz) <= NEAR:
            return
    pytest.fail("the sound has ended")


async def test_a_session_of_the_http_api_goes_on_at_who_takes_it_over(site: Site, daemon: Daemon) -> None:
    """Its program hears and is heard, asks the other gateway for its state, and ends it there."""
    first, second = site.first, site.second
    [phone] = await site.phones(("1003", PHONE_HZ))
    urls = [f"http://{house.environ['GATEWAY_WEB__LISTEN']}" for house in (first, second)]
    async with httpx.AsyncClient(base_url=urls[0], trust_env=False) as http:
        client = GatewayClient("", user="alice", password=PASSWORDS["alice"], http=http)
        call = await client.call("1003", audio=ToneTrack(BROWSER_HZ))
        await phone.expect("state", state="answered")

        async def talk_by_http() -> None:
            await asyncio.gather(phone.listen(), asyncio.wait_for(hears(call, PHONE_HZ), 30))
            assert abs(float((await phone.expect("tone")).details["hz"]) - BROWSER_HZ) <= NEAR

        await talk_by_http()
        there = await calls_at(daemon)
        await first.kill()
        http.base_url = httpx.URL(urls[1])
        await second.logged(TAKEN)
        await talk_by_http()
        assert await calls_at(daemon) == there
        await call.look()
        assert call.state == "answered"
        assert [one.session_id for one in await client.sessions()] == [call.session_id]
        phone.hold()
        await phone.expect("held")
        phone.unhold()
        await phone.expect("media")
        await talk_by_http()
        await call.hang_up()
        await over(phone)
        await has_none(daemon)
        await until(lambda: recorded(second) == ["normal"])
        await client.close()


async def test_calls_taken_over_on_rtpengine_are_changed_and_passed_on_by_both_sides(
    site: Site, daemon: Daemon
) -> None:
    """A hold and a re-INVITE of each, and a transfer, after which who passed it on is out of it."""
    first, second = site.first, site.second
    one, other = await site.phones(("1001", PHONE_HZ), ("1002", OTHER_HZ))
    third = await second.phone("1003", OTHER_HZ)
    await dialled(one, other)
    await talk(one, other)
    await first.kill()
    await second.logged(TAKEN)
    for phone in (one, other):
        phone.hold()
        await phone.expect("held")
        phone.unhold()
        await phone.expect("media")
        await talk(one, other)
    other.transfer("sip:1003@gateway.example")
    await third.expect("state", state="answered")
    await over(other)
    await talk(one, third)
    third.hangup()
    await asyncio.gather(over(one), over(third))
    await has_none(daemon)
    await until(lambda: recorded(second) == ["normal"])


async def test_phones_with_keys_of_their_own_talk_on_and_hold_each_other(
    tmp_path: Path, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No record has a key: what they said with one is said anew by them."""
    monkeypatch.setenv("PHONE_SRTP", "2")
    settings = carried_by(daemon) | {"RTP__SRTP": "required"}
    async with two_of_one_journal(tmp_path, settings, settings) as site:
        one, other = await site.phones(("1001", PHONE_HZ), ("1002", OTHER_HZ))
        await dialled(one, other)
        await talk(one, other)
        await site.first.kill()
        await site.second.logged(TAKEN)
        await talk(one, other)
        for phone in (one, other):
            phone.hold()
            await phone.expect("held")
            phone.unhold()
            await phone.expect("media")
            await talk(one, other)
        one.hangup()
        await asyncio.gather(over(one), over(other))
        await has_none(daemon)


async def test_who_has_hung_up_meanwhile_ends_the_call_at_who_takes_it(tmp_path: Path, daemon: Daemon) -> None:
    """Its BYE has gone nowhere, and pjsip takes the UPDATE all the same: nothing comes from it any more."""
    settings = carried_by(daemon) | {"RTP__MEDIA_TIMEOUT": "5"}
    async with two_of_one_journal(tmp_path, settings, settings) as site:
        one, other = await site.phones(("1001", PHONE_HZ), ("1002", OTHER_HZ))
        await dialled(one, other)
        await talk(one, other)
        await site.first.kill()
        one.hangup()
        await over(one)
        await site.second.logged(TAKEN)
        await other.expect("state", 30, state="ended")
        await has_none(daemon)
        await until(lambda: recorded(site.second) == ["media-timeout"])


async def test_a_call_that_is_recorded_is_recorded_anew_by_who_takes_it_over(tmp_path: Path) -> None:
    """By its rule, into another file; that of before ends."""
    (spool := tmp_path / "spool").mkdir()
    with rtpengine(f"--recording-dir={spool}") as daemon:
        records = {"RECORDING__BEEP": "false", "RECORDING__CALLS": '["1002"]', "MEDIA__RTPENGINE_RECORDS": "true"}
        settings = carried_by(daemon) | records
        async with two_of_one_journal(tmp_path, settings, settings) as site:
            one, other = await site.phones(("1001", PHONE_HZ), ("1002", OTHER_HZ))
            await dialled(one, other)
            await talk(one, other)
            await until(lambda: len(list(spool.glob("pcaps/*"))) == 1)
            [before] = spool.glob("pcaps/*")
            await site.first.kill()
            await site.second.logged(TAKEN)
            await until(lambda: len(list(spool.glob("pcaps/*"))) == 2)
            size = before.stat().st_size
            await talk(one, other)
            assert before.stat().st_size == size
            one.hangup()
            await asyncio.gather(over(one), over(other))
            await has_none(daemon)


async def test_a_suspended_gateway_says_nothing_to_the_rtpengine_that_carries_calls_on(
    site: Site, daemon: Daemon
) -> None:
    """Its page has gone to the other one, and it neither blocks nor ends what is not its own any more."""
    first, second = site.first, site.second
    one, other, third, browser = await three_phones_and_a_page(site)
    there = await calls_at(daemon)
    async with first.suspended():
        assert (await second.take_back(browser))["state"] == "answered"
        await second.logged(TAKEN)
        await asyncio.gather(talk(one, other), hear_each_other(browser, third))
    await first.logged("another gateway has taken calls of this one over")
    await until(lambda: first.said("state=ended") == 2)
    assert await calls_at(daemon) == there
    await asyncio.gather(talk(one, other), hear_each_other(browser, third))
    await browser.hang_up()
    other.hangup()
    await asyncio.gather(over(one), over(other), over(third))
    await has_none(daemon)
    await until(lambda: recorded(second) == ["normal"] * 2)


async def test_calls_on_rtpengine_are_gone_on_with_though_who_took_them_died(site: Site, daemon: Daemon) -> None:
    """The store had moved them, and nothing more had come of it; when that one dies again, they come back."""
    first, second = site.first, site.second
    one, other = await site.phones(("1001", PHONE_HZ), ("1002", OTHER_HZ))
    await dialled(one, other)
    await talk(one, other)
    await second.kill()
    await first.kill()
    await site.take_those_of_the_first()
    await second.start()
    await second.logged(TAKEN)
    await talk(one, other)
    await second.kill()
    await first.start()
    await first.logged(TAKEN)
    await talk(one, other)
    other.hangup()
    await asyncio.gather(over(one), over(other))
    await has_none(daemon)
    await until(lambda: recorded(first) == ["normal"])


async def test_calls_of_an_rtpengine_that_who_takes_them_has_not_end_on_both_sides(
    tmp_path: Path, daemon: Daemon
) -> None:
    """Nobody is left alone, and the one that is back ends them at its rtpengine, too."""
    with rtpengine() as elsewhere:
        async with two_of_one_journal(tmp_path, carried_by(daemon), carried_by(elsewhere)) as site:
            one, other = await site.phones(("1001", PHONE_HZ), ("1002", OTHER_HZ))
            await dialled(one, other)
            await talk(one, other)
            await site.first.kill()
            await site.second.logged(TAKEN)
            await asyncio.gather(over(one), over(other))
            await until(lambda: recorded(site.second) == ["gateway-lost"])
            await site.first.start()
            await has_none(daemon)
