"""A gateway of a cluster vanishes in mid call: another one goes on with its calls, phones and pages hear each other."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway.demo.phone import DeskPhone
from tests.identity.conftest import redis_server
from tests.interop.gateway import PHONE_HZ
from tests.interop.house import OTHER_HZ, House, hear_each_other, talk
from tests.ports import free_ports

pytestmark = [pytest.mark.peer, pytest.mark.serial, pytest.mark.timeout(120)]

KEY = "the-key-of-the-cluster-in-these-tests"
TAKEN = "calls of another gateway were taken over"


async def over(phone: DeskPhone) -> None:
    """Wait for the end of its call."""
    await phone.expect("state", 10, state="ended")


async def gateway_of(stack: AsyncExitStack, folder: Path, redis: int) -> House:
    url = f"redis://127.0.0.1:{redis}/0"
    gateway = House(folder, stack, IDENTITY__STORE=url, CLUSTER__JOURNAL=url, CLUSTER__KEY=KEY)
    stack.push_async_callback(gateway.close)
    await gateway.start(CLUSTER__NODE=f"sip:127.0.0.1:{gateway.sip}", CLUSTER__INTERVAL="0.3")
    return gateway


async def test_calls_of_a_gateway_that_is_gone_go_on_at_another(tmp_path: Path) -> None:
    """One between phones and one of a page; the gateway that comes back later leaves them alone."""
    [port] = free_ports(1)
    async with AsyncExitStack() as stack:
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
        stack.enter_context(redis_server(port, tmp_path))
        first = await gateway_of(stack, tmp_path / "first", port)
        second = await gateway_of(stack, tmp_path / "second", port)
        phones = (("1001", PHONE_HZ), ("1002", OTHER_HZ), ("1003", PHONE_HZ))
        one, other, third = [await first.phone(user, hz) for user, hz in phones]
        one.dial("sip:1002@gateway.example")
        for phone in (one, other):
            await phone.expect("state", 8, state="answered")
        browser = await stack.enter_async_context(first.browser())
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
