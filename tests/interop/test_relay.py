"""People behind a trunk: a second gateway is the PBX, at an address of its own, and a phone of ours looks there."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from gateway.app import GatewayApp
from gateway.config.people import UserConfig
from gateway.demo.phone import DeskPhone
from tests.interop.gateway import PASSWORDS, Gateway, Journal, check_log, config_on_free_ports

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]

HOST = "127.0.0.2"
"""Of the PBX: what comes from the address of a trunk is the trunk's, so phones have another one."""
TRUNK_PASSWORD = "a-trunks-own-Secret-4711"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def both(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Gateway, Gateway]]:
    """The gateway, and the PBX at which it has the account gw; both write one log."""
    folder = tmp_path_factory.mktemp("both")
    (folder / "pbx").mkdir()
    ports = config_on_free_ports(folder / "pbx", PRESENCE__NOTIFY_INTERVAL="0")
    listen = ports.sip.listen[0]
    users = [
        {"id": "1001", "sip": True, "password": PASSWORDS["1001"]},
        {"id": "gw", "sip": True, "password": TRUNK_PASSWORD},
    ]
    pbx = ports.model_copy(
        update={
            "domain": "pbx.test",
            "users": tuple(UserConfig.model_validate(user) for user in users),
            "sip": ports.sip.model_copy(update={"listen": (dataclasses.replace(listen, host=HOST),)}),
        }
    )
    trunk = {
        "name": "pbx",
        "uri": f"sip:{HOST}:{listen.port}",
        "username": "gw",
        "password": TRUNK_PASSWORD,
        "from_user": "gw",
        "register": True,
        "sources": [HOST],
    }
    routes = [{"match": "gw", "to": "user:1002"}, {"match": "0*", "to": "trunk:pbx", "strip": 1}]
    ours = config_on_free_ports(
        folder, TRUNKS=json.dumps([trunk]), ROUTES=json.dumps(routes), PRESENCE__NOTIFY_INTERVAL="0"
    )
    journal = Journal(folder / "both.log")
    try:
        async with AsyncExitStack() as stack:
            made = []
            for config in (pbx, ours):
                app = GatewayApp(config)
                stack.push_async_callback(app.stop)
                await app.start()
                made.append(Gateway(app, journal, stack))
            yield made[1], made[0]
        text = await journal.text()
        check_log(text)
        assert TRUNK_PASSWORD not in text
    finally:
        journal.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(both: tuple[Gateway, Gateway]) -> DeskPhone:
    """A phone of ours."""
    return await both[0].phone("1001")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def extension(both: tuple[Gateway, Gateway]) -> DeskPhone:
    """A phone of the PBX."""
    return await both[1].phone("1001")


async def test_people_of_the_pbx_are_seen(both: tuple[Gateway, Gateway], desk: DeskPhone, extension: DeskPhone) -> None:
    """The SUBSCRIBE goes on with the trunk's account, each NOTIFY of the PBX comes back, and the end does."""
    other = both[0].uri("01001")
    desk.watch(other)
    await desk.expect("presence", uri=other, state="ACTIVE", online=True)
    extension.appear("busy", "not now")
    await desk.expect("presence", uri=other, online=True, note="not now")
    desk.watch(other, False)
    await desk.expect("presence", uri=other, state="TERMINATED")


async def test_people_of_the_pbx_are_written_to_and_write_back(
    both: tuple[Gateway, Gateway], desk: DeskPhone, extension: DeskPhone
) -> None:
    """MESSAGE through the trunk with its account; what comes from it reaches whom the route says."""
    desk.write(both[0].uri("01001"), "through the trunk")
    assert (await desk.expect("message_status")).details["code"] == 200
    assert (await extension.expect("message")).details["text"] == "through the trunk"
    second = await both[0].phone("1002")
    extension.write(both[1].uri("gw"), "and back")
    assert (await extension.expect("message_status")).details["code"] == 200
    assert (await second.expect("message")).details["text"] == "and back"
    await second.close()


async def test_who_is_nobody_at_the_pbx_is_nobody_here(both: tuple[Gateway, Gateway], desk: DeskPhone) -> None:
    """Its refusal is the phone's."""
    nobody = both[0].uri("04711")
    desk.watch(nobody)
    gone = await desk.expect("presence", uri=nobody, state="TERMINATED")
    assert gone.details["reason"] == "Not Found"


async def test_the_pbx_stops_and_the_phone_is_told(
    both: tuple[Gateway, Gateway], desk: DeskPhone, extension: DeskPhone
) -> None:
    """Its subscriptions end with it: the phone is to ask again later, and then finds it away."""
    other = both[0].uri("01001")
    desk.watch(other)
    await desk.expect("presence", uri=other, state="ACTIVE")
    await both[1].app.stop()
    ended = await desk.expect("presence", uri=other, state="TERMINATED")
    assert ended.details["reason"] == "probation"
