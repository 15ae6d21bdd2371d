"""Users made over /api: they sign in, are kept, are changed, and when they go nothing of them is left."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from gateway.app import GatewayApp
from gateway.identity.directory import Directory
from gateway.identity.mapping import IdentityMap
from gateway.identity.model import Binding, User
from gateway.identity.store import StoreError
from gateway.people.messages import MessageStoreError
from gateway.people.users import Users
from gateway.store.identity_memory import MemoryStore
from gateway.web.facade import AccountError
from tests.interop.gateway import PASSWORDS, config_on_free_ports
from tests.rows import by_row
from tests.web.fake import RpcClient

_USERS = json.dumps(
    [
        {"id": "root", "web": True, "role": "admin", "password": "the-admins-own"},
        {"id": "alice", "web": True, "aliases": ["2001"]},
    ]
)


@asynccontextmanager
async def gateway_of(folder: Path) -> AsyncIterator[tuple[GatewayApp, httpx.AsyncClient]]:
    """A gateway that keeps things, and a client of its administrator."""
    app = GatewayApp(config_on_free_ports(folder, USERS=_USERS, IDENTITY__STORE="sqlite:gateway.sqlite"))
    await app.start()
    try:
        async with httpx.AsyncClient(base_url=app.page_url, headers=_as("root", "the-admins-own")) as http:
            yield app, http
    finally:
        await app.stop()


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[tuple[GatewayApp, httpx.AsyncClient]]:
    async with gateway_of(tmp_path) as running:
        yield running


def _as(user: str, password: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {user}:{password}"}


async def make(http: httpx.AsyncClient, **values: Any) -> dict[str, Any]:
    answer = await http.post("/api/users", json={"id": "bob"} | values)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def signs_in(http: httpx.AsyncClient, user: str, password: str) -> bool:
    async with httpx.AsyncClient(base_url=http.base_url) as other:
        return (await other.post("/api/session", json={"user": user, "password": password})).status_code == 200


async def announced(http: httpx.AsyncClient, user: str, token: str) -> ClientConnection:
    """A page's socket."""
    url = f"ws://{http.base_url.host}:{http.base_url.port}/rpc"
    socket = await connect(url, origin=f"http://{http.base_url.host}:{http.base_url.port}")  # type: ignore[arg-type]
    await RpcClient(socket).ok("announce", peer_id=user, token=token)
    return socket


async def closed(socket: ClientConnection) -> int | None:
    """The code the gateway closes with."""
    async with asyncio.timeout(30):
        await socket.wait_closed()
    return socket.close_code


async def test_a_made_user_signs_in_and_outlives_a_restart(tmp_path: Path) -> None:
    """With the password that is told once; who did it stands in the audit log."""
    async with gateway_of(tmp_path) as (_, http):
        made = await make(http, display_name="Bob", may_call=["6*"], sip=True)
        assert (made["id"], made["configured"], made["may_call"]) == ("bob", False, ["6*"])
        assert await signs_in(http, "bob", made["password"])
        shown = (await http.get("/api/users/bob")).json()
        assert shown == made | {"password": None}
        assert (await http.put("/api/identities/4711", json={"user": "bob"})).json()["user"] == "bob"
        audit = (await http.get("/api/audit")).json()["entries"]
        assert [(one["action"], one["user"], one.get("whose")) for one in audit] == [
            ("identity set", "root", "bob"),
            ("sign-in", "bob", None),
            ("user made", "root", "bob"),
        ]
        assert made["password"] not in json.dumps(audit)
    async with gateway_of(tmp_path) as (app, http):
        assert await signs_in(http, "bob", made["password"])
        assert (await http.get("/api/users/bob")).json() == made | {
            "password": None,
            "aliases": ["sip:4711@gateway.local"],
        }
        assert (await http.get("/api/identities/4711")).json() == {
            "uri": "sip:4711@gateway.local",
            "user": "bob",
            "configured": False,
        }
        listed = (await http.get("/api/users")).json()["users"]
        assert [(user["id"], user["configured"]) for user in listed] == [
            ("root", True),
            ("alice", True),
            ("bob", False),
        ]
        assert app.calls is not None


