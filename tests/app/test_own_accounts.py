"""Users' own accounts as the facade changes them: who may, how often, and what outlives a restart."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.app import GatewayApp, settings
from gateway.config import load
from gateway.sip.message.message import Request
from gateway.sip.message.parser import parse_message
from gateway.trunks.accounts import Account, Accounts
from gateway.trunks.own_accounts import OwnAccounts
from gateway.trunks.vault import Vault, read_key
from gateway.web.facade import AccountError
from tests.interop.gateway import PASSWORDS, config_on_free_ports
from tests.rows import by_row

GIVEN: dict[str, str | None] = {"registrar": "office", "username": "201", "password": "pa-ss"}


class Registrations:
    """Remembers what is to be registered."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def put(self, account: Account) -> None:
        self.done.append(f"put {account.user} {account.username}")

    def drop(self, user: str, *, is_others: bool = False) -> None:
        self.done.append(f"drop {user}")

    def state(self, user: str) -> tuple[str, int]:
        return "registering", 0


class Rig:
    """OwnAccounts over a folder; alice may bring one, carol has one in the configuration."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.config = load(
            None,
            {
                "GATEWAY_STATE_DIR": str(folder),
                "GATEWAY_TRUNKS": '[{"name": "office", "uri": "sip:pbx.test"}, {"name": "other", "uri": "sip:o.test"}]',
                "GATEWAY_USERS": '[{"id": "alice", "web": true}, {"id": "carol", "web": true,'
                ' "account": {"registrar": "office", "username": "203", "password": "pw"}}]',
                **{f"GATEWAY_{key}": value for key, value in environ.items()},
            },
        )
        key = read_key(folder, os.urandom)
        self.now = 0.0
        self.vault = Vault(folder, key, os.urandom)
        self.accounts, self.registrations = Accounts(key), Registrations()
        for account in (*self.vault.read(settings.registrar_places(self.config).get), *self.configured()):
            self.accounts.put(account)
        registrations: Any = self.registrations
        self.own = OwnAccounts(self.config, self.accounts, registrations, self.vault, lambda: self.now)

    def configured(self) -> tuple[Account, ...]:
        return settings.configured_accounts(self.config)

    async def refused(self, user: str = "alice", **changed: str) -> int:
        with pytest.raises(AccountError) as refusal:
            await self.own.put(user, {**GIVEN, **changed}, by_user=True)
        return refusal.value.status


async def test_an_account_is_registered_shown_and_kept(tmp_path: Path) -> None:
    """The same again changes nothing; another one takes its place; after a restart it is there."""
    rig = Rig(tmp_path)
    shown = await rig.own.put("alice", GIVEN, by_user=True)
    assert (shown["state"], shown["status"], shown["configured"]) == ("registering", 0, False)
    await rig.own.put("alice", GIVEN, by_user=True)
    await rig.own.put("alice", GIVEN | {"username": "202"}, by_user=False)
    assert rig.registrations.done == ["put alice 201", "put alice 202"]
    again = Rig(tmp_path)
    assert [(one["user"], one["username"], one["configured"]) for one in again.own.listed()] == [
        ("alice", "202", False),
        ("carol", "203", True),
    ]
    assert again.own.registrar_of("alice") == "office"


async def test_what_was_given_up_stays_so(tmp_path: Path) -> None:
    """Taken back, forgotten, and not there after a restart."""
    rig = Rig(tmp_path)
    await rig.own.put("alice", GIVEN, by_user=True)
    assert await rig.own.remove("alice", by_user=True)
    assert not await rig.own.remove("alice", by_user=True)
    assert rig.registrations.done == ["put alice 201", "drop alice"]
    assert Rig(tmp_path).own.of("alice") is None


async def test_only_listed_registrars_are_contacted(tmp_path: Path) -> None:
    """By default the trunks; else those of the list; by name or by URI."""
    assert await Rig(tmp_path).refused(registrar="evil.test") == 404
    assert await Rig(tmp_path).refused(registrar="sip:evil.test") == 404
    rig = Rig(tmp_path, ACCOUNTS__REGISTRARS="office,sip:third.test:5070")
    assert rig.own.registrars(by_user=True) == ["office", "third.test-5070"]
    assert await rig.refused(registrar="other") == 404
    assert (await rig.own.put("alice", GIVEN | {"registrar": "sip:third.test:5070"}, by_user=True))["registrar"] == (
        "third.test-5070"
    )
    assert Rig(tmp_path, ACCOUNTS__REGISTRARS="office").own.of("alice") is None


async def test_an_account_of_the_configuration_is_changed_there(tmp_path: Path) -> None:
    """Not even an administrator's request changes it."""
    rig = Rig(tmp_path)
    assert await rig.refused("carol") == 409
    with pytest.raises(AccountError):
        await rig.own.remove("carol", by_user=False)
    assert rig.registrations.done == []


