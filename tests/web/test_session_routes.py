"""/api/session: the password once, then a cookie that no script reads and tokens that last minutes."""

from __future__ import annotations

from urllib.parse import quote

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from gateway.web.app import WaysIn, WebSettings, create_app
from gateway.web.auth.site import SignInAttempt
from tests.web.client import client_of
from tests.web.fake import FakeGateway, rpc, running

LOGIN = {"user": "alice", "password": "wonder"}


async def test_signing_in_gives_a_token_and_a_cookie_that_only_this_path_gets() -> None:
    """HttpOnly, SameSite=Strict, path-limited; Secure where the page is https."""
    async with client_of(FakeGateway(), WebSettings(public_url="https://phone.example/soft")) as http:
        response = await http.post("/api/session", json=LOGIN)
        assert response.status_code == 200
        assert {**response.json(), "access_token": ""} == {
            "user": "alice",
            "display_name": "",
            "role": "user",
            "access_token": "",
            "expires_in": 300,
        }
        cookie = response.headers["set-cookie"].lower()
        for attribute in ("httponly", "samesite=strict", "path=/soft/api/session", "secure", "max-age=2592000"):
            assert attribute in cookie
        assert response.headers["cache-control"] == "no-store"


async def test_a_wrong_password_is_401_and_guessing_is_slowed() -> None:
    """With Retry-After; a signed token is no password."""
    settings = WebSettings(failure_burst=3, failures_per_second=0.001)
    async with client_of(FakeGateway(), settings) as http:
        codes = [
            (await http.post("/api/session", json={"user": "alice", "password": f"guess{n}"})).status_code
            for n in range(5)
        ]
        assert codes == [401, 401, 401, 503, 503]


async def test_the_cookie_refreshes_and_signing_out_ends_it_and_its_tokens() -> None:
    """At once, for the socket and the API."""
    gateway = FakeGateway()
    async with running(gateway) as server, httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as http:
        assert (await http.post("/api/session/refresh", json={})).status_code == 401
        await http.post("/api/session", json=LOGIN)
        token = (await http.post("/api/session/refresh", json={})).json()["access_token"]
        async with rpc(server, "Alice", token=token) as client:
            assert (await client.ok("list_peers"))["peers"][0]["peer_id"] == "alice"
        assert (await http.delete("/api/session")).status_code == 204
        assert (await http.post("/api/session/refresh", json={})).status_code == 401
        async with rpc(server) as client:
            assert "Authentication" in (await client.fails("announce", peer_id="alice", token=token))["message"]


async def test_a_token_speaks_for_its_own_user_only() -> None:
    """Alice's cannot announce bob."""
    async with running(FakeGateway()) as server, httpx.AsyncClient() as http:
        signed_in = await http.post(f"http://127.0.0.1:{server.port}/api/session", json=LOGIN)
        token = signed_in.json()["access_token"]
        async with rpc(server) as client:
            assert "error" in await client.request("announce", peer_id="bob", token=token)


async def test_a_foreign_page_can_neither_sign_in_nor_refresh() -> None:
    """403 before anything is looked at (CSRF)."""
    async with client_of(FakeGateway()) as http:
        evil = {"Origin": "https://evil.example"}
        assert (await http.post("/api/session", json=LOGIN, headers=evil)).status_code == 403
        assert (await http.post("/api/session/refresh", json={}, headers=evil)).status_code == 403
        assert (await http.delete("/api/session", headers=evil)).status_code == 403


async def test_rooms_need_a_sign_in_unless_they_are_open() -> None:
    """Lists, and sockets by Authorization or by the subprotocols that browsers can send; nothing in the address."""
    closed = WebSettings(open_rooms=False)
    gateway = FakeGateway()
    async with (
        running(gateway, closed) as server,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as http,
    ):
        for path in ("/webrtc/rooms", "/webrtc/rooms/r/peers", "/rtc/stats"):
            assert (await http.get(path)).status_code == 401
            assert (await http.get(path, headers={"Authorization": "Bearer alice:wonder"})).status_code == 200
        token = (await http.post("/api/session", json=LOGIN)).json()["access_token"]
        url = f"ws://127.0.0.1:{server.port}"
        for path in ("/webrtc/signaling/r/p", "/rtc/signal"):
            with pytest.raises(InvalidStatus) as refused:
                await connect(url + path).__aenter__()
            assert refused.value.response.status_code == 401
            protocols = [Subprotocol("bearer"), Subprotocol(token)]
            async with connect(url + path, subprotocols=protocols) as socket:
                assert socket.subprotocol == "bearer"
            async with connect(url + path, additional_headers={"Authorization": f"Bearer {token}"}):
                pass