async def test_what_the_configuration_says_is_read_only_and_says_so(
    gateway: tuple[GatewayApp, httpx.AsyncClient],
) -> None:
    """409 with a sentence; 404 for nobody, 400 for what cannot be, 403 for who may not."""
    _, http = gateway
    configured = "The user is set in the gateway's configuration"
    refused = [
        (await http.patch("/api/users/alice", json={"display_name": "A"}), 409, configured),
        (await http.delete("/api/users/alice"), 409, configured),
        (await http.post("/api/users", json={"id": "ALICE"}), 409, "There is a user or an identity of that name"),
        (await http.post("/api/users", json={"id": "2001"}), 409, "There is a user or an identity of that name"),
        (await http.put("/api/identities/2001", json={"user": "root"}), 409, "set in the gateway's configuration"),
        (await http.put("/api/identities/alice", json={"user": "root"}), 409, "already means user 'alice'"),
        (await http.delete("/api/identities/2001"), 409, "set in the gateway's configuration"),
        (await http.patch("/api/users/nobody", json={"display_name": "A"}), 404, "no such user"),
        (await http.delete("/api/users/nobody"), 404, "no such user"),
        (await http.get("/api/users/nobody"), 404, "no such user"),
        (await http.get("/api/identities/nobody"), 404, "It means nobody"),
        (await http.put("/api/identities/4711", json={"user": "nobody"}), 404, "no such user"),
        (await http.delete("/api/identities/4711"), 404, "no such identity"),
        (await http.put("/api/identities/sip:%0a@x", json={"user": "alice"}), 400, "neither a SIP URI"),
        (await http.delete("/api/users/root"), 409, "Nobody removes himself"),
        (await http.patch("/api/users/root", json={"role": "user"}), 409, "from himself"),
        (await http.post("/api/users", json={"id": "a b"}), 400, "id: must be 1 to 64"),
        (await http.post("/api/users", json={"id": "bob", "password": "short"}), 400, "password"),
        (await http.post("/api/users", json={"id": "bob", "web": False}), 400, "neither web nor sip"),
        (await http.post("/api/users", json={"id": "bob", "display_name": "a\nb"}), 400, "control characters"),
        (await http.post("/api/users", json={"id": "bob", "rolle": "admin"}), 400, "rolle"),
    ]
    for answer, status, sentence in refused:
        assert (answer.status_code, answer.json()["code"]) == (status, status), answer.text
        assert sentence in answer.json()["error"]
    alice = _as("alice", PASSWORDS["alice"])
    for method, path in (("POST", "/api/users"), ("PATCH", "/api/users/x"), ("DELETE", "/api/users/x")):
        assert (await http.request(method, path, json={"id": "x"}, headers=alice)).status_code == 403
    assert len((await http.get("/api/users")).json()["users"]) == 2


async def test_another_password_ends_what_the_old_one_began(gateway: tuple[GatewayApp, httpx.AsyncClient]) -> None:
    """Access tokens, refresh cookies and open pages, at once."""
    _, http = gateway
    made = await make(http)
    async with httpx.AsyncClient(base_url=http.base_url) as page:
        token = (await page.post("/api/session", json={"user": "bob", "password": made["password"]})).json()
        token = token["access_token"]
        socket = await announced(http, "bob", token)
        changed = (await http.patch("/api/users/bob", json={"password": "a-new-password"})).json()
        assert changed["password"] is None
        assert await closed(socket) == 1008
        assert (await page.post("/api/session/refresh", json={})).status_code == 401
        bearer = {"Authorization": f"Bearer {token}"}
        assert (await page.get("/api/registrars", headers=bearer)).status_code == 401
    assert not await signs_in(http, "bob", made["password"])
    assert await signs_in(http, "bob", "a-new-password")
    assert (await http.patch("/api/users/bob", json={"password": None})).status_code == 200
    assert not await signs_in(http, "bob", "a-new-password")


