"""The sessions of the HTTP API: listed and ended by their owner, 408 when the media never came, ICE servers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from fastapi import Request

from gateway.app.settings import web
from gateway.call.status import Cause
from gateway.config import load
from gateway.web.app import WebSettings, create_app
from gateway.web.auth.authenticator import Authenticator
from gateway.web.facade import GUEST, LeftCall
from gateway.web.http.ice_service import IceService
from gateway.web.http.sdp_api import SdpApi
from gateway.web.http.sessions import SessionTable
from tests.rows import by_row
from tests.web.client import OFFER, client_of
from tests.web.fake import FakeCall, FakeGateway, running

ALICE = {"Authorization": "Bearer alice:wonder"}
BOB = {"Authorization": "Bearer bob:builder"}


async def test_sessions_are_listed_for_their_owner_and_for_operators() -> None:
    """Without a sign-in 401; guests' sessions are nobody's list but the operators'."""
    gateway = FakeGateway()
    async with client_of(gateway) as http:
        await http.post("/webrtc/offer", json={**OFFER, "session_id": "a", "metadata": {"n": 1}}, headers=ALICE)
        await http.post("/webrtc/offer", json={**OFFER, "session_id": "g", "to": "601"})
        gateway.calls[0].channel.answered(gateway.calls[0], None)
        refused = await http.get("/webrtc/sessions")
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
        mine = (await http.get("/webrtc/sessions", headers=ALICE)).json()
        assert mine["count"] == 1
        assert {**mine["sessions"][0], "created_at": 0} == {
            "session_id": "a",
            "to": "600",
            "user": "alice",
            "state": "answered",
            "created_at": 0,
            "metadata": {"n": 1},
        }
        assert (await http.get("/webrtc/sessions", headers=BOB)).json()["count"] == 0
        gateway.roles["bob"] = "operator"
        signed_in = await http.post("/api/session", json={"user": "bob", "password": "builder"})
        operator = {"Authorization": f"Bearer {signed_in.json()['access_token']}"}
        listed = (await http.get("/webrtc/sessions", headers=operator)).json()
        assert [session["session_id"] for session in listed["sessions"]] == ["a", "g"]


async def test_a_session_is_ended_by_its_owner_alone() -> None:
    """DELETE /webrtc/sessions/{id}: 401, 403, 404 as for close."""
    gateway = FakeGateway()
    async with client_of(gateway) as http:
        await http.post("/webrtc/offer", json={**OFFER, "session_id": "a"}, headers=ALICE)
        assert (await http.delete("/webrtc/sessions/a")).status_code == 401
        assert (await http.delete("/webrtc/sessions/a", headers=BOB)).status_code == 403
        ended = await http.delete("/webrtc/sessions/a", headers=ALICE)
        assert ended.json() == {"session_id": "a", "status": "closed"}
        await gateway.calls[0].happens("hangup", Cause.NORMAL)
        gone = await http.delete("/webrtc/sessions/a", headers=ALICE)
        assert (gone.status_code, gone.json()["error"]) == (404, "Session not found")


async def test_a_session_whose_media_never_came_is_408() -> None:
    """Not 404: the client is told that it, and not the id, was the trouble."""
    gateway = FakeGateway()
    async with client_of(gateway) as http:
        await http.post("/webrtc/offer", json={**OFFER, "session_id": "a"})
        gateway.calls[0].channel.ended(gateway.calls[0], Cause.MEDIA_FAILED)
        response = await http.post("/webrtc/close", json={"session_id": "a"})
        assert response.status_code == 408
        assert response.json() == {
            "error": "The session's media did not connect in time",
            "code": 408,
            "session_id": "a",
            "cause": "media-failed",
        }
        await http.post("/webrtc/offer", json={**OFFER, "session_id": "a"})
        assert (await http.post("/webrtc/close", json={"session_id": "a"})).status_code == 200


