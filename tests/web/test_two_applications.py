"""Two gateways in one process: their routes are the same objects, and nothing else is."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import MagicMock

import httpx
from fastapi.routing import APIRoute, APIWebSocketRoute
from starlette.routing import BaseRoute, Route

from gateway.web.app import WaysIn, WebSettings, create_app
from tests.web.client import client_of
from tests.web.fake import FakeGateway, rpc, running
from tests.web.room_peer import joined


def all_ways() -> WaysIn:
    """Every way in, none of which is used."""
    return WaysIn(sip=lambda *_: MagicMock(), push=MagicMock(), provider=MagicMock(), links=MagicMock())


async def bearer(http: httpx.AsyncClient, user: str, password: str) -> dict[str, str]:
    """Sign in, and return the header that shows it."""
    answer = await http.post("/api/session", json={"user": user, "password": password})
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


def routes_of(ways: WaysIn | None = None) -> list[BaseRoute]:
    """The routes of one more application; FastAPI adds its own to each."""
    return [one for one in create_app(FakeGateway(), ways=ways).routes if getattr(one, "path", "") != "/openapi.json"]


async def test_routes_are_made_once_a_process() -> None:
    """A second application takes the routes of the first; those of SIP belong to one socket gate."""
    first, second = (
        [one for one in routes_of(all_ways()) if isinstance(one, APIRoute | APIWebSocketRoute | Route)] for _ in "12"
    )
    assert list(map(id, first)) == list(map(id, second))
    assert len(first) > 100


async def test_routes_of_absent_ways_are_absent() -> None:
    """404, and no word of them in the description, also beside an application that has them."""
    paths = {"/api/links": "links", "/api/push": "push", "/api/session/oidc": "provider"}
    full = {getattr(one, "path", "") for one in routes_of(all_ways())}
    async with client_of(FakeGateway()) as http:
        described = (await http.get("/openapi.json")).json()["paths"]
        for path in paths:
            assert path in full
            assert path not in described
            assert (await http.get(path)).status_code == 404
    for path, way in paths.items():
        others = routes_of(WaysIn(**{name: MagicMock() for name in paths.values() if name != way}))
        assert full - {getattr(one, "path", "") for one in others} > {path}, path
    assert full & {"/sip", "/ws"}
    assert not {getattr(one, "path", "") for one in routes_of()} & {"/sip", "/ws"}


async def test_each_application_answers_for_its_own_gateway() -> None:
    """Users, calls, sign-ins, audit log and limits of a gateway are never those of another, also at once."""
    gateways = FakeGateway(), FakeGateway()
    limits = WebSettings(max_body=200, allowed_origins=("https://one.example",)), WebSettings(offer_burst=1)
    for number, gateway in enumerate(gateways):
        gateway.active, gateway.roles = number + 1, {"alice": "admin"}
    del gateways[1].secrets["bob"]
    body: dict[str, Any] = {"user": "bob", "password": "builder", "more": "x" * 300}
    async with client_of(gateways[0], limits[0]) as one, client_of(gateways[1], limits[1]) as two:
        health = await asyncio.gather(*(http.get("/healthz") for http in (one, two) * 20))
        assert [answer.json()["active_calls"] for answer in health] == [1, 2] * 20
        admins = [await bearer(http, "alice", "wonder") for http in (one, two)]
        asked = [
            http.get("/api/users", headers=admin) for http, admin in zip((one, two) * 20, admins * 20, strict=True)
        ]
        users = await asyncio.gather(*asked)
        assert [answer.json()["count"] for answer in users] == [2, 1] * 20

        assert [(await http.post("/api/session", json=body)).status_code for http in (one, two)] == [413, 401]
        foreign = {"Origin": "https://one.example"}
        assert [(await http.get("/iceservers", headers=foreign)).status_code for http in (one, two)] == [200, 403]
        token = await bearer(one, "bob", "builder")
        seen = [(await http.get("/webrtc/sessions", headers=token)).status_code for http in (one, two)]
        assert seen == [200, 401]
        answers = [await http.get("/api/audit", headers=admin) for http, admin in zip((one, two), admins, strict=True)]
        logs = [answer.json()["entries"] for answer in answers]
        actions = [{entry["action"] for entry in log if entry["user"] == "bob"} for log in logs]
        assert actions == [{"sign-in"}, {"sign-in refused"}]


async def test_sockets_of_two_applications_never_meet() -> None:
    """Room peers, pages and closed sockets of one gateway are unknown to the other."""
    gateways = FakeGateway(), FakeGateway()
    async with (
        running(gateways[0]) as one,
        running(gateways[1]) as two,
        joined(one, "/webrtc/signaling/team/ann"),
        joined(two, "/webrtc/signaling/team/ben") as ben,
        rpc(one, "alice", token="wonder"),
        rpc(two) as page,
        httpx.AsyncClient() as http,
    ):
        for server, peer in ((one, "ann"), (two, "ben")):
            found = await http.get(f"http://127.0.0.1:{server.port}/webrtc/rooms/team/peers")
            assert found.json()["peers"] == [peer]
        assert [len(gateway.channels.get("alice", ())) for gateway in gateways] == [1, 0]
        one.close_sockets()
        await page.ok("server.info")
        async with joined(two, "/webrtc/signaling/team/cid"):
            assert await ben.next() == {"type": "peer_joined", "peer_id": "cid"}