async def test_other_rights_hold_at_once_and_leave_the_sign_in_alone(
    gateway: tuple[GatewayApp, httpx.AsyncClient],
) -> None:
    """The page's socket is closed; its token is good for the next one, with the new role."""
    _, http = gateway
    made = await make(http)
    signed_in = (await http.post("/api/session", json={"user": "bob", "password": made["password"]})).json()
    bearer = {"Authorization": f"Bearer {signed_in['access_token']}"}
    socket = await announced(http, "bob", signed_in["access_token"])
    assert (await http.get("/api/calls", headers=bearer)).status_code == 403
    assert (await http.patch("/api/users/bob", json={"role": "operator"})).json()["role"] == "operator"
    assert await closed(socket) == 1008
    assert (await http.get("/api/calls", headers=bearer)).status_code == 200
    again = await announced(http, "bob", signed_in["access_token"])
    await again.close()


async def test_a_removed_user_is_gone_and_the_next_of_that_name_inherits_nothing(
    gateway: tuple[GatewayApp, httpx.AsyncClient],
) -> None:
    """Its socket, its forwarding and its identity."""
    app, http = gateway
    made = await make(http)
    signed_in = (await http.post("/api/session", json={"user": "bob", "password": made["password"]})).json()
    socket = await announced(http, "bob", signed_in["access_token"])
    await RpcClient(socket).ok("call.forward", do_not_disturb=True)
    await http.put("/api/identities/4711", json={"user": "bob"})
    assert (await http.delete("/api/users/bob")).status_code == 204
    assert await closed(socket) == 1008
    assert not await signs_in(http, "bob", made["password"])
    assert (await http.get("/api/identities/4711")).status_code == 404
    await make(http, password=made["password"])
    assert not app.calls.rules.of("bob").do_not_disturb
    bearer = {"Authorization": f"Bearer {signed_in['access_token']}"}
    assert (await http.get("/api/registrars", headers=bearer)).status_code == 401
    assert await signs_in(http, "bob", made["password"])


class Shelf:
    """Keeps something of a user, and may fail to forget it."""

    def __init__(self) -> None:
        self.fails: Exception | None = None
        self.forgotten: list[str] = []

    async def forget(self, user: str) -> None:
        if self.fails is not None:
            raise self.fails
        self.forgotten.append(user)

    are_shared = False
    numbers: frozenset[str] = frozenset()
    """Of open rooms."""
    looks = 0

    def has_number(self, number: str) -> bool:
        return number in self.numbers and self.looks > 0

    async def look(self, now: float) -> int:
        self.looks += 1
        return 0

    async def remove(self, user: str, *, by_user: bool) -> bool:
        assert not by_user
        await self.forget(user)
        return True


class BrokenStore(MemoryStore):
    """Does not unbind phones for a while."""

    broken = False

    async def remove_all(self, aor: str) -> None:
        if self.broken:
            raise StoreError("not now")
        await super().remove_all(aor)


class Node:
    """One gateway's users over a store."""

    def __init__(self, store: BrokenStore) -> None:
        self.identity = IdentityMap([User("root", web=True)], [], "gateway.test")
        self.directory = Directory(self.identity, store, "gateway.test", lambda: os.urandom(8).hex())
        self.accounts, self.courier, self.voicemail, self.links, rooms = shelves = [Shelf() for _ in range(5)]
        calls = MagicMock()
        calls.__iter__.side_effect = lambda: iter(())
        presence = MagicMock()
        presence.channels.return_value = ()
        accounts, courier, voicemail, links, self.rooms = shelves
        self.users = Users(
            self.directory,
            self.identity,
            store,
            presence,
            calls,
            accounts,
            courier,
            voicemail,
            links,
            os.urandom,
            rooms,
        )


BOB_ON_A_PHONE = {"id": "bob", "sip": True, "password": "word"}
PHONE = Binding("sip:bob@gateway.test", "sip:bob@192.0.2.1", 4_000_000_000.0)


