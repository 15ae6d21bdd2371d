"""Two gateways that know each other by certificates as well: without one the right seal is a stranger's."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.access.nodes import Nodes
from gateway.app import GatewayApp
from gateway.cluster.settings import shared_key
from gateway.net.config import UserAgentConfig
from gateway.net.tls import TlsFiles
from gateway.net.user_agent import UserAgent
from gateway.sip.message import build
from gateway.sip.message.uri import Uri
from tests.app.phones import Phone
from tests.app.ws_phone import TcpPhone
from tests.interop.gateway import PASSWORDS, config_on_free_ports
from tests.net.certificates import Authority
from tests.net.peers import Application
from tests.ports import free_ports

KEY = "the-key-of-the-cluster-in-these-tests"
USERS = [{"id": "1001", "sip": True}, {"id": "1002", "sip": True}]


class Site:
    """Gateways whose nodes are reached by TLS, and who else there is."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.folder = folder
        self.stack = stack
        self.ours = Authority(folder)
        self.apps: list[GatewayApp] = []

    async def start(self, files: TlsFiles) -> GatewayApp:
        """One more; those before and it see each other."""
        folder = self.folder / f"gateway{len(self.apps)}"
        folder.mkdir()
        tcp, tls = free_ports(2)
        config = config_on_free_ports(
            folder,
            SIP__LISTEN=f'["tcp:127.0.0.1:{tcp}", "udp:127.0.0.1:{tcp}", "tls:127.0.0.1:{tls}"]',
            SIP__TLS__CERT=str(files.cert),
            SIP__TLS__KEY=str(files.key),
            SIP__TLS__CA=str(files.ca),
            SIP__TLS__CLIENT_CERTIFICATES="optional",
            IDENTITY__STORE=f"sqlite:{self.folder / 'shared.sqlite'}",
            CLUSTER__NODE=f"sip:127.0.0.1:{tls};transport=tls",
            CLUSTER__KEY=KEY,
            CLUSTER__INTERVAL="0.5",
            CLUSTER__MUTUAL_TLS="true",
            USERS=json.dumps(USERS),
        )
        app = GatewayApp(config)
        await app.start()
        self.stack.push_async_callback(app.stop)
        self.apps.append(app)
        async with asyncio.timeout(30):
            while any(len(one._cluster.live) < len(self.apps) - 1 for one in self.apps):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return app

    async def phone(self, at: GatewayApp, user: str) -> TcpPhone:
        port = int(at.sip_hostport.rpartition(":")[2])
        phone = await TcpPhone.open("127.0.0.1", port, user, at.config.domain, PASSWORDS[user])
        self.stack.push_async_callback(phone.close)
        assert (
            await phone.register(contact=f"<sip:{user}@a.invalid;transport=tcp>", supported="outbound")
        ).status == 200
        return phone

    async def agent(self, tls: TlsFiles) -> UserAgent:
        agent = UserAgent(UserAgentConfig(listen=(("127.0.0.1", 0),), tls=tls), Application())
        await agent.start()
        self.stack.push_async_callback(agent.close)
        return agent


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        yield Site(tmp_path, stack)


async def test_a_call_goes_to_the_other_gateway_by_mutual_tls(site: Site) -> None:
    """Each shows a certificate of its address, and the phone there rings."""
    files = site.ours.files("127.0.0.1")
    one, two = await site.start(files), await site.start(files)
    phone = await site.phone(two, "1001")
    caller = Phone(await site.agent(files), one, "1002", dials="1001")
    invite = await phone.request("INVITE")
    assert invite.from_.uri.user == "1002"
    await phone.send(build.response(invite, 486, to_tag="phone"))
    assert await caller.status() == 486


async def test_a_seal_without_a_certificate_is_a_strangers(site: Site) -> None:
    """None, and one of another address: both have the key, and are challenged like anybody."""
    files = site.ours.files("127.0.0.1")
    gateway = await site.start(files)
    node, key = gateway.config.cluster.node, shared_key(gateway.config, "requests")
    assert node is not None
    assert key is not None
    process = gateway._cluster._seals._start
    place = "sip:127.0.0.1:9;transport=tls"
    seals = Nodes(place, key, time.time, os.urandom, lambda *_: node, "", lambda _: process)
    target = Uri.parse(node.replace("sip:", "sip:1001@"))
    statuses = []
    for shown in (TlsFiles(ca=site.ours.file), site.ours.files("192.0.2.9"), files):
        agent = await site.agent(shown)
        agent.sign_requests(seals.sign, lambda host: False)
        statuses.append((await agent.request("MESSAGE", target, headers=(seals.field({}),))).status)
    assert statuses[:2] == [401, 401]
    assert statuses[2] != 401
    assert gateway._cluster.refused == {"without a certificate of its own": 2}


async def test_a_gateway_with_a_forged_certificate_reaches_nobody(site: Site) -> None:
    """Signed by somebody else: no connection to it is made, nor taken from it."""
    (site.folder / "forged").mkdir()
    forged = Authority(site.folder / "forged").files("127.0.0.1")
    one = await site.start(site.ours.files("127.0.0.1"))
    other = await site.start(replace(forged, ca=site.ours.file))
    phone = await site.phone(other, "1001")
    assert await Phone(await site.agent(forged), one, "1002", dials="1001").status() >= 400
    assert not phone.has("INVITE")
    phone = await site.phone(one, "1002")
    assert await Phone(await site.agent(forged), other, "1001", dials="1002").status() >= 400
    assert not phone.has("INVITE")
