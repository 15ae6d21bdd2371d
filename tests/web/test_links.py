"""Links for guests: whom, until when, how often, and nothing beside that."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import httpx
import jwt
import pytest

from gateway.call.status import Cause
from gateway.store.identity_memory import MemoryStore
from gateway.web.app import WebServer
from gateway.web.auth.links import GuestLinks, Link, LinkError, link_refusal
from gateway.web.auth.tokens import sign_link
from gateway.web.facade import GUEST, PlaceError
from tests.web.fake import SDP, FakeCall, FakeGateway, RpcClient, rpc, running

DAY = 86_400.0


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def links_of(store: MemoryStore, clock: Clock, makers: FakeGateway | None = None) -> GuestLinks:
    """Of makers whose mark is their password, None: of an operator and of users who may do anything."""
    if makers is None:
        makers = FakeGateway()
        makers.roles = dict.fromkeys(makers.secrets, "operator")
    marks, rule = makers.secrets, partial(link_refusal, makers)
    return GuestLinks(
        store, "gateway.test", 30 * DAY, clock, os.urandom, mark=lambda user: marks.get(user, ""), refusal=rule
    )


async def test_a_link_outlives_a_restart_and_ends_when_it_says() -> None:
    """Its longest life is the setting's; a foreign, altered or forgotten one is none."""
    store, clock = MemoryStore(), Clock()
    link, token = await links_of(store, clock).make("alice", "600", 60 * DAY, 0, "Web site")
    assert (link.until, link.name) == (int(clock.now + 30 * DAY), "Web site")
    again = links_of(store, clock)
    assert await again.read(token) == link
    for other in (
        token[:-2] + ("aa" if not token.endswith("aa") else "bb"),
        sign_link(link.id, "600", link.until, "gateway.test", os.urandom(32)),
        sign_link(link.id, "600", link.until, "other.test", await again._key()),
        jwt.encode({"jti": link.id, "aud": "guest-link", "iss": "gateway.test", "exp": 2e9}, "", algorithm="none"),
        (await links_of(MemoryStore(), clock).make("alice", "600", DAY, 0))[1],
        "x" * 5_000,
        "",
    ):
        assert await again.read(other) is None
    clock.now += 30 * DAY
    assert await again.read(token) is None
    assert await again.expire(clock.now) == 1
    assert [name for name in await store.entries() if name.startswith("link:")] == []


async def test_two_gateways_count_the_calls_of_a_link_together() -> None:
    """However they cross: of five there are five, and one that did not come to be is given back."""
    store, clock = MemoryStore(), Clock()
    gateways = [links_of(store, clock), links_of(store, clock)]
    link, _ = await gateways[0].make("alice", "600", DAY, 5)
    taken = await asyncio.gather(*(gateways[index % 2].take(link) for index in range(12)))
    assert sorted(number for number in taken if number) == [1, 2, 3, 4, 5]
    await gateways[1].give_back(link, 3)
    assert [await gateways[0].take(link), await gateways[0].take(link)] == [3, None]
    assert await gateways[1].listed() == [(link, 5)]
    await gateways[1].remove(link.id)
    assert await gateways[0].take(link) is None
    assert await gateways[0].listed() == []


async def test_links_are_bounded() -> None:
    """For each user."""
    links = links_of(MemoryStore(), Clock())
    for _ in range(100):
        await links.make("alice", "600", DAY, 0)
    with pytest.raises(LinkError):
        await links.make("alice", "600", DAY, 0)
    assert isinstance((await links.make("bob", "600", DAY, 0))[0], Link)


@asynccontextmanager
async def site() -> AsyncIterator[tuple[WebServer, FakeGateway, httpx.AsyncClient]]:
    """A gateway without guests, and a client of its operator alice."""
    gateway = FakeGateway()
    gateway.guests_allowed = False
    gateway.roles = {"alice": "operator"}
    links = links_of(MemoryStore(), Clock(), gateway)
    async with running(gateway, links=links) as server, httpx.AsyncClient(base_url=address_of(server)) as http:
        await _sign_in(http, "alice", "wonder")
        yield server, gateway, http


def address_of(server: WebServer) -> str:
    return f"http://127.0.0.1:{server.port}"


async def _sign_in(http: httpx.AsyncClient, user: str, password: str) -> None:
    token = (await http.post("/api/session", json={"user": user, "password": password})).json()["access_token"]
    http.headers["Authorization"] = f"Bearer {token}"


async def made(http: httpx.AsyncClient, **values: object) -> str:
    answer = await http.post("/api/links", json=values)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["token"])


async def _calls(client: RpcClient, to: str) -> str:
    """ "called", or the cause of the refusal."""
    answer = await client.request("offer", to_peer_id=to, sdp=SDP, type="offer")
    return "called" if "result" in answer else str(answer["error"]["data"]["cause"])


async def test_a_link_opens_the_relays_for_the_call_it_is_good_for() -> None:
    """Its guest is told of them; who shows another token is not."""
    async with site() as (_, gateway, http):
        token = await made(http, to="600", uses=2)
        for shown, user in ((token, GUEST), (f"{token}x", None)):
            answer = await http.get("/iceservers", headers={"Authorization": f"Bearer {shown}"})
            assert answer.json() == gateway.ice_servers("", user)