@pytest.mark.parametrize("are_open", [True, False])
async def test_a_peer_of_a_room_goes_by_nobody_elses_id(are_open: bool) -> None:
    """Neither a user's, nor one that looks like it or like staff's; the user alone has its own."""
    settings = WebSettings(open_rooms=are_open, staff_names=("operator",))
    async with running(FakeGateway(), settings) as server:

        async def status(peer: str, user: str) -> int:
            headers = {"Authorization": f"Bearer {user}"} if user else {}
            url = f"ws://127.0.0.1:{server.port}/webrtc/signaling/r/{quote(peer)}"
            try:
                async with connect(url, additional_headers=headers):
                    return 101
            except InvalidStatus as refused:
                return refused.response.status_code

        for peer in ("alice", "ALICE", "a1ice", "\u0430lice", "operator-2", "remotemedia-server"):
            assert await status(peer, "bob:builder") == 401
            assert await status(peer, "") == 401
        assert await status("alice", "alice:wonder") == 101
        assert await status("peer-1", "bob:builder") == 101
        assert await status("42", "") == (101 if are_open else 401)


async def test_a_name_that_was_refused_turns_no_line_of_the_audit_log() -> None:
    """Operators read it with its hidden characters escaped."""
    gateway = FakeGateway()
    gateway.roles = {"alice": "admin"}
    async with client_of(gateway) as http:
        await http.post("/api/session", json={"user": "ali\u202eecila\u200b", "password": "guess"})
        token = (await http.post("/api/session", json=LOGIN)).json()["access_token"]
        entries = (await http.get("/api/audit", headers={"Authorization": f"Bearer {token}"})).json()["entries"]
    assert [one["user"] for one in entries] == ["alice", "ali\\u202eecila\\u200b"]


async def test_who_a_site_does_not_know_has_not_guessed_a_password() -> None:
    """Pages ask it unasked: that neither bars the address nor fills the audit log; it has a limit of its own."""

    async def site(_: SignInAttempt) -> str | None:
        return None

    gateway = FakeGateway()
    gateway.roles = {"alice": "admin"}
    app = create_app(gateway, WebSettings(failure_burst=3, failures_per_second=1e-6), WaysIn(site=site))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway.example") as http:
        found = [(await http.post("/api/session/site", json={})).status_code for _ in range(5)]
        assert found == [401, 401, 401, 503, 503]
        signed_in = await http.post("/api/session", json=LOGIN)
        assert signed_in.status_code == 200
        bearer = {"Authorization": f"Bearer {signed_in.json()['access_token']}"}
        log = await http.get("/api/audit", headers=bearer)
        assert "sign-in refused" not in log.text
        assert "sign-in" in log.text


async def test_a_site_signs_people_in_by_its_own_means() -> None:
    """Where our passwords let nobody in: by what was typed, or by a header alone; who it names must be a user."""
    asked: list[SignInAttempt] = []

    async def site(attempt: SignInAttempt) -> str | None:
        asked.append(attempt)
        if attempt.headers.get("X-Staff") == "broken":
            raise RuntimeError("the site's database is away")
        known = {"42": "bob", "43": "nobody", "44": "BOB"}
        return "alice" if attempt.password == "card" else known.get(attempt.headers.get("x-staff", ""))

    app = create_app(FakeGateway(), WebSettings(failure_burst=100), WaysIn(site=site))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway.example") as http:
        assert (await http.get("/api/session/ways")).json()["site"] is True
        assert (await http.post("/api/session", json=LOGIN)).json()["user"] == "alice"
        assert asked == []
        assert (await http.post("/api/session", json=LOGIN | {"password": "card"})).json()["user"] == "alice"
        assert (asked[0].user, "card" in repr(asked[0])) == ("alice", False)
        for header, status in (("42", 200), ("41", 401), ("43", 401), ("44", 401), ("broken", 401)):
            http.cookies.clear()
            answer = await http.post("/api/session/site", json={}, headers={"X-Staff": header})
            assert answer.status_code == status
            assert ("gateway_session" in http.cookies) is (status == 200)
    async with client_of(FakeGateway()) as http:
        assert (await http.post("/api/session/site", json={})).status_code == 401
