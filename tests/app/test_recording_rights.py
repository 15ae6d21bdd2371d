"""Rights to record a call, to see and to hear recordings: each role at the whole gateway, over HTTP."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from tests.app.phones import Phone
from tests.interop.gateway import PASSWORDS, Gateway, config_on_free_ports, gateway_with
from tests.net.peers import LOOPBACK, Application

ROLES = {"alice": "admin", "bob": "operator", "1001": "user", "1002": "user", "1003": "user"}
USERS = json.dumps([{"id": user, "web": True, "sip": True, "role": role} for user, role in ROLES.items()])
OUTSIDE = ("..%2fsecrets.json", "%2e%2e%2f%2e%2e%2fsecrets.json", "secrets.json", "..%5cx.wav", "x%00.wav")
"""Names that lead out of the folder of recordings, or to nothing in it."""
NOBODY, STRANGER = "nobody", "stranger"


async def asked(http: httpx.AsyncClient, user: str, method: str, path: str) -> int:
    """Status of a request by a user, without a password or with a wrong one."""
    auth = None if user == NOBODY else (user, PASSWORDS.get(user, "a-wrong-password"))
    kind = {"Content-Type": "application/json"}  # which no form of another site can send
    return (await http.request(method, f"/api/{path}", auth=auth, headers=kind)).status_code


@pytest.mark.parametrize("by_users", [False, True])
async def test_each_role_records_and_hears_what_it_may(tmp_path: Path, by_users: bool) -> None:
    """Users record their own calls where that is allowed; operators see, administrators hear; nobody else at all."""
    changes = {"USERS": USERS, "RECORDING__MIN_FREE": "0", "RECORDING__BY_USERS": json.dumps(by_users)}
    changes["RECORDING__FOLDER"] = str(tmp_path / "recordings")
    own = 204 if by_users else 403
    async with gateway_with(config_on_free_ports(tmp_path, **changes), tmp_path / "gateway.log") as gateway:
        agent = UserAgent(UserAgentConfig(listen=LOOPBACK), Application())
        await agent.start()
        call, leg = await called(gateway, agent)
        path, mine = (f"calls/{name}/recording" for name in (call, leg))
        async with httpx.AsyncClient(base_url=gateway.web) as http:
            for user, status in ((NOBODY, 401), (STRANGER, 401), ("1002", 403), ("1001", own)):
                assert await asked(http, user, "PUT", mine) == status, user
                assert await asked(http, user, "PUT", path) == (401 if status == 401 else 403), user
            if by_users:
                assert await asked(http, "1001", "DELETE", mine) == 204
            assert await asked(http, "bob", "PUT", path) == 204
            # A recording that an operator began is not a user's to end, not even in its own call.
            for user, status in ((NOBODY, 401), ("1002", 403), ("1001", 403), ("bob", 204)):
                assert await asked(http, user, "DELETE", mine if user == "1001" else path) == status, user
            await agent.close()
            await gateway.idle()
            name = kept(gateway)
            seen = {NOBODY: 401, STRANGER: 401, "1001": 403, "1002": 403, "bob": 200, "alice": 200}
            heard = seen | {"bob": 403}
            assert {user: await asked(http, user, "GET", "recordings") for user in seen} == seen
            assert {user: await asked(http, user, "GET", f"recordings/{name}") for user in heard} == heard
            for outside in OUTSIDE:
                assert await asked(http, "alice", "GET", f"recordings/{outside}") in (307, 400, 404), outside
            removed = {**heard, "alice": 204}
            assert {user: await asked(http, user, "DELETE", f"recordings/{name}") for user in removed} == removed


def kept(gateway: Gateway) -> str:
    """Name of a recording that is in the folder."""
    folder = gateway.app.config.recording.folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "20260101-000000-kept.wav").write_bytes(b"RIFF")
    return "20260101-000000-kept.wav"


async def called(gateway: Gateway, agent: UserAgent) -> tuple[str, str]:
    """Ids of an answered call of 1001, and of its leg, by which the user knows it."""
    phone = Phone(agent, gateway.app, "1001", dials="600")
    assert await phone.status() == 200
    [call] = gateway.app.calls
    return call.id, call.caller.party.tag
