"""Two gateways, one of them as the other's PBX: registered there, calling out with digest, called back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway.config.people import UserConfig
from gateway.demo.phone import DeskPhone
from tests.interop.gateway import (
    PASSWORDS,
    Gateway,
    RpcBrowser,
    config_on_free_ports,
    gateway_beside,
    gateway_with,
    hear_each_other,
)

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]

TRUNK_PASSWORD = "a-trunks-own-Secret-4711"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pbx(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """The PBX: a desk phone 1001 and an account for the gateway's trunk; both write one log."""
    folder = tmp_path_factory.mktemp("pbx")
    users = [
        {"id": "1001", "sip": True, "password": PASSWORDS["1001"]},
        {"id": "gw", "sip": True, "password": TRUNK_PASSWORD},
    ]
    ports = config_on_free_ports(folder)
    config = ports.model_copy(
        update={"domain": "pbx.test", "users": tuple(UserConfig.model_validate(user) for user in users)}
    )
    async with gateway_with(config, folder / "both.log", secrets=[TRUNK_PASSWORD]) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(pbx: Gateway, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """The gateway: a trunk to the PBX for numbers that begin with 0, and alice behind the trunk's own number."""
    folder = tmp_path_factory.mktemp("gateway")
    host, port = pbx.sip
    trunk = {
        "name": "pbx",
        "uri": f"sip:{host}:{port}",
        "username": "gw",
        "password": TRUNK_PASSWORD,
        "from_user": "gw",
        "register": True,
        "sources": [host],
        "max_calls": 1,
    }
    routes = [
        {"match": "gw", "to": "user:alice"},
        {"match": "0*", "to": "trunk:pbx", "strip": 1},
    ]
    config = config_on_free_ports(folder, TRUNKS=json.dumps([trunk]), ROUTES=json.dumps(routes))
    async with gateway_beside(pbx, config) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def phone(pbx: Gateway) -> DeskPhone:
    return await pbx.phone("1001")


async def test_a_browser_reaches_a_phone_of_the_pbx(
    gateway: Gateway, pbx: Gateway, phone: DeskPhone, alice: RpcBrowser
) -> None:
    """The PBX challenges the INVITE, the trunk's account answers, the phone rings; BYE comes back the same way."""
    phone.on_incoming(200)
    await alice.dial("01001")
    await phone.expect("incoming")
    await alice.status("talking")
    await hear_each_other(alice, phone)
    phone.hangup()
    await alice.status("ready")
    await gateway.idle()
    await pbx.idle()


async def test_the_trunk_carries_no_more_calls_than_it_may(
    gateway: Gateway, phone: DeskPhone, alice: RpcBrowser
) -> None:
    """The second call is refused, and the place is free again when the first has ended."""
    phone.on_incoming(200)
    bob = await gateway.browser("bob")
    await alice.dial("01001")
    await alice.status("talking")
    assert await bob.refused("01001") is not None
    await alice.hang_up()
    await phone.expect("state", state="ended")
    await gateway.idle()
    await bob.dial("01001")
    await bob.status("talking")
    await bob.hang_up()
    await gateway.idle()


async def test_a_phone_of_the_pbx_reaches_the_browser(
    gateway: Gateway, pbx: Gateway, phone: DeskPhone, alice: RpcBrowser
) -> None:
    """The PBX calls the number that the trunk has registered; the route takes it to alice."""
    async with asyncio.timeout(30):
        while "pbx" not in gateway.app.registered_trunks:  # noqa: ASYNC110  a registration calls nobody here
            await asyncio.sleep(0.02)
    phone.dial(pbx.uri("gw"))
    await alice.status("ringing")
    await alice.accept()
    await phone.expect("state", state="answered")
    await hear_each_other(alice, phone)
    await alice.hang_up()
    await phone.expect("state", state="ended")
    await gateway.idle()
    await pbx.idle()
