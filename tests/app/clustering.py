"""Gateways of one store, for tests."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from gateway.app import GatewayApp
from gateway.config import Config
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.message import build
from gateway.store.identity_sqlite import SqliteStore
from tests.app.ws_phone import ScriptedPhone, TcpPhone
from tests.interop.gateway import PASSWORDS, config_on_free_ports
from tests.net.peers import LOOPBACK, Application
from tests.ports import free_ports

KEY = "the-key-of-the-cluster-in-these-tests"
USERS = [
    {"id": "alice", "display_name": "Alice", "web": True, "sip": True},
    {"id": "1001", "display_name": "Desk", "sip": True, "max_calls": 5},
    {"id": "1002", "sip": True},
]
INSTANCE = "urn:uuid:00000000-0000-1000-8000-00000000000a"


async def until(condition: Callable[[], bool]) -> None:
    """Gateways see each other when they next look."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


class Cluster:
    """Gateways that share a file of registrations."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self.apps: list[GatewayApp] = []
        self.configs: list[Config] = []

    async def start(self, key: str = KEY, interval: str = "1", **changes: str) -> GatewayApp:
        """One more gateway, which the others know."""
        number = len(self.apps)
        folder = self._folder / str(number)
        folder.mkdir()
        [sip] = free_ports(1)
        config = config_on_free_ports(
            folder,
            SIP__LISTEN=f'["udp:127.0.0.1:{sip}", "tcp:127.0.0.1:{sip}"]',
            IDENTITY__STORE=f"sqlite:{self._folder / 'shared.sqlite'}",
            CLUSTER__NODE=f"sip:127.0.0.1:{sip}",
            CLUSTER__KEY=key,
            # Who says nothing for three of these is gone, and a busy machine may stand still for most of a second.
            CLUSTER__INTERVAL=interval,
            USERS=json.dumps(USERS),
            **changes,
        )
        app = GatewayApp(config)
        await app.start()
        self._stack.push_async_callback(app.stop)
        self.apps.append(app)
        self.configs.append(config)
        await self.know_each_other()
        return app

    async def know_each_other(self) -> None:
        """Wait until each of them sees the others."""
        await until(lambda: all(len(app._cluster.live) == len(self.apps) - 1 for app in self.apps))

    async def phone(self, at: GatewayApp, user: str, supported: str = "") -> TcpPhone:
        """A phone that is registered at one of them, by a connection of its own."""
        port = int(at.sip_hostport.rpartition(":")[2])
        phone = await TcpPhone.open("127.0.0.1", port, user, at.config.domain, PASSWORDS[user])
        self._stack.push_async_callback(phone.close)
        contact = f'<sip:{user}@a.invalid;transport=tcp>;+sip.instance="<{INSTANCE}>";reg-id=1'
        answer = await phone.register(contact=contact, supported=supported)
        assert answer.status == 200
        self.contacts = answer.contacts
        return phone

    async def page_of(self, user: str, *, is_open: bool) -> None:
        """Wait until the store says whether that user has a page somewhere."""
        store = SqliteStore(self._folder / "shared.sqlite")
        await store.open()
        self._stack.push_async_callback(store.close)
        async with asyncio.timeout(30):
            while bool(await store.bindings(f"page:{user}", time.time())) != is_open:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def caller(self) -> UserAgent:
        """Somebody's phone that is not registered."""
        agent = UserAgent(UserAgentConfig(listen=LOOPBACK), Application())
        await agent.start()
        self._stack.push_async_callback(agent.close)
        return agent


async def refuse(phone: ScriptedPhone, status: int = 486) -> None:
    invite = await phone.request("INVITE")
    assert "Gateway-Node" not in invite.headers
    await phone.send(build.response(invite, status, to_tag="phone"))
    await phone.request("ACK")
