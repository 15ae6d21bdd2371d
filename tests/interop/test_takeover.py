"""A gateway of a cluster vanishes in mid call: another one goes on with its calls, phones and pages hear each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.interop.gateway import PHONE_HZ
from tests.interop.house import OTHER_HZ, hear_each_other, talk
from tests.interop.site import TAKEN, Site, dialled, over, recorded, two_of_one_journal
from tests.media.plane_rig import until

pytestmark = [pytest.mark.wall, pytest.mark.serial, pytest.mark.timeout(120)]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with two_of_one_journal(tmp_path, {}, {}) as made:
        yield made


@pytest.mark.core
async def test_calls_of_a_gateway_that_is_gone_go_on_at_another(site: Site) -> None:
    """One between phones and one of a page; the gateway that comes back later leaves them alone."""
    first, second = site.first, site.second
    one, other, third = await site.phones(("1001", PHONE_HZ), ("1002", OTHER_HZ), ("1003", PHONE_HZ))
    await dialled(one, other)
    browser = await site.stack.enter_async_context(first.browser())
    await browser.dial("1003")
    await third.expect("state", state="answered")
    await asyncio.gather(talk(one, other), hear_each_other(browser, third))
    await first.kill()
    await first.kill_plane()
    taken = asyncio.create_task(second.take_back(browser))  # sooner than the call can be there
    # Three intervals, an OPTIONS that nobody answers, and the takeover: the page has waited for all of it.
    assert (await taken)["state"] == "answered"
    await second.logged(TAKEN)
    await asyncio.gather(talk(one, other), hear_each_other(browser, third))
    await first.start()
    await asyncio.gather(talk(one, other), hear_each_other(browser, third))
    one.hangup()
    await browser.hang_up()
    await asyncio.gather(over(one), over(other), over(third))
    assert TAKEN not in first.log.read_text(encoding="utf-8")
    await until(lambda: recorded(second) == ["normal"] * 2)
    assert recorded(first) == []


async def test_calls_of_a_gateway_that_drains_are_taken_only_once_it_is_killed(site: Site) -> None:
    """However long it drains it is seen to have them."""
    first, second = site.first, site.second
    one, other = await site.phones(("1001", PHONE_HZ), ("1002", OTHER_HZ))
    await dialled(one, other)
    await first.drain()
    await second.logged("another gateway drains")
    await asyncio.sleep(2)  # longer than a gateway stands that says nothing
    await talk(one, other)
    assert not second.said("another gateway is gone")
    await first.kill()
    await first.kill_plane()
    await second.logged(TAKEN)
    await talk(one, other)
    one.hangup()
    await asyncio.gather(over(one), over(other))
    await until(lambda: recorded(second) == ["normal"])


async def test_a_gateway_that_was_suspended_lets_go_of_what_was_taken(site: Site) -> None:
    """It says nothing to anybody, sends the page to the other gateway, and goes on with calls of its own."""
    first, second = site.first, site.second
    one, other, third = await site.phones(("1001", PHONE_HZ), ("1002", OTHER_HZ), ("1003", PHONE_HZ))
    await dialled(one, other)
    browser = await site.stack.enter_async_context(first.browser())
    await browser.dial("1003")
    await third.expect("state", state="answered")
    await asyncio.gather(talk(one, other), hear_each_other(browser, third))
    async with first.suspended():
        await second.logged(TAKEN)
        await talk(one, other)
    await first.logged("another gateway has taken calls of this one over")
    await until(lambda: not browser.is_connected)
    assert (await second.take_back(browser))["state"] == "answered"
    await asyncio.gather(talk(one, other), hear_each_other(browser, third))
    said = first.log.read_text(encoding="utf-8")
    assert said.count("state=ended") == 2
    assert said.count("state=ended input=stop") == 2
    await browser.hang_up()
    await over(third)
    third.dial("sip:600@gateway.example")
    await third.expect("state", state="answered")
    third.hangup()
    await talk(one, other)
    one.hangup()
    await asyncio.gather(over(one), over(other))
    await until(lambda: recorded(second) == ["normal"] * 2)
    await until(lambda: recorded(first) == ["normal"])  # of the call to 600


async def test_calls_are_gone_on_with_though_who_took_them_died(site: Site) -> None:
    """The store had moved them, and nothing more had come of it."""
    first, second = site.first, site.second
    one, other = await site.phones(("1001", PHONE_HZ), ("1002", OTHER_HZ))
    await dialled(one, other)
    await second.kill()
    await first.kill()
    await first.kill_plane()
    await site.take_those_of_the_first()
    await second.start()
    await second.logged(TAKEN)
    await talk(one, other)
    await first.start()
    other.hangup()
    await asyncio.gather(over(one), over(other))
    await until(lambda: recorded(second) == ["normal"])
    assert recorded(first) == []
