"""/api/users/{id}/account: one's own for everybody, others' for those whose role allows it."""

from __future__ import annotations

from tests.rows import by_row
from tests.web.client import client_of
from tests.web.fake import FakeGateway

ALICE = {"Authorization": "Bearer alice:wonder"}
GIVEN = {"registrar": "office", "username": "201", "password": "pa-ss"}


async def test_a_user_brings_sees_and_gives_up_an_account() -> None:
    """The password is never told again."""
    async with client_of(FakeGateway()) as http:
        assert (await http.get("/api/registrars", headers=ALICE)).json() == {"registrars": ["office"]}
        assert (await http.get("/api/users/alice/account", headers=ALICE)).status_code == 404
        put = await http.put("/api/users/alice/account", json=GIVEN, headers=ALICE)
        assert (put.status_code, put.json()["username"], "pa-ss" in put.text) == (200, "201", False)
        assert (await http.get("/api/users/alice/account", headers=ALICE)).json() == put.json()
        unknown = await http.put("/api/users/alice/account", json=GIVEN | {"registrar": "evil.test"}, headers=ALICE)
        assert unknown.status_code == 404
        assert (await http.delete("/api/users/alice/account", headers=ALICE)).status_code == 204
        assert (await http.delete("/api/users/alice/account", headers=ALICE)).status_code == 404


@by_row(
    ("role", "get", "put", "delete", "all_of_them"),
    [("user", 403, 403, 403, 403), ("operator", 200, 403, 403, 200), ("admin", 200, 200, 204, 200)],
)
async def test_others_accounts_are_for_roles(role: str, get: int, put: int, delete: int, all_of_them: int) -> None:
    """Operators see them, administrators change them, strangers get 401."""
    gateway = FakeGateway()
    gateway.roles = {"bob": role}
    path = "/api/users/alice/account"
    async with client_of(gateway) as http:
        session = await http.post("/api/session", json={"user": "bob", "password": "builder"})
        bob = {"Authorization": f"Bearer {session.json()['access_token']}"}
        await http.put(path, json=GIVEN, headers=ALICE)
        assert (await http.get(path, headers=bob)).status_code == get
        assert (await http.get("/api/accounts", headers=bob)).status_code == all_of_them
        assert (await http.put(path, json=GIVEN, headers=bob)).status_code == put
        assert (await http.delete(path, headers=bob)).status_code == delete
        for answer in (await http.get(path), await http.put(path, json=GIVEN), await http.delete(path)):
            assert answer.status_code == 401


@by_row(
    "wrong", [{"username": ""}, {"username": "x" * 65}, {"password": None}, {"password": "x" * 257}, {"registrar": 7}]
)
async def test_an_account_that_cannot_be_one_is_refused(wrong: dict[str, object]) -> None:
    """400, and nothing of what was sent in the answer."""
    async with client_of(FakeGateway()) as http:
        answer = await http.put("/api/users/alice/account", json=GIVEN | wrong, headers=ALICE)
        assert (answer.status_code, "pa-ss" in answer.text) == (400, False)
