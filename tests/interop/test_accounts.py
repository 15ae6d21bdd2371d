"""A web user with an account of her own at a PBX, which is another gateway: a browser is an extension of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
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

pytestmark = [pytest.mark.peer, pytest.mark.asyncio(loop_scope="module")]

ACCOUNTS = {"201": "extension-201-Secret", "202": "extension-202-Secret"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pbx(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """The PBX: a desk phone 1001 and the extensions 201 and 202; both gateways write one log."""
    folder = tmp_path_factory.mktemp("pbx")
    users = [{"id": "1001", "sip": True, "password": PASSWORDS["1001"]}]
    users += [{"id": name, "sip": True, "password": password} for name, password in ACCOUNTS.items()]
    ports = config_on_free_ports(folder)
    config = ports.model_copy(update={"users": tuple(UserConfig.model_validate(user) for user in users)})
    async with gateway_with(config, folder / "both.log", secrets=ACCOUNTS.values()) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(pbx: Gateway, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """The gateway: alice has extension 201; a route that would take 201 elsewhere has no say in her calls."""
    host, port = pbx.sip
    trunk = {"name": "pbx", "uri": f"sip:{host}:{port}"}
    routes = [{"match": "201", "to": "service:echo"}]
    config = config_on_free_ports(
        tmp_path_factory.mktemp("gateway"),
        TRUNKS=json.dumps([trunk]),
        ROUTES=json.dumps(routes),
        USERS__ALICE__ACCOUNT=json.dumps({"registrar": "pbx", "username": "201", "password": ACCOUNTS["201"]}),
        USERS__ALICE__MAY_CALL='["*"]',
        USERS__BOB__MAY_CALL='["*"]',
    )
    config = config.model_copy(update={"users": tuple(user for user in config.users if user.web)})
    async with gateway_beside(pbx, config) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def phone(pbx: Gateway) -> DeskPhone:
    return await pbx.phone("1001")


async def stands(gateway: Gateway, user: str, state: str) -> dict[str, Any]:
    """How the user's account stands, as the API tells its owner, once it stands so."""
    auth = (user, PASSWORDS[user])
    async with asyncio.timeout(10), httpx.AsyncClient(base_url=gateway.web) as http:
        token = (await http.post("/api/session", json={"user": auth[0], "password": auth[1]})).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        while True:
            answer = await http.get(f"/api/users/{user}/account", headers=headers)
            if answer.status_code == 200 and answer.json()["state"] == state:
                return dict(answer.json())
            await asyncio.sleep(0.05)  # the registration tells nobody here


async def test_a_browser_calls_a_phone_of_the_pbx_as_its_extension(
    gateway: Gateway, pbx: Gateway, phone: DeskPhone, alice: RpcBrowser
) -> None:
    """A number nobody here has goes to the PBX with the extension's name and password; no route is needed."""
    await stands(gateway, "alice", "registered")
    phone.on_incoming(200)
    await alice.dial("1001")
    assert "201@" in (await phone.expect("incoming")).details["uri"]
    await alice.status("talking")
    await hear_each_other(alice, phone)
    phone.hangup()
    await alice.status("ready")
    await gateway.idle()
    await pbx.idle()


async def test_a_phone_of_the_pbx_calls_the_browser_by_its_extension(
    gateway: Gateway, pbx: Gateway, phone: DeskPhone, alice: RpcBrowser
) -> None:
    """The call comes to the account's own contact and rings at its user, whatever the routes say of the number."""
    await stands(gateway, "alice", "registered")
    phone.dial(pbx.uri("201"))
    await alice.status("ringing")
    await alice.accept()
    await phone.expect("state", state="answered")
    await hear_each_other(alice, phone)
    await alice.hang_up()
    await phone.expect("state", state="ended")
    await gateway.idle()
    await pbx.idle()


async def test_a_user_brings_an_account_and_gives_it_up(gateway: Gateway, pbx: Gateway, phone: DeskPhone) -> None:
    """Brought over JSON-RPC it is refused for a wrong password, registered and called by the right one, taken back."""
    bob = await gateway.browser("bob")
    assert await bob.ask("account.get") == {"account": None, "registrars": ["pbx"]}
    await bob.ask("account.set", registrar="pbx", username="202", password="wrong")
    assert (await stands(gateway, "bob", "refused"))["status"] == 401
    await bob.ask("account.set", registrar="pbx", username="202", password=ACCOUNTS["202"])
    await stands(gateway, "bob", "registered")
    phone.dial(pbx.uri("202"))
    await bob.status("ringing")
    await bob.accept()
    await phone.expect("state", state="answered")
    await bob.hang_up()
    await phone.expect("state", state="ended")
    assert await bob.ask("account.remove") == {"removed": True}
    await gateway.idle()
    await pbx.idle()
    async with asyncio.timeout(10):
        while await answered(phone, pbx.uri("202")) != 480:  # until the REGISTER that takes it back has come
            pass


async def answered(phone: DeskPhone, uri: str) -> int:
    """The status with which a call of the phone ends."""
    phone.dial(uri)
    return int((await phone.expect("state", state="ended")).details["code"])
