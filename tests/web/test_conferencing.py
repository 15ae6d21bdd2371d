"""Rooms and recordings over JSON-RPC and /api: who asks is passed on, and what is refused is said."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.call.status import Cause
from gateway.identity.model import User
from gateway.web.conferencing import RefusedError
from tests.rows import by_row
from tests.web.client import OFFER, client_of
from tests.web.fake import FakeGateway, rpc, running


async def test_a_user_sees_watches_and_changes_a_room() -> None:
    """Every `room.*` method in the user's name; events come as `room`, and end with `room.unwatch` and the socket."""
    gateway = FakeGateway()
    rooms = gateway.conferencing
    async with running(gateway) as server, rpc(server, "alice", token="wonder") as client:
        assert (await client.ok("room.list"))["rooms"][0]["name"] == "team"
        assert (await client.ok("room.members", room="team"))["members"][0]["user"] == "alice"
        assert (await client.ok("room.watch", room="team"))["speaker"] == "1"
        await client.ok("room.watch", room="team")
        assert len(rooms.watchers) == 1
        rooms.watchers[0]({"event": "joined", "room": "team", "member": {"id": "2"}})
        assert (await client.notified("room"))["event"] == "joined"
        await client.ok("room.unwatch", room="team")
        await client.ok("room.unwatch", room="team")
        assert rooms.watchers == []
        for action in ("mute", "unmute", "kick"):
            assert await client.ok(f"room.{action}", room="team", member="2") == {"room": "team", "member": "2"}
        for action in ("lock", "unlock", "record", "stop_recording"):
            assert await client.ok(f"room.{action}", room="team") == {"room": "team"}
        done = [each[3:] for each in rooms.asked if each[0] == "change"]
        assert done[:4] == [("mute", "2"), ("unmute", "2"), ("kick", "2"), ("lock", "")]
        assert [each[0] for each in done[4:]] == ["unlock", "record", "stop-recording"]
        assert (await client.fails("room.mute", room="team"))["code"] == -32602
        await client.ok("room.watch", room="team")
    assert rooms.watchers == []


async def test_calls_are_recorded_and_merged() -> None:
    """call.record begins and ends; call.merge says what to dial."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server, "alice", token="wonder") as client:
        assert await client.ok("call.record", call_id="c") == {"call_id": "c", "recording": True}
        assert await client.ok("call.record", call_id="c", on=False) == {"call_id": "c", "recording": False}
        assert (await client.fails("call.record", call_id="c", on="yes"))["code"] == -32602
        assert await client.ok("call.rights") == {"record": True, "voicemail": True}
        assert await client.ok("call.merge", call_ids=["a", "b"]) == {"room": "room-1", "to_peer_id": "room-1"}
        assert gateway.conferencing.asked == [
            *(("record", "alice", "c", True), ("record", "alice", "c", False), ("rights", "alice")),
            ("merge", "alice", "a", "b"),
        ]


async def test_guests_have_no_rooms_and_what_is_refused_is_said() -> None:
    """The sentence and HTTP's status are in the error."""
    gateway = FakeGateway()
    async with running(gateway) as server, rpc(server, "ann") as guest:
        for method, params in (("room.list", {}), ("call.rights", {}), ("call.record", {"call_id": "c"})):
            assert "Authentication" in (await guest.fails(method, **params))["message"]
        assert gateway.conferencing.asked == []
        gateway.conferencing.refusal = RefusedError("no such room", 404)
        async with rpc(server, "alice", token="wonder") as client:
            asked: list[tuple[str, dict[str, Any]]] = [
                *(("room.members", {"room": "x"}), ("room.watch", {"room": "x"}), ("room.lock", {"room": "x"})),
                *(("call.record", {"call_id": "c"}), ("call.merge", {"call_ids": ["a"]})),
            ]
            for method, params in asked:
                error = await client.fails(method, **params)
                assert (error["message"], error["data"]["status"]) == ("no such room", 404)