async def test_users_bring_none_where_they_may_not(tmp_path: Path) -> None:
    """An administrator still may."""
    rig = Rig(tmp_path, ACCOUNTS__BY_USERS="false")
    assert rig.own.registrars(by_user=True) == []
    assert rig.own.registrars(by_user=False) != []
    assert await rig.refused() == 403
    assert (await rig.own.put("alice", GIVEN, by_user=False))["username"] == "201"


async def test_nobody_tries_passwords_through_the_gateway(tmp_path: Path) -> None:
    """So many changes an hour, then none until time has passed."""
    rig = Rig(tmp_path, ACCOUNTS__CHANGES_PER_HOUR="2")
    for number in range(2):
        await rig.own.put("alice", GIVEN | {"password": str(number)}, by_user=True)
    assert await rig.refused(password="2") == 503
    rig.now = 1_900.0
    await rig.own.put("alice", GIVEN | {"password": "3"}, by_user=True)


@by_row("wrong", [{"username": ""}, {"username": "a\r\nb"}, {"display_name": "\x00"}])
async def test_a_name_that_no_header_could_hold_is_refused(tmp_path: Path, wrong: dict[str, str]) -> None:
    """Before anything is registered or kept."""
    rig = Rig(tmp_path)
    assert await rig.refused(**wrong) == 400
    assert rig.registrations.done == []


async def test_an_account_that_a_user_brought_is_registered_again_after_a_restart(tmp_path: Path) -> None:
    """Under the same Contact, so that a PBX that keeps one an account takes it; the password stands in no file."""
    contacts = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as registrar:
        registrar.bind(("127.0.0.1", 0))
        registrar.setblocking(False)
        trunk = {"name": "office", "uri": f"sip:127.0.0.1:{registrar.getsockname()[1]}", "options_interval": 0}
        config = config_on_free_ports(tmp_path, TRUNKS=json.dumps([trunk]))
        for start in range(2):
            app = GatewayApp(config)
            await app.start()
            try:
                if not start:
                    await bring(app, "alice", GIVEN)
                data = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(registrar, 4096), 30)
                request = parse_message(data)
                assert isinstance(request, Request)
                assert (request.method, request.to.uri.user) == ("REGISTER", "201")
                contacts.append(request.contacts[0].uri.user)
            finally:
                await app.stop()
            with contextlib.suppress(BlockingIOError):
                while registrar.recv(4096):
                    pass
    assert contacts[0] == contacts[1] != "201"
    assert b"pa-ss" not in everything_in(tmp_path)


def everything_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir() if file.is_file())


async def bring(app: GatewayApp, user: str, given: dict[str, str | None]) -> None:
    """Bring an account by HTTP, as the page does."""
    async with httpx.AsyncClient(base_url=app.page_url) as http:
        session = await http.post("/api/session", json={"user": user, "password": PASSWORDS[user]})
        bearer = {"Authorization": f"Bearer {session.json()['access_token']}"}
        assert (await http.put(f"/api/users/{user}/account", json=given, headers=bearer)).status_code == 200
