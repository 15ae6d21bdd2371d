"""A whole gateway whose Redis goes away in the middle of a call, and comes back."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import pytest
import redis.asyncio

from gateway.app import GatewayApp
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.message import build
from tests.app.phones import Phone
from tests.app.ws_phone import TcpPhone
from tests.identity.conftest import redis_server
from tests.interop.gateway import PASSWORDS, config_on_free_ports
from tests.net.peers import LOOPBACK, Application
from tests.ports import free_ports

pytestmark = pytest.mark.wall


async def test_while_redis_is_away_calls_go_on_and_known_phones_ring(tmp_path: Path) -> None:
    """New registrations are asked to wait; when it is back, empty, phones register and nothing else has to be done."""
    port, sip = free_ports(2)
    config = config_on_free_ports(
        tmp_path,
        SIP__LISTEN=f'["udp:127.0.0.1:{sip}", "tcp:127.0.0.1:{sip}"]',
        IDENTITY__STORE=f"redis://127.0.0.1:{port}/0",
        CLUSTER__NODE=f"sip:127.0.0.1:{sip}",
        CLUSTER__KEY="the-key-of-a-cluster-in-this-test",
        CLUSTER__INTERVAL="0.2",
    )
    async with AsyncExitStack() as stack:
        # In threads: a gateway whose loop stands still while a server starts or ends would be another test.
        server = stack.enter_context(ExitStack())
        await asyncio.to_thread(server.enter_context, redis_server(port, tmp_path))
        app = GatewayApp(config)
        await app.start()
        stack.push_async_callback(app.stop)
        caller = UserAgent(UserAgentConfig(listen=LOOPBACK), Application())
        await caller.start()
        stack.push_async_callback(caller.close)
        phone = await TcpPhone.open("127.0.0.1", sip, "1001", config.domain, PASSWORDS["1001"])
        stack.push_async_callback(phone.close)
        contact = "sip:1001@a.invalid;transport=tcp"
        assert (await phone.register(contact=contact)).status == 200
        up = Phone(caller, app, "1002", dials="600")
        assert await up.status() == 200

        await asyncio.to_thread(server.close)
        assert len(app.calls) == 1
        other = await TcpPhone.open("127.0.0.1", sip, "1003", config.domain, PASSWORDS["1003"])
        stack.push_async_callback(other.close)
        refused = await other.register(contact="sip:1003@b.invalid;transport=tcp")
        assert (refused.status, refused.headers.get("Retry-After")) == (503, "5")
        call = Phone(caller, app, "1002", dials="1001")
        await phone.answer(await phone.request("INVITE"), contact)
        assert await call.status() == 200
        await phone.request("ACK")
        call.session.hangup()
        bye = await phone.request("BYE")
        await phone.send(build.response(bye, 200))
        assert not up.over.done()

        await asyncio.to_thread(server.enter_context, redis_server(port, tmp_path))
        async with asyncio.timeout(30):
            while (await other.register(contact="sip:1003@b.invalid;transport=tcp")).status != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert (await phone.register(contact=contact)).status == 200
        up.session.hangup()
        async with asyncio.timeout(30):
            await asyncio.gather(*(one.finished() for one in app.calls))
        await app.stop()


async def test_a_redis_that_comes_back_empty_is_told_of_the_calls_that_are_up(tmp_path: Path) -> None:
    """Other gateways find them there as before, though nothing has changed in them."""
    port, sip = free_ports(2)
    url, node = f"redis://127.0.0.1:{port}/0", f"sip:127.0.0.1:{sip}"
    config = config_on_free_ports(
        tmp_path,
        SIP__LISTEN=f'["udp:127.0.0.1:{sip}"]',
        IDENTITY__STORE=url,
        CLUSTER__JOURNAL=url,
        CLUSTER__NODE=node,
        CLUSTER__KEY="the-key-of-a-cluster-in-this-test",
        CLUSTER__INTERVAL="0.5",
    )
    async with AsyncExitStack() as stack:
        server = stack.enter_context(ExitStack())
        await asyncio.to_thread(server.enter_context, redis_server(port, tmp_path))
        app = GatewayApp(config)
        await app.start()
        stack.push_async_callback(app.stop)
        caller = UserAgent(UserAgentConfig(listen=LOOPBACK), Application())
        await caller.start()
        stack.push_async_callback(caller.close)
        phone = Phone(caller, app, "1002", dials="600")
        assert await phone.status() == 200
        [call], key = app.calls, f"gateway:journal:calls:{node}"
        async with redis.asyncio.Redis.from_url(url, decode_responses=True) as client:

            async def kept() -> None:
                async with asyncio.timeout(30):
                    while await client.hkeys(key) != [call.id]:  # noqa: ASYNC110
                        await asyncio.sleep(0.02)

            await kept()
            await client.flushall()
            await kept()
        phone.session.hangup()