@by_row("uri", ["8000", "sip:8000@gateway.test", "SIP:8000@GATEWAY.test;user=phone", "tel:8000"])
async def test_the_number_of_an_open_room_is_given_to_nobody(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was invited to it would ring somebody else; what another gateway opened a moment ago counts, too."""
    node = Node(BrokenStore())
    node.rooms.numbers = frozenset({"8000"})
    with pytest.raises(AccountError, match="There is a room of that number") as refused:
        await node.users.make({"id": "8000", "sip": True, "password": "word"})
    assert refused.value.status == 409
    with pytest.raises(AccountError, match="There is a room of that number") as refused:
        await node.users.set_identity(uri, "root")
    assert refused.value.status == 409
    assert await node.users.shown("8000") is None
    assert node.users.identities() == []
    for other in ("8001", "sip:8000@elsewhere.test"):
        await node.users.set_identity(other, "root")
    node.rooms.numbers = frozenset()
    with monkeypatch.context() as away:
        away.setattr(node.rooms, "look", AsyncMock(side_effect=StoreError("away")))
        with pytest.raises(AccountError, match="The store does not answer") as refused:
            await node.users.set_identity(uri, "root")
        assert refused.value.status == 503
    await node.users.set_identity(uri, "root")


async def test_a_removal_that_fails_half_way_is_finished_later() -> None:
    """Each part by itself, the phones too; nobody has the name until then, and who has it next loses nothing."""
    store = BrokenStore()
    node = Node(store)
    await node.users.make(dict(BOB_ON_A_PHONE))
    await store.put_binding(PHONE, 0.0, 5)
    store.broken, node.courier.fails, node.voicemail.fails = True, MessageStoreError("gone"), OSError(5, "disk")
    await node.users.remove("bob")
    assert (node.links.forgotten, node.accounts.forgotten) == (["bob"], ["bob"])
    with pytest.raises(AccountError) as refused:
        await node.users.make(dict(BOB_ON_A_PHONE))
    assert refused.value.status == 503
    store.broken, node.courier.fails, node.voicemail.fails = False, None, None
    await node.users.look(0.0)
    assert await store.bindings(PHONE.aor, 0.0) == []
    await node.users.make(dict(BOB_ON_A_PHONE))
    await store.put_binding(PHONE, 0.0, 5)
    await node.users.look(0.0)
    for shelf in (node.links, node.accounts, node.courier, node.voicemail):
        assert shelf.forgotten == ["bob"]
    assert len(await store.bindings(PHONE.aor, 0.0)) == 1


async def test_phones_that_may_not_be_bound_any_more_are_unbound_later_if_not_now() -> None:
    """When sip is taken from a user and the store does not do it."""
    store = BrokenStore()
    node = Node(store)
    await node.users.make(BOB_ON_A_PHONE | {"web": True})
    await store.put_binding(PHONE, 0.0, 5)
    store.broken = True
    assert (await node.users.change("bob", {"sip": False}))["sip"] is False
    store.broken = False
    await node.users.look(0.0)
    assert await store.bindings(PHONE.aor, 0.0) == []
    assert node.voicemail.forgotten == []


async def test_nothing_of_a_user_who_was_removed_and_made_again_elsewhere_is_left_here() -> None:
    """What this gateway keeps goes; the new one's phones stay bound."""
    store = BrokenStore()
    one, other = Node(store), Node(store)
    await one.users.make(dict(BOB_ON_A_PHONE))
    await other.users.look(0.0)
    await one.users.remove("bob")
    await one.users.make(dict(BOB_ON_A_PHONE))
    await store.put_binding(PHONE, 0.0, 5)
    await other.users.look(0.0)
    assert (other.voicemail.forgotten, other.courier.forgotten) == (["bob"], ["bob"])
    assert len(await store.bindings(PHONE.aor, 0.0)) == 1


@pytest.mark.parametrize(("lifetime", "status"), [("0", 404), ("60", 201)])
async def test_links_for_guests_are_good_for_as_long_as_the_configuration_lets_them(
    tmp_path: Path, lifetime: str, status: int
) -> None:
    """web.link_lifetime; at 0 there are none."""
    app = GatewayApp(config_on_free_ports(tmp_path, USERS=_USERS, WEB__LINK_LIFETIME=lifetime))
    await app.start()
    try:
        async with httpx.AsyncClient(base_url=app.page_url, headers=_as("root", "the-admins-own")) as http:
            answer = await http.post("/api/links", json={"to": "root", "seconds": 86_400})
            assert answer.status_code == status
            assert status == 404 or answer.json()["until"] <= time.time() + 61
    finally:
        await app.stop()