async def test_a_guest_calls_whom_the_link_says_so_often_and_nobody_else() -> None:
    """Where guests are off; the called one sees the link's name; a call that was refused does not count."""
    async with site() as (server, gateway, http):
        token = await made(http, to="600", uses=2, name="Web site")

        def script(call: FakeCall) -> None:
            if len(gateway.calls) == 1:
                raise PlaceError(Cause.OVERLOADED)

        gateway.script = script
        async with rpc(server) as client:
            assert "error" in await client.request("announce", peer_id="guest-1")
            assert "error" in await client.request("announce", peer_id="alice", token=token)
            assert "error" in await client.request("announce", peer_id="1001", token=token)
            await client.ok("announce", peer_id="guest-1", token=token)
            assert await _calls(client, "601") == "forbidden"
            assert await _calls(client, "600") == "overloaded"
            assert await _calls(client, "600") == "called"
            caller = gateway.calls[-1].caller
            assert caller is not None
            assert (caller.display_name, caller.may_call, caller.max_calls) == ("Web site", ("600",), 1)
        async with rpc(server) as client:
            await client.ok("announce", peer_id="guest-2", token=token)
            assert await _calls(client, "600") == "called"
            await client.ok("disconnect", peer_id="600")
            assert await _calls(client, "600") == "forbidden"
        assert (await http.get("/api/links")).json()["links"][0]["used"] == 2


async def test_a_call_by_a_link_is_not_transferred_to_anybody_else() -> None:
    """Neither to whom is dialled nor to another call: the link is for one number."""
    async with site() as (server, gateway, http):
        token = await made(http, to="600", uses=0)
        async with rpc(server) as client:
            await client.ok("announce", peer_id="guest-1", token=token)
            call_id = (await client.ok("offer", to_peer_id="600", sdp=SDP))["call_id"]
            call = gateway.calls[-1]
            call.channel.answered(call, None)
            await client.notified("call_state", state="answered")
            for where in ({"to_peer_id": "1002"}, {"to_peer_id": "600"}, {"to_call_id": call_id}):
                refused = await client.fails("call.transfer", call_id=call_id, **where)
                assert "link" in refused["message"]


async def test_a_link_that_was_taken_back_is_good_for_nothing() -> None:
    """Not for those who are here by it, either."""
    async with site() as (server, _, http):
        token = await made(http, to="600", uses=0)
        link_id = (await http.get("/api/links")).json()["links"][0]["id"]
        async with rpc(server) as client:
            await client.ok("announce", peer_id="guest-1", token=token)
            assert (await http.delete(f"/api/links/{link_id}")).status_code == 204
            assert (await http.delete(f"/api/links/{link_id}")).status_code == 404
            assert await _calls(client, "600") == "forbidden"
        async with rpc(server) as client:
            assert "error" in await client.request("announce", peer_id="guest-2", token=token)


async def test_a_link_is_good_for_no_longer_than_its_maker_could_make_it() -> None:
    """Not after a demotion, not when the maker is gone, not for whoever has the same id next."""
    store, makers = MemoryStore(), FakeGateway()
    makers.roles = {"alice": "operator"}
    links = links_of(store, Clock(), makers)
    link, token = await links.make("alice", "600", DAY, 0)
    own, own_token = await links.make("alice", "alice", DAY, 1)
    makers.roles = {}
    assert (await links.read(token), await links.take(link)) == (None, None)
    assert (await links.read(own_token), await links.take(own)) == (own, 1)
    makers.roles = {"alice": "operator"}
    assert await links.read(token) == link
    del makers.secrets["alice"]
    assert (await links.read(token), await links.read(own_token), await links.take(link)) == (None, None, None)
    makers.secrets["alice"] = "somebody else"
    assert (await links.read(token), await links.take(link)) == (None, None)
    new, _ = await links.make("alice", "600", DAY, 0)
    await links.forget("alice")
    assert await links.listed() == [(new, 0)]


async def test_users_make_links_to_themselves_and_see_their_own() -> None:
    """Operators make them to whomever they may call, and see all; a token opens no door but the one."""
    async with site() as (server, _, http):
        token = await made(http, to="600")
        async with httpx.AsyncClient(base_url=http.base_url) as bob:
            assert (await bob.get("/api/links")).status_code == 401
            assert (await bob.get("/api/links", headers={"Authorization": f"Bearer {token}"})).status_code == 401
            await _sign_in(bob, "bob", "builder")
            assert (await bob.post("/api/links", json={"to": "600"})).status_code == 403
            answer = await bob.post("/api/links", json={"to": "bob", "uses": 0})
            assert answer.json()["url"].startswith(f"http://127.0.0.1:{server.port}/call#ey")
            assert [link["to"] for link in (await bob.get("/api/links")).json()["links"]] == ["bob"]
            other = (await http.get("/api/links")).json()["links"][0]["id"]
            assert (await bob.delete(f"/api/links/{other}")).status_code == 404
        assert [link["to"] for link in (await http.get("/api/links")).json()["links"]] == ["600", "bob"]
        for wrong in ({"to": ""}, {"to": "6 00"}, {"to": "600", "uses": -1}, {"to": "600", "seconds": 5}, {}):
            assert (await http.post("/api/links", json=wrong)).status_code == 400