@by_row(
    ("method", "path", "body", "asked"),
    [
        ("GET", "/api/rooms", None, ("list", "alice")),
        ("GET", "/api/rooms/team", None, ("members", "alice", "team")),
        ("POST", "/api/rooms/team", {"action": "mute", "member": "2"}, ("change", "alice", "team", "mute", "2")),
        ("PUT", "/api/calls/c/recording", {}, ("record", "alice", "c", True)),
        ("DELETE", "/api/calls/c/recording", None, ("record", "alice", "c", False)),
        ("POST", "/api/calls/c/transfer", {"to": "1002"}, ("transfer", "alice", "c", "1002", None)),
        ("POST", "/api/calls/c/transfer", {"to": "b", "party": "p"}, ("transfer", "alice", "c", "b", "p")),
        ("GET", "/api/recordings", None, ("recordings",)),
        ("GET", "/api/recordings/a.wav", None, ("recording", "a.wav")),
        ("DELETE", "/api/recordings/a.wav", None, ("remove", "a.wav")),
        ("GET", "/api/voicemail", None, ("voicemail", "alice")),
        ("GET", "/api/voicemail/a.wav", None, ("message", "alice", "a.wav")),
        ("DELETE", "/api/voicemail/a.wav", None, ("remove message", "alice", "a.wav")),
    ],
)
async def test_the_api_asks_in_the_name_of_who_is_signed_in(
    method: str, path: str, body: dict[str, str] | None, asked: tuple[Any, ...], tmp_path: Path
) -> None:
    """401 for nobody, the refusal's status where it is refused; a recording comes as its file."""
    gateway = FakeGateway()
    gateway.roles = {"alice": "admin"}
    gateway.conferencing.folder = tmp_path
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    async with client_of(gateway) as http:
        assert (await http.request(method, path, json=body)).status_code == 401
        signed_in = await http.post("/api/session", json={"user": "alice", "password": "wonder"})
        bearer = {"Authorization": f"Bearer {signed_in.json()['access_token']}"}
        answer = await http.request(method, path, json=body, headers=bearer)
        assert answer.status_code in (200, 204)
        assert gateway.conferencing.asked == [asked]
        if path.endswith("a.wav") and method == "GET":
            assert (answer.content, answer.headers["content-type"]) == (b"RIFF", "audio/wav")
        gateway.conferencing.refusal = RefusedError("not now", 409)
        if path not in ("/api/rooms", "/api/recordings", "/api/voicemail") or method == "POST":
            refused = await http.request(method, path, json=body, headers=bearer)
            assert (refused.status_code, refused.json()["error"]) == (409, "not now")


async def test_nothing_that_is_told_of_a_room_or_a_call_is_left_out() -> None:
    """Whom a member sees, and what was typed in a call: the answers are whole."""
    gateway = FakeGateway()
    gateway.roles = {"alice": "operator"}
    async with client_of(gateway) as http:
        signed_in = await http.post("/api/session", json={"user": "alice", "password": "wonder"})
        bearer = {"Authorization": f"Bearer {signed_in.json()['access_token']}"}
        room = (await http.get("/api/rooms/team", headers=bearer)).json()
        assert room == gateway.conferencing.room_members(User("alice"), "team")
        assert (await http.post("/webrtc/offer", json=OFFER)).status_code == 200
        [shown] = gateway.list_calls()
        call = (await http.get(f"/api/calls/{shown['id']}", headers=bearer)).json()
        told = await gateway.call_details(shown["id"])
        assert told is not None
        assert [one["text"] for one in call["media"]] == [one["text"] for one in told["media"]]


@by_row(
    ("cause", "status"),
    [
        (Cause.BUSY, 486),
        (Cause.DECLINED, 403),
        (Cause.GLARE, 409),
        (Cause.CANCELLED, 409),
        (Cause.OVERLOADED, 503),
        (Cause.ERROR, 500),
        (Cause.PEER_ERROR, 502),
    ],
)
async def test_what_became_of_a_transfer_has_a_status_of_http_and_is_in_the_audit_log(
    cause: Cause, status: int
) -> None:
    """With the cause's sentence; who is no operator is not heard."""
    gateway = FakeGateway()
    gateway.roles = {"alice": "admin"}
    gateway.conferencing.refusal = RefusedError(cause.sentence, cause.status)
    async with client_of(gateway) as http:
        signed_in = await http.post("/api/session", json={"user": "alice", "password": "wonder"})
        bearer = {"Authorization": f"Bearer {signed_in.json()['access_token']}"}
        refused = await http.post("/api/calls/c/transfer", json={"to": "1002"}, headers=bearer)
        assert (refused.status_code, refused.json()["error"]) == (status, cause.sentence)
        log = (await http.get("/api/audit", headers=bearer)).json()["entries"][0]
        assert (log["action"], log["call"], log["to"]) == ("call not transferred", "c", "1002")
        bob = {"Authorization": "Bearer bob:builder"}
        assert (await http.post("/api/calls/c/transfer", json={"to": "1002"}, headers=bob)).status_code == 403
        gateway.conferencing.refusal = None
        assert (await http.post("/api/calls/d/transfer", json={"to": "1001"}, headers=bearer)).status_code == 204
        log = (await http.get("/api/audit", headers=bearer)).json()["entries"][0]
        assert [log[each] for each in ("action", "user", "call", "to")] == ["call transferred", "alice", "d", "1001"]


@pytest.mark.parametrize("path", ["/api/recordings", "/api/recordings/a.wav"])
async def test_recordings_are_not_for_everybody(path: str) -> None:
    """403 for a plain user."""
    async with client_of(FakeGateway()) as http:
        bearer = {"Authorization": "Bearer alice:wonder"}
        assert (await http.get(path, headers=bearer)).status_code == 403


