"""sipp and the gateway in the less usual ways: session timers in both roles, 100rel, crossing CANCELs, Replaces."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.interop.gateway import Gateway, RpcBrowser, config_on_free_ports, gateway_with
from tests.interop.sipp import Sipp
from tests.interop.sipp_phone import caller, short_sessions

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """A gateway whose sessions last only seconds unless they are refreshed."""
    folder = tmp_path_factory.mktemp("gateway")
    with short_sessions() as shortened:
        async with gateway_with(shortened(config_on_free_ports(folder)), folder / "gateway.log") as running:
            yield running


@pytest.mark.parametrize("scenario", ["gateway_refreshed", "gateway_expired", "gateway_cancel_late"])
async def test_a_caller_of_the_tone(gateway: Gateway, scenario: str) -> None:
    """We refresh its session by UPDATE and by re-INVITE; it ceases to refresh it; it gives up after our 200."""
    async with caller(gateway, scenario, "601") as phone:
        await phone.finish()
    await gateway.idle()


@pytest.mark.parametrize("scenario", ["gateway_reliable", "gateway_replaced"])
async def test_a_caller_of_a_page(gateway: Gateway, alice: RpcBrowser, scenario: str) -> None:
    """It insists on 100rel; it takes its own call over in another dialog, and a second time finds nothing."""
    async with caller(gateway, scenario, "alice") as phone:
        await alice.status("ringing")
        await alice.accept()
        await phone.finish()
    if scenario == "gateway_replaced":
        await alice.hang_up()
    await alice.status("ready")
    await gateway.idle()


@pytest.mark.parametrize("scenario", ["uas_refreshed", "uas_expired", "uas_reliable"])
async def test_a_callee_of_a_page(gateway: Gateway, alice: RpcBrowser, port: int, scenario: str) -> None:
    """We refresh the session; it ceases to; its 183 is reliable, answered by PRACK, and its 200 says nothing more."""
    async with Sipp.uas(scenario, port=port) as phone:
        await phone.bound()
        await alice.dial("1002")
        await alice.status("talking")
        if scenario == "uas_reliable":
            await alice.hang_up()
        await phone.finish()
    await alice.status("ready")
    await gateway.idle()


async def test_an_answer_that_crosses_our_cancel(gateway: Gateway, alice: RpcBrowser, port: int) -> None:
    """The page gives up; the phone's 200 is acknowledged and ended by BYE (RFC 3261 section 13.2.2.4)."""
    async with Sipp.uas("uas_cancel_late", port=port) as phone:
        await phone.bound()
        alice.told.clear()
        await alice.dial("1002")
        await alice.notified("call_state", state="ringing", peer_id="1002")
        await alice.hang_up()
        await phone.finish()
    await gateway.idle()