async def test_a_session_that_lost_its_media_was_connected() -> None:
    """It has ended as any other: 404, and the words say what happened."""
    gateway = FakeGateway()
    async with client_of(gateway) as http:
        await http.post("/webrtc/offer", json={**OFFER, "session_id": "a"})
        call = gateway.calls[0]
        call.channel.connected(call)
        call.channel.ended(call, Cause.MEDIA_FAILED)
        assert (await http.post("/webrtc/close", json={"session_id": "a"})).status_code == 404
        ended = {"state": "ended", "cause": "media-timeout", "reason": "The audio connection was lost."}
        assert (await http.get("/webrtc/sessions/a")).json() == {"session_id": "a"} | ended


async def test_that_a_session_never_connected_is_told_to_its_owner_alone() -> None:
    """As what it is at."""
    gateway = FakeGateway()
    async with client_of(gateway) as http:
        await http.post("/webrtc/offer", json={**OFFER, "session_id": "a"}, headers=ALICE)
        gateway.calls[0].channel.ended(gateway.calls[0], Cause.MEDIA_FAILED)
        for headers, status in ((None, 401), (BOB, 403), (ALICE, 408)):
            assert (await http.post("/webrtc/close", json={"session_id": "a"}, headers=headers)).status_code == status
            assert (await http.delete("/webrtc/sessions/a", headers=headers)).status_code == status


async def test_what_a_session_is_at_is_told_when_it_changes() -> None:
    """Also of one that ended lately, with why; for its owner alone, and a guest's by its id."""
    gateway = FakeGateway()
    async with client_of(gateway) as http, asyncio.timeout(30):

        async def state(name: str, headers: dict[str, str] | None = None, **query: Any) -> tuple[int, dict[str, Any]]:
            answer = await http.get(f"/webrtc/sessions/{name}", headers=headers, params=query)
            return answer.status_code, answer.json()

        for name, headers in (("a", ALICE), ("g", {})):
            await http.post("/webrtc/offer", json={**OFFER, "session_id": name}, headers=headers)
        call = gateway.calls[0]
        assert await state("a", ALICE) == (200, {"session_id": "a", "state": "calling"})
        assert (await state("a"))[0] == 401
        assert (await state("a", BOB))[0] == 403
        for now, then in (("calling", "ringing"), ("ringing", "answered")):
            assert (await state("a", ALICE, **{"while": now, "seconds": 0}))[1]["state"] == now
            waiting = [asyncio.create_task(state("a", ALICE, **{"while": now, "seconds": 60})) for _ in range(2)]
            await asyncio.sleep(0)
            getattr(call.channel, then)(call, None)
            assert await asyncio.gather(*waiting) == [(200, {"session_id": "a", "state": then})] * 2
        waiting = [asyncio.create_task(state("a", ALICE, **{"while": "answered", "seconds": 60}))]
        await asyncio.sleep(0)
        call.channel.ended(call, Cause.LOST)
        ended = {"session_id": "a", "state": "ended", "cause": "lost", "reason": Cause.LOST.sentence}
        assert await waiting[0] == await state("a", ALICE, **{"while": "answered", "seconds": 60}) == (200, ended)
        assert (await state("a"))[0] == 401
        assert (await state("a", BOB))[0] == 403
        assert (await state("g"))[1]["state"] == "calling"
        await http.delete("/webrtc/sessions/g")
        assert (await state("g"))[1]["cause"] == "normal"
        for name in ("none", "x" * 200, "%00"):
            assert (await state(name))[0] == 404
        for wrong in ({"while": "ended"}, {"seconds": 61}, {"seconds": "nan"}, {"seconds": -1}):
            assert (await state("a", ALICE, **wrong))[0] == 400


