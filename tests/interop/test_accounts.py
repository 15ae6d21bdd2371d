"""Users with accounts of their own at a PBX, which is another gateway; and two that are each other's PBX."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr

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
from tests.ports import free_ports

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]

ACCOUNTS = {"201": "extension-201-Secret", "202": "extension-202-Secret"}
BACK = {"301": "extension-301-Secret"}
"""What the other gateway has for a user of the PBX."""


@pytest.fixture(scope="module")
def back() -> int:
    """The SIP port of the gateway that is not the PBX, which the PBX knows from its start."""
    [port] = free_ports(1)
    return port


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pbx(tmp_path_factory: pytest.TempPathFactory, back: int) -> AsyncIterator[Gateway]:
    """The PBX: a desk phone 1001 and the extensions 201 and 202; both gateways write one log."""
    folder = tmp_path_factory.mktemp("pbx")
    users = [{"id": "1001", "sip": True, "web": True, "password": PASSWORDS["1001"], "may_call": ["*"]}]
    users += [{"id": name, "sip": True, "password": password} for name, password in ACCOUNTS.items()]
    ports = config_on_free_ports(folder, TRUNKS=json.dumps([{"name": "branch", "uri": f"sip:127.0.0.1:{back}"}]))
    config = ports.model_copy(update={"users": tuple(UserConfig.model_validate(user) for user in users)})
    async with gateway_with(config, folder / "both.log", secrets=[*ACCOUNTS.values(), *BACK.values()]) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(pbx: Gateway, tmp_path_factory: pytest.TempPathFactory, back: int) -> AsyncIterator[Gateway]:
    """The gateway: alice has extension 201; a route that would take 201 elsewhere has no say in her calls.

    It is a PBX too, with extension 301.
    """
    host, port = pbx.sip
    trunk = {"name": "pbx", "uri": f"sip:{host}:{port}"}
    routes = [{"match": "201", "to": "service:echo"}]
    config = config_on_free_ports(
        tmp_path_factory.mktemp("gateway"),
        SIP__LISTEN=f'["udp:127.0.0.1:{back}"]',
        TRUNKS=json.dumps([trunk]),
        ROUTES=json.dumps(routes),
        USERS__ALICE__ACCOUNT=json.dumps({"registrar": "pbx", "username": "201", "password": ACCOUNTS["201"]}),
        USERS__ALICE__MAY_CALL='["*"]',
        USERS__BOB__MAY_CALL='["*"]',
    )
    extensions = [UserConfig(id=name, sip=True, password=SecretStr(password)) for name, password in BACK.items()]
    here = [user for user in config.users if user.web]
    config = config.model_copy(update={"users": (*here, *extensions)})
    async with gateway_beside(pbx, config) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def phone(pbx: Gateway) -> DeskPhone:
    return await pbx.phone("1001")


@contextlib.asynccontextmanager
async def signed_in(gateway: Gateway, user: str) -> AsyncIterator[httpx.AsyncClient]:
    """What asks the API as that user."""
    async with httpx.AsyncClient(base_url=gateway.web) as http:
        session = await http.post("/api/session", json={"user": user, "password": PASSWORDS[user]})
        http.headers["Authorization"] = f"Bearer {session.json()['access_token']}"
        yield http


async def stands(gateway: Gateway, user: str, state: str) -> dict[str, Any]:
    """How the user's account stands, as the API tells its owner, once it stands so."""
    async with asyncio.timeout(30), signed_in(gateway, user) as http:
        while True:
            answer = await http.get(f"/api/users/{user}/account")
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
    async with asyncio.timeout(30):
        while await answered(phone, pbx.uri("202")) != 480:  # until the REGISTER that takes it back has come
            pass


async def test_two_gateways_are_each_others_pbx(
    gateway: Gateway, pbx: Gateway, phone: DeskPhone, alice: RpcBrowser
) -> None:
    """The phone is extension 301 here as alice is 201 there: each is called by it, and calls as it where it dials what
    its own gateway does not know; what neither knows is not sent to and fro.
    """
    await stands(gateway, "alice", "registered")
    async with signed_in(pbx, "1001") as http:
        account = {"registrar": "branch", "username": "301", "password": BACK["301"]}
        assert (await http.put("/api/users/1001/account", json=account)).is_success
        await stands(pbx, "1001", "registered")
        phone.on_incoming(200)
        for number, caller in (("301", "alice@"), ("1001", "201@")):
            await alice.dial(number)
            assert caller in (await phone.expect("incoming")).details["uri"]
            await alice.status("talking")
            await hear_each_other(alice, phone)
            phone.hangup()
            await alice.status("ready")
        for number, caller in (("alice", "301"), ("201", "1001")):
            alice.told.clear()
            phone.dial(pbx.uri(number))
            await alice.status("ringing")
            assert (await alice.notified("offer"))["from_peer_id"].startswith(f"sip:{caller}@")
            await alice.accept()
            await phone.expect("state", state="answered")
            await hear_each_other(alice, phone)
            await alice.hang_up()
            await phone.expect("state", state="ended")
        assert await answered(phone, pbx.uri("999")) == 404
        assert (await http.delete("/api/users/1001/account")).status_code == 204
    await gateway.idle()
    await pbx.idle()


async def answered(phone: DeskPhone, uri: str) -> int:
    """The status with which a call of the phone ends."""
    phone.dial(uri)
    return int((await phone.expect("state", state="ended")).details["code"])
