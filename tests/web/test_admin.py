"""/api: operators see and end calls, administrators the audit log, everybody else nothing."""

from __future__ import annotations

from tests.rows import by_row
from tests.web.client import OFFER, client_of
from tests.web.fake import FakeGateway

ALICE = {"Authorization": "Bearer alice:wonder"}
BOB = {"Authorization": "Bearer bob:builder"}
PATHS = ("/api/calls", "/api/users", "/api/trunks", "/api/audit")


@by_row("path", PATHS)
async def test_it_is_for_those_whose_role_allows_it(path: str) -> None:
    """401 for a stranger, 403 for a user; a foreign page gets nowhere."""
    async with client_of(FakeGateway()) as http:
        assert (await http.get(path)).status_code == 401
        assert (await http.get(path, headers=ALICE)).status_code == 403
        assert (await http.get(path, headers=ALICE | {"Origin": "https://evil.example"})).status_code == 403


def _roles() -> FakeGateway:
    gateway = FakeGateway()
    gateway.roles = {"alice": "operator", "bob": "admin"}
    return gateway


async def _token(gateway: FakeGateway, http: object, user: str, password: str) -> dict[str, str]:
    answer = await http.post("/api/session", json={"user": user, "password": password})  # type: ignore[attr-defined]
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


async def test_an_operator_sees_and_ends_calls_and_an_administrator_sees_who_did() -> None:
    """Users with their open pages, trunks with their registration."""
    gateway = _roles()
    async with client_of(gateway) as http:
        operator = await _token(gateway, http, "alice", "wonder")
        admin = await _token(gateway, http, "bob", "builder")
        await http.post("/webrtc/offer", json=OFFER)
        calls = (await http.get("/api/calls", headers=operator)).json()
        assert (calls["count"], calls["calls"][0]["dialled"]) == (1, "600")
        call_id = calls["calls"][0]["id"]
        assert (await http.delete(f"/api/calls/{call_id}", headers=operator)).status_code == 204
        gone = await http.delete(f"/api/calls/{call_id}", headers=operator)
        assert (gone.status_code, gone.json()["code"]) == (404, 404)
        users = (await http.get("/api/users", headers=operator)).json()["users"]
        assert [(user["id"], user["role"]) for user in users] == [("alice", "operator"), ("bob", "admin")]
        assert (await http.get("/api/trunks", headers=operator)).json()["trunks"][0]["registered"] is True
        assert (await http.get("/api/audit", headers=operator)).status_code == 403
        audit = (await http.get("/api/audit", headers=admin)).json()["entries"]
        assert [(entry["action"], entry["user"]) for entry in audit] == [
            ("call ended", "alice"),
            ("sign-in", "bob"),
            ("sign-in", "alice"),
        ]
        assert audit[0]["call"] == call_id
        assert (await http.get("/api/audit?limit=1", headers=admin)).json()["count"] == 1


async def test_an_operator_sees_bans_and_lifts_them_once() -> None:
    """Nobody else does; it stands in the audit log."""
    gateway = _roles()
    gateway.roles["carol"] = "user"
    gateway.bans["203.0.113.9"] = {"address": "203.0.113.9", "reason": "x", "since": 1.0, "until": 2.0, "silenced": 3}
    async with client_of(gateway) as http:
        assert (await http.get("/api/bans")).status_code == 401
        operator, admin = await _token(gateway, http, "alice", "wonder"), await _token(gateway, http, "bob", "builder")
        assert (await http.get("/api/bans", headers=operator)).json() == {
            "bans": [gateway.bans["203.0.113.9"]],
            "count": 1,
        }
        assert (await http.delete("/api/bans/203.0.113.9", headers=operator)).status_code == 204
        assert (await http.delete("/api/bans/203.0.113.9", headers=operator)).status_code == 404
        [entry] = (await http.get("/api/audit?limit=1", headers=admin)).json()["entries"]
        assert (entry["action"], entry["user"], entry["source"]) == ("ban lifted", "alice", "203.0.113.9")


async def test_an_operator_has_the_configuration_read_again() -> None:
    """Nobody else does; what cannot be used is a conflict with its reason."""
    gateway = _roles()
    async with client_of(gateway) as http:
        assert (await http.post("/api/reload", json={})).status_code == 401
        operator, admin = await _token(gateway, http, "alice", "wonder"), await _token(gateway, http, "bob", "builder")
        told = await http.post("/api/reload", headers=operator, json={})
        assert told.json() == {"applied": ["users"], "waiting": ["web.listen"], "certificates": []}
        gateway.reload_refused = "routes.0.to: there is no trunk"
        refused = await http.post("/api/reload", headers=operator, json={})
        assert (refused.status_code, refused.json()["error"]) == (409, gateway.reload_refused)
        audit = (await http.get("/api/audit", headers=admin)).json()["entries"]
        assert [entry["action"] for entry in audit].count("configuration reloaded") == 1


async def test_a_source_has_few_looks_from_outside_and_a_proxy_none() -> None:
    """POST /api/reach; behind a proxy that nobody names it is not known who asks, and no port is tried."""
    gateway = _roles()
    async with client_of(gateway) as http:
        operator = await _token(gateway, http, "alice", "wonder")
        passed_on = operator | {"X-Forwarded-For": "203.0.113.7"}
        assert (await http.post("/api/reach", json={"ports": []}, headers=passed_on)).status_code == 409
        answers = [await http.post("/api/reach", json={"ports": []}, headers=operator) for _ in range(11)]
        assert [one.status_code for one in answers] == [200] * 10 + [503]
