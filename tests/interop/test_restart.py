"""What outlives a gateway, and what it says goodbye to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.call.state import State
from gateway.demo.phone import DeskPhone
from tests import peers
from tests.interop.gateway import PASSWORDS, PHONE_HZ, Gateway, config_on_free_ports, gateway_with, hear_each_other
from tests.interop.sipp_phone import caller

pytestmark = pytest.mark.wall


@contextlib.asynccontextmanager
async def lasting_phone() -> AsyncIterator[DeskPhone]:
    """A desk phone that lives longer than the gateways it meets."""
    peers.pjsua2()
    phone = await DeskPhone.start()
    phone.speak(PHONE_HZ)
    try:
        yield phone
    finally:
        await phone.close(patience=0.5)  # its registrar is gone, it would ask it in vain for long


async def register(phone: DeskPhone, gateway: Gateway) -> None:
    await phone.register("1001", PASSWORDS["1001"], gateway.config.domain, gateway.app.sip_hostport)


async def test_a_phone_that_unregistered_cannot_be_called(tmp_path: Path) -> None:
    """Its binding is gone, and the caller hears unavailable."""
    async with gateway_with(config_on_free_ports(tmp_path), tmp_path / "log") as gateway:
        phone, browser = await gateway.phone(), await gateway.browser()
        phone.unregister()
        await phone.expect("registration", code=200)
        assert await browser.refused("1001") == "1001 is not reachable at the moment"


async def test_bindings_survive_a_restart_with_sqlite(tmp_path: Path) -> None:
    """A new gateway on the same store rings the phone that registered at the old one."""
    config = config_on_free_ports(tmp_path, IDENTITY__STORE="sqlite:gateway.sqlite")
    async with lasting_phone() as phone:
        async with gateway_with(config, tmp_path / "first.log") as first:
            await register(phone, first)
        async with gateway_with(config, tmp_path / "second.log") as second:
            browser = await second.browser()
            await browser.dial("1001")
            await browser.status("talking")
            await hear_each_other(browser, phone)
            await browser.hang_up()
            await phone.expect("state", state="ended")


async def test_bindings_in_memory_do_not_survive_a_restart(tmp_path: Path) -> None:
    """The counter-proof: without a store on disk the phone is unknown until it registers again."""
    config = config_on_free_ports(tmp_path)
    async with lasting_phone() as phone:
        async with gateway_with(config, tmp_path / "first.log") as first:
            await register(phone, first)
        async with gateway_with(config, tmp_path / "second.log") as second:
            browser = await second.browser()
            assert await browser.refused("1001") == "1001 is not reachable at the moment"


async def test_stopping_the_gateway_ends_calls_on_both_sides(tmp_path: Path) -> None:
    """The phone gets a BYE, the page is told, and no call is left."""
    async with gateway_with(config_on_free_ports(tmp_path), tmp_path / "log") as gateway:
        phone, browser = await gateway.phone(), await gateway.browser()
        await browser.dial("1001")
        await browser.status("talking")
        await hear_each_other(browser, phone)
        async with asyncio.timeout(20):
            await gateway.app.stop()
        ended = await phone.expect("state", timeout=30, state="ended")
        assert ended.details["code"] == 200
        await browser.status("ready", timeout=30)
        assert len(gateway.app.calls) == 0


async def test_stopping_the_gateway_cancels_what_still_rings(tmp_path: Path) -> None:
    """A phone that rings is told that the call is over."""
    async with gateway_with(config_on_free_ports(tmp_path), tmp_path / "log") as gateway:
        phone, browser = await gateway.phone(), await gateway.browser()
        phone.on_incoming(0)
        await browser.dial("1001")
        await phone.expect("incoming")
        async with asyncio.timeout(20):
            await gateway.app.stop()
        await phone.expect("state", timeout=30, state="ended")


async def test_a_call_that_ended_with_the_gateway_is_481_to_the_next_one(tmp_path: Path) -> None:
    """re-INVITE, UPDATE, INFO and BYE of a phone that goes on with it: each says that it is over."""
    config = config_on_free_ports(tmp_path)
    answered = asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        async with gateway_with(config, tmp_path / "first.log") as first:
            first.app.calls.observe(lambda call: answered.set() if call.state is State.CONNECTED else None)
            phone = await stack.enter_async_context(caller(first, "gateway_restarted", "600"))
            async with asyncio.timeout(30):
                await answered.wait()
        async with gateway_with(config, tmp_path / "second.log") as second:
            await phone.finish()
            assert len(second.app.calls) == 0