@by_row(
    ("method", "path", "body", "asked"),
    [
        ("POST", "/api/rooms", {}, ("open", "alice", "", None, None)),
        ("POST", "/api/rooms", {"title": " A ", "number": "8001", "pin": ""}, ("open", "alice", "A", "8001", "")),
        ("PATCH", "/api/rooms/8000", {"title": "B"}, ("change", "alice", "8000", "B", None)),
        ("PATCH", "/api/rooms/8000", {"pin": ""}, ("change", "alice", "8000", None, "")),
        ("DELETE", "/api/rooms/8000", None, ("close", "alice", "8000")),
    ],
)
async def test_rooms_are_opened_changed_and_ended_over_the_api(
    method: str, path: str, body: dict[str, str] | None, asked: tuple[Any, ...]
) -> None:
    """In the name of who is signed in; the audit log says it, and never the PIN."""
    gateway = FakeGateway()
    gateway.roles = {"alice": "admin"}
    personal = gateway.conferencing.personal
    async with client_of(gateway) as http:
        assert (await http.request(method, path, json=body)).status_code == 401
        signed_in = await http.post("/api/session", json={"user": "alice", "password": "wonder"})
        bearer = {"Authorization": f"Bearer {signed_in.json()['access_token']}"}
        answer = await http.request(method, path, json=body, headers=bearer)
        assert answer.status_code in (200, 201, 204), answer.text
        if answer.content:  # it has the PIN
            assert answer.headers["cache-control"] == "no-store"
        assert personal.asked == [asked]
        log = (await http.get("/api/audit", headers=bearer)).json()["entries"]
        assert log[0]["action"] in ("room opened", "room changed", "room closed")
        assert "471147" not in str(log)
        personal.refusal = RefusedError("not now", 409)
        refused = await http.request(method, path, json=body, headers=bearer)
        assert (refused.status_code, refused.json()["error"]) == (409, "not now")


@by_row(
    "body",
    [
        {"title": "x" * 65},
        {"title": "a\nb"},
        {"number": "80a"},
        {"number": ""},
        {"pin": "1" * 17},
        {"pin": 1},
        {"x": 1},
    ],
)
async def test_malformed_rooms_are_refused_before_anybody_is_asked(body: dict[str, Any]) -> None:
    """400, by HTTP and by JSON-RPC (where a number that is none is for the rooms to refuse)."""
    gateway = FakeGateway()
    async with client_of(gateway) as http:
        answer = await http.post("/api/rooms", json=body, headers={"Authorization": "Bearer alice:wonder"})
        assert answer.status_code == 400
        assert "items" not in answer.json()["error"]  # a title has characters
    if next(iter(body)) in ("title", "pin"):
        async with running(gateway) as server, rpc(server, "alice", token="wonder") as client:
            assert (await client.fails("room.open", **body))["code"] == -32602
    assert gateway.conferencing.personal.asked == []


async def test_rooms_are_opened_changed_and_ended_over_json_rpc(caplog: pytest.LogCaptureFixture) -> None:
    """Users only; what is refused is said with its status; no PIN stands in the journal or a log."""
    caplog.set_level(logging.DEBUG, "gateway")
    gateway = FakeGateway()
    personal = gateway.conferencing.personal
    async with running(gateway) as server, rpc(server, "ann") as guest, rpc(server, "alice", token="wonder") as client:
        assert "Authentication" in (await guest.fails("room.open"))["message"]
        listed = await client.ok("room.list")
        assert (listed["opened"][0]["room"], listed["may_open"]) == ("8000", True)
        assert (await client.ok("room.open", title="A", number="8001"))["pin"] == "471147"
        await client.ok("room.change", room="8000", pin="")
        await client.ok("room.change", room="8000", title="B", pin="471148")
        assert await client.ok("room.close", room="8000") == {"room": "8000"}
        assert personal.asked[1:] == [
            *(("open", "alice", "A", "8001", None), ("change", "alice", "8000", None, "")),
            *(("change", "alice", "8000", "B", "471148"), ("close", "alice", "8000")),
        ]
        personal.refusal = RefusedError("not now", 409)
        assert (await client.fails("room.open"))["data"] == {"status": 409}
        gateway.roles = {"alice": "admin"}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as http:
            signed_in = await http.post("/api/session", json={"user": "alice", "password": "wonder"})
            bearer = {"Authorization": f"Bearer {signed_in.json()['access_token']}"}
            log = (await http.get("/api/audit", headers=bearer)).json()["entries"]
        done = [one["action"] for one in log if "room" in one["action"]]
        assert done == ["room closed", "room changed", "room changed", "room opened"]
        assert [one["what"] for one in log if one["action"] == "room changed"] == ["title pin", "pin"]
        assert "47114" not in str(log) + caplog.text
