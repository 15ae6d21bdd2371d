"""A whole gateway whose values in Redis are rubbish: refusals in words, no traceback, and all else goes on."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import httpx
import pytest
import redis.asyncio

from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.auth.account import Credentials
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.uri import Uri
from tests.app.phones import Phone
from tests.identity.conftest import redis_server
from tests.interop.gateway import PASSWORDS, Gateway, config_on_free_ports, gateway_with
from tests.net.peers import LOOPBACK, Application
from tests.ports import free_ports
from tests.rows import by_row

pytestmark = pytest.mark.wall

RUBBISH = ("", "{", "null", "[]", "[[]]", "7", '"x"', '{"id": 7}', '{"user": {"id": 7}, "ha1": 3, "born": {}}', "\x00ÿ")


async def spoil(client: redis.asyncio.Redis, value: str) -> int:
    """Put `value` in the place of each value that the gateway has kept, whatever the type; return how many."""
    count = 0
    async for key in client.scan_iter():
        match await client.type(key):
            case "string":
                await client.set(key, value, keepttl=True)
            case "hash":
                names = await client.hkeys(key)
                await client.hset(key, mapping=dict.fromkeys(names, value))
                count += len(names)
        count += 1
    return count


class Asker:
    """Everything that reads the store, once."""

    def __init__(self, gateway: Gateway, agent: UserAgent, http: httpx.AsyncClient) -> None:
        self._gateway, self._agent, self._http = gateway, agent, http
        self.link = ""

    async def asks(self) -> dict[str, int]:
        """Status by what was asked."""
        app = self._gateway.app
        found: dict[str, int] = {}
        credentials = Credentials("1001", PASSWORDS["1001"])
        aor = f"sip:1001@{app.config.domain}"
        registered = await self._agent.register(f"sip:{app.sip_hostport}", aor=aor, credentials=credentials)
        found["register"] = registered.status
        for number in ("1001", "600"):
            call = Phone(self._agent, app, "1002", dials=number)
            found[f"call {number}"] = await call.status()
            call.session.hangup()
        message = await self._agent.request(
            "MESSAGE",
            Uri.parse(f"sip:alice@{app.sip_hostport}"),
            caller=NameAddr.parse(f"<sip:1002@{app.config.domain}>"),
            credentials=Credentials("1002", PASSWORDS["1002"]),
            body=b"hello",
            content_type="text/plain",
        )
        found["message"] = message.status
        admin = ("alice", PASSWORDS["alice"])
        for path in ("users", "links", "bans", "calls", "identities/2001", "trunks"):
            found[path] = (await self._http.get(f"/api/{path}", auth=admin)).status_code
        signed = await self._http.post("/api/session", json={"user": "alice", "password": PASSWORDS["alice"]})
        found["sign in"] = signed.status_code
        found["refresh"] = (await self._http.post("/api/session/token")).status_code
        made = await self._http.post("/api/links", json={"to": "alice"}, auth=("alice", PASSWORDS["alice"]))
        found["link"] = made.status_code
        self.link = made.json().get("token", self.link) if made.is_success else self.link
        guest = {"Authorization": f"Bearer {self.link}"}
        found["guest"] = (await self._http.get("/iceservers", headers=guest)).status_code
        user = {"id": "dora", "sip": True, "password": "of-dora-4711-x"}
        found["new user"] = (await self._http.post("/api/users", json=user, auth=admin)).status_code
        found["health"] = (await self._http.get("/healthz")).status_code
        return found


@by_row("value", RUBBISH)
async def test_rubbish_in_redis_is_an_error_of_the_store(tmp_path: Path, value: str) -> None:
    """`gateway_with` holds the log against tracebacks; calls that need no such value are taken."""
    port, sip = free_ports(2)
    config = config_on_free_ports(
        tmp_path,
        SIP__LISTEN=f'["udp:127.0.0.1:{sip}", "tcp:127.0.0.1:{sip}"]',
        IDENTITY__STORE=f"redis://127.0.0.1:{port}/0",
        MESSAGES__STORE=f"redis://127.0.0.1:{port}/0",
        CLUSTER__NODE=f"sip:127.0.0.1:{sip}",
        CLUSTER__KEY="the-key-of-a-cluster-in-this-test",
        CLUSTER__INTERVAL="0.2",
        USERS__ALICE__ROLE="admin",
        WEB__GUESTS="on",
    )
    async with AsyncExitStack() as stack:
        server = stack.enter_context(ExitStack())
        await asyncio.to_thread(server.enter_context, redis_server(port, tmp_path))
        gateway = await stack.enter_async_context(gateway_with(config, tmp_path / "gateway.log"))
        agent = UserAgent(UserAgentConfig(listen=LOOPBACK), Application(lambda call, _: call.reject(486)))
        await agent.start()
        stack.push_async_callback(agent.close)
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=gateway.app.page_url.rstrip("/")))
        client = await stack.enter_async_context(
            redis.asyncio.Redis.from_url(f"redis://127.0.0.1:{port}/0", decode_responses=True)
        )
        asker = Asker(gateway, agent, http)
        before = await asker.asks()
        assert {name for name, status in before.items() if status >= 400} == {"call 1001", "identities/2001", "refresh"}
        assert await spoil(client, value) > 10
        after = await asker.asks()
        assert {after[name] for name in ("call 600", "sign in", "calls", "bans", "trunks", "health")} == {200}
        assert 500 not in after.values()