async def test_a_session_of_the_process_before_goes_on_for_its_owner_alone() -> None:
    """It is listed, asked for and ended as any other; what ended says why; one that cannot be read costs no other."""
    gateway = FakeGateway()
    calls = {name: FakeCall(name, cast(Any, None)) for name in ("a", "g", "over", "odd")}
    kept: dict[str, Any] = {name: {"id": name, "owner": None, "created_at": time.time() - 10} for name in calls}
    kept["a"]["owner"], kept["odd"] = "alice", {"id": "odd"}
    for name, call in calls.items():
        left = LeftCall(user="x", call=call, peer_id="601", name="", outgoing=True, session=kept[name])
        left.cause = Cause.ERROR if name == "over" else None
        gateway.sessions.append(left)
    async with client_of(gateway) as http:
        for name in ("a", "g"):
            assert calls[name].log == [("returned", None)]
        [listed] = (await http.get("/webrtc/sessions", headers=ALICE)).json()["sessions"]
        assert [listed[name] for name in ("session_id", "to", "user", "state")] == ["a", "601", "alice", "answered"]
        assert listed["created_at"] == kept["a"]["created_at"]
        told = [(await http.get(f"/webrtc/sessions/{name}")).status_code for name in ("g", "a", "odd")]
        assert told == [200, 401, 404]
        assert (await http.get("/webrtc/sessions/over")).json()["cause"] == "error"
        assert (await http.delete("/webrtc/sessions/a", headers=BOB)).status_code == 403
        assert (await http.delete("/webrtc/sessions/a", headers=ALICE)).status_code == 200
        await calls["a"].happens("hangup", Cause.NORMAL)
        calls["g"].returned_to.ended(calls["g"], Cause.MEDIA_FAILED)
        assert (await http.get("/webrtc/sessions/g")).json()["cause"] == "media-timeout"


async def test_a_session_of_a_gateway_that_is_gone_comes_while_others_are_live() -> None:
    """It is asked for like any other; one whose id a live session has goes on until its lifetime ends."""
    gateway = FakeGateway()
    async with client_of(gateway, WebSettings(session_lifetime=100)) as http:
        await http.post("/webrtc/offer", json={**OFFER, "session_id": "same"})
        [live] = gateway.calls
        for name, owner, age in (("new", "alice", 10.0), ("same", "bob", 99.95)):
            call = FakeCall(name, cast(Any, None))
            session = {"id": name, "owner": owner, "created_at": time.time()}
            gateway.take_session(
                LeftCall(user="x", call=call, peer_id="1", name="", outgoing=True, age=age, session=session)
            )
            assert call.log == [("returned", None)]
        assert (await http.get("/webrtc/sessions/new", headers=ALICE)).json()["state"] == "answered"
        await call.happens("hangup", Cause.NORMAL)
        assert (await http.delete("/webrtc/sessions/same")).status_code == 200
        await live.happens("hangup", Cause.NORMAL)


@by_row("set_by", [0.0, 86_400.0, -86_400.0])
async def test_a_session_ends_after_its_lifetime_though_the_gateway_has_started_anew(set_by: float) -> None:
    """It counts from when it was made, whoever set the clock meanwhile."""
    gateway, old, new = FakeGateway(), FakeCall("old", cast(Any, None)), FakeCall("new", cast(Any, None))
    for call, age in ((old, 100.0), (new, 50.0)):
        session = {"id": call.id, "owner": None, "created_at": time.time() - age - set_by}
        left = LeftCall(user="x", call=call, peer_id="1", name="", outgoing=True, age=age, session=session)
        gateway.sessions.append(left)
    async with client_of(gateway, WebSettings(session_lifetime=100)) as http:
        await old.happens("hangup", Cause.NORMAL)
        assert (await http.get("/webrtc/sessions/new")).json()["state"] == "answered"


async def test_who_has_gone_waits_no_more_for_what_a_session_is_at() -> None:
    """A poll that was given up leaves nothing behind."""

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    api = SdpApi(FakeGateway(), cast(Any, None), WebSettings())
    api.sessions.open("a", None, "600")
    async with asyncio.timeout(30):
        found = await api.state("a", "calling", 3_600, Request({"type": "http", "headers": []}, receive))
    assert found == {"session_id": "a", "state": "calling"}


async def test_ends_are_remembered_of_the_last_thousand_sessions() -> None:
    """And not of one whose id another one has now."""
    gateway = FakeGateway()
    table = SessionTable(WebSettings())
    for number in range(1_001):
        table.open(str(number), None, "600").close(Cause.BUSY)
    assert (table.ended("0"), table.ended("1")) == (None, (None, Cause.BUSY))
    first = table.open("x", "alice", "600")
    first.close(Cause.BUSY)
    second = table.open("x", "bob", "600")
    assert table.ended("x") is None
    first.close(Cause.LOST)
    assert table.get("x") is second
    assert gateway.calls == []


