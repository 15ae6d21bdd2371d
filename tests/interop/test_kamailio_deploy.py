"""deploy/kamailio/kamailio.cfg as it is, between a gateway and phones that are behind NAT."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.app import GatewayApp
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.message import build
from tests.app.phones import Phone
from tests.app.ws_phone import TcpPhone
from tests.interop.gateway import PASSWORDS, config_on_free_ports
from tests.interop.kamailio import kamailio
from tests.net.peers import ANSWER, LOOPBACK, Application
from tests.ports import free_ports

CONFIGURATION = Path(__file__).parents[2] / "deploy/kamailio/kamailio.cfg"
NOWHERE = "sip:1002@desk.invalid;transport=tcp"

pytestmark = pytest.mark.peer


def configuration(folder: Path, gateway: int, port: int) -> str:
    """The file with the addresses of this test, and a list with the one gateway."""
    (folder / "dispatcher.list").write_text(f"1 sip:127.0.0.1:{gateway} 0 10\n")
    text = CONFIGURATION.read_text()
    for before, after in (
        ("listen=udp:0.0.0.0:5060", f"listen=udp:127.0.0.1:{port}"),
        ("listen=tcp:0.0.0.0:5060", f"listen=tcp:127.0.0.1:{port}"),
        ("/etc/kamailio/dispatcher.list", str(folder / "dispatcher.list")),
        ("fork=yes\nchildren=4\nlog_stderror=yes\ndebug=2\n", ""),
    ):
        assert before in text
        text = text.replace(before, after)
    return text


async def test_a_phone_behind_the_documented_proxy_is_called_and_held_and_hung_up(tmp_path: Path) -> None:
    """By the Path with which it has registered, and in the call by the connection that its Contact does not name."""
    [port] = free_ports(1)
    config = config_on_free_ports(tmp_path, SIP__BANS__NEVER='["127.0.0.1"]')
    app, agent = GatewayApp(config), UserAgent(UserAgentConfig(listen=LOOPBACK), Application())
    await agent.start()
    await app.start()
    try:
        text = configuration(tmp_path, config.sip.listen[0].port, port)
        async with kamailio(tmp_path, text, "127.0.0.1", port, only_udp=False):
            # Not from a gateway's address: by that the proxy knows gateways.
            streams = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))
            phone = TcpPhone(*streams, "1002", config.domain, PASSWORDS["1002"])
            try:
                answer = await phone.register(contact=NOWHERE, supported="path")
                assert answer.status == 200, answer
                caller = Phone(agent, app, "1001", dials="1002")
                invite = await phone.request("INVITE")
                await phone.answer(invite, NOWHERE)
                await phone.request("ACK")
                assert await caller.status() == 200
                caller.session.offer(ANSWER + b"a=sendonly\r\n")
                held = await phone.request("INVITE")
                assert b"a=sendonly" in held.body
                await phone.answer(held, NOWHERE)
                await phone.request("ACK")
                caller.session.hangup()
                await phone.send(build.response(await phone.request("BYE"), 200))
            finally:
                await phone.close()
    finally:
        await agent.close()
        await app.stop()
