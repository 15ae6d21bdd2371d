"""A gateway of a cluster vanishes in mid call: another one goes on with its calls, phones and pages hear each other."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.demo.phone import DeskPhone
from gateway.store.journal_redis import RedisJournal
from tests.identity.conftest import redis_server
from tests.interop.gateway import PHONE_HZ
from tests.interop.house import OTHER_HZ, House, hear_each_other, talk
from tests.media.plane_rig import until
from tests.ports import free_ports

pytestmark = [pytest.mark.peer, pytest.mark.serial, pytest.mark.slow, pytest.mark.timeout(120)]

KEY = "the-key-of-the-cluster-in-these-tests"
TAKEN = "calls of another gateway were taken over"


async def over(phone: DeskPhone) -> None:
    """Wait for the end of its call."""
    await phone.expect("state", state="ended")


@dataclass(slots=True)
class Site:
    """Two gateways of one Redis; phones and pages are at the first."""

    first: House
    second: House
    redis: str
    stack: AsyncExitStack

    async def phones(self, *users: tuple[str, int]) -> list[DeskPhone]:
        return [await self.first.phone(user, hz) for user, hz in users]

    def journal(self, key: bytes) -> RedisJournal:
        """As the second gateway has it."""
        return RedisJournal(self.redis, f"sip:127.0.0.1:{self.second.sip}", key, os.urandom)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    [port] = free_ports(1)
    async with AsyncExitStack() as stack:
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
        stack.enter_context(redis_server(port, tmp_path))
        first, second = [await gateway_of(stack, tmp_path / name, port) for name in ("first", "second")]
        yield Site(first, second, f"redis://127.0.0.1:{port}/0", stack)


async def gateway_of(stack: AsyncExitStack, folder: Path, redis: int) -> House:
    url = f"redis://127.0.0.1:{redis}/0"
    gateway = House(folder, stack, IDENTITY__STORE=url, CLUSTER__JOURNAL=url, CLUSTER__KEY=KEY, CDR__ENABLED="true")
    stack.push_async_callback(gateway.close)
    await gateway.start(CLUSTER__NODE=f"sip:127.0.0.1:{gateway.sip}", CLUSTER__INTERVAL="0.3")
    return gateway


def recorded(gateway: House) -> list[object]:
    """The causes of the records it has, and None of each that is open."""
    with contextlib.closing(sqlite3.connect(gateway.folder / "cdr.sqlite")) as ledger:
        ended = [json.loads(text)["cause"] for (text,) in ledger.execute("SELECT detail FROM calls")]
        return [*ended, *(None for _ in ledger.execute("SELECT id FROM talking"))]


async def dialled(one: DeskPhone, other: DeskPhone) -> None:
    """1001 calls 1002."""
    one.dial("sip:1002@gateway.example")
    for phone in (one, other):
        await phone.expect("state", state="answered")


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
    journal = site.journal(hmac.digest(KEY.encode(), b"gateway cluster: journal", "sha256"))
    await journal.open()
    try:
        async with asyncio.timeout(30):
            while not await journal.take(f"sip:127.0.0.1:{first.sip}"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    finally:
        await journal.close()
    await second.start()
    await second.logged(TAKEN)
    await talk(one, other)
    await first.start()
    other.hangup()
    await asyncio.gather(over(one), over(other))
    await until(lambda: recorded(second) == ["normal"])
    assert recorded(first) == []