async def test_a_client_that_waits_and_goes_leaves_nothing() -> None:
    """Its wait ends with its connection, not with the time it asked for."""
    async with running(FakeGateway()) as server, asyncio.timeout(30):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as http:
            await http.post("/webrtc/offer", json={**OFFER, "session_id": "s"})
            waiting = asyncio.create_task(http.get("/webrtc/sessions/s?while=calling&seconds=60", timeout=60))
            while not _watching():  # noqa: ASYNC110  # only asking tells
                await asyncio.sleep(0.01)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        while _watching():  # noqa: ASYNC110  # only asking tells
            await asyncio.sleep(0.01)


def _watching() -> bool:
    """Whether a request waits for its client's going."""
    return any("_client_gone" in repr(task.get_coro()) for task in asyncio.all_tasks())


@contextlib.contextmanager
def ice_service(status: int, answer: object) -> Iterator[tuple[str, list[dict[str, list[str]]]]]:
    """A service on loopback, and what it was asked."""
    asked: list[dict[str, list[str]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(parse_qs(urlsplit(self.path).query))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *arguments: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/api/iceservers", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def test_a_token_has_the_service_asked_for_ice_servers() -> None:
    """With the client's address; without a token it is not asked."""
    servers = [
        {"urls": "stun:s.example", "secret": "dropped"},
        {"urls": ["turn:t"], "username": "u", "credential": "c"},
    ]
    with ice_service(200, servers) as (url, asked):
        async with client_of(FakeGateway(), WebSettings(ice_service=url, ice_service_token="secret")) as http:
            assert (await http.get("/iceservers")).json() == [
                {"urls": ["stun:s.example"]},
                {"urls": ["turn:t"], "username": "u", "credential": "c"},
            ]
        assert asked == [{"token": ["secret"], "client": ["127.0.0.1"]}]
        async with client_of(FakeGateway(), WebSettings(ice_service=url)) as http:
            assert (await http.get("/iceservers")).json()[0] == {"urls": ["stun:stun.example.com:3478"]}
        assert len(asked) == 1


async def test_the_threads_of_the_service_end_with_the_application() -> None:
    """One that was asked leaves none behind, and is asked no more."""
    with ice_service(200, [{"urls": "stun:s.example"}]) as (url, asked):
        before = set(threading.enumerate())
        app = create_app(FakeGateway(), WebSettings(ice_service=url, ice_service_token="secret"))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as http:
            assert (await http.get("/iceservers")).json() == [{"urls": ["stun:s.example"]}]
            mine = [one for one in set(threading.enumerate()) - before if one.name.startswith("ice-service")]
            assert mine
            app.state.close_sockets()
            for one in mine:
                await asyncio.to_thread(one.join, 30)
            assert not any(one.is_alive() for one in mine)
            assert len(asked) == 1


@by_row(("status", "answer"), [(500, []), (200, {}), (200, [7]), (200, [{"urls": "http://x"}]), (200, [{"urls": []}])])
async def test_a_service_that_fails_leaves_the_configured_servers(status: int, answer: object) -> None:
    """Never an error for the browser."""
    with ice_service(status, answer) as (url, _):
        async with client_of(FakeGateway(), WebSettings(ice_service=url, ice_service_token="secret")) as http:
            assert (await http.get("/iceservers")).json()[0] == {"urls": ["stun:stun.example.com:3478"]}


@by_row("header", [None, "Bearer alice:wrong", "Bearer no-such-link"])
async def test_who_may_not_call_costs_nothing_at_the_service(header: str | None) -> None:
    """Where there are no guests: nobody's relays for strangers and wrong passwords, nor for guesses too many."""
    gateway = FakeGateway()
    gateway.guests_allowed = False
    with ice_service(200, [{"urls": ["turn:t"], "username": "u", "credential": "c"}]) as (url, asked):
        settings = WebSettings(ice_service=url, ice_service_token="secret", failure_burst=1, failures_per_second=0.001)
        async with client_of(gateway, settings) as http:
            told = (await http.get("/iceservers", headers={"Authorization": header} if header else {})).json()
            assert told == gateway.ice_servers("", None)
            known = (await http.get("/iceservers", headers={"Authorization": "Bearer alice:wonder"})).json()
            assert ("credential" in str(known)) == (header is None), "a guess is counted here, too"
        assert len(asked) == (header is None)


async def test_one_answer_of_the_service_holds_for_a_while() -> None:
    """For the same caller from the same address; another one has its own, and a failure is soon asked about again."""
    now = 0.0
    with ice_service(200, [{"urls": ["turn:t"]}]) as (url, asked):
        gateway, settings = FakeGateway(), WebSettings(ice_service=url, ice_service_token="s", ice_service_kept=30.0)
        ice = IceService(gateway, Authenticator(gateway, settings), settings, lambda: now)
        told = await asyncio.gather(*(ice.servers(_request("Bearer alice:wonder")) for _ in range(20)))
        assert told == [[{"urls": ["turn:t"]}]] * 20
        assert len(asked) == 1
        await ice.servers(_request(None))
        assert len(asked) == 2
        now = 29.0
        await ice.servers(_request("Bearer alice:wonder"))
        assert len(asked) == 2
        now = 31.0
        await ice.servers(_request("Bearer alice:wonder"))
        assert len(asked) == 3


async def test_a_service_that_hangs_holds_no_thread_of_others_and_no_crowd(monkeypatch: pytest.MonkeyPatch) -> None:
    """What else waits for a thread gets one; beyond some that wait, the configured servers are told at once."""
    monkeypatch.setattr("gateway.web.http.ice_service._MOST_ASKED", 1)
    came, go = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    class Hanging(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            loop.call_soon_threadsafe(came.set)
            go.wait(60)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'[{"urls": "turn:t"}]')

        def log_message(self, *arguments: object) -> None: ...

    loop.set_default_executor(ThreadPoolExecutor(1))
    server = HTTPServer(("127.0.0.1", 0), Hanging)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        settings = WebSettings(
            ice_service=f"http://127.0.0.1:{server.server_port}/", ice_service_token="s", ice_service_timeout=60.0
        )
        gateway = FakeGateway()
        ice = IceService(gateway, Authenticator(gateway, settings), settings)
        gone, waits = (asyncio.ensure_future(ice.servers(_request("Bearer alice:wonder"))) for _ in range(2))
        await asyncio.wait_for(came.wait(), 30)
        await asyncio.wait_for(asyncio.to_thread(lambda: None), 30)
        assert await asyncio.wait_for(ice.servers(_request(None)), 30) == gateway.ice_servers("", GUEST)
        assert not waits.done()
        gone.cancel()
        go.set()
        assert await asyncio.wait_for(waits, 30) == [{"urls": ["turn:t"]}]
        await asyncio.gather(gone, return_exceptions=True)
    finally:
        go.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _request(header: str | None) -> Request:
    headers = [(b"authorization", header.encode())] if header else []
    return Request({"type": "http", "headers": headers, "client": ("192.0.2.7", 1)})


def test_the_guides_own_variables_are_read() -> None:
    """STUN_SERVER and RESTSEND_TOKEN, and the keys of its [webrtc] table; a key's own variable wins."""
    config = load(
        None,
        {
            "STUN_SERVER": "stun:one.example:3478",
            "RESTSEND_TOKEN": "tok",
            "GATEWAY_WEBRTC__TURN_SERVER": "turn:two.example",
            "GATEWAY_WEBRTC__TURN_USERNAME": "u",
            "GATEWAY_WEBRTC__TURN_CREDENTIAL": "c",
        },
    )
    servers = config.webrtc.ice_servers
    assert [(server.urls, server.username) for server in servers] == [
        (("stun:one.example:3478",), None),
        (("turn:two.example",), "u"),
    ]
    assert web(config).ice_service_token == "tok"
    both = {"STUN_SERVER": "stun:one.example", "GATEWAY_WEBRTC__STUN_SERVER": "stun:three.example"}
    assert load(None, both).webrtc.stun_server == "stun:three.example"
