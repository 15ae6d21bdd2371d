"""deploy/kamailio/kamailio.cfg as it is, between a gateway, phones that are behind NAT, and strangers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.app import GatewayApp
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.message import build
from gateway.sip.message.message import Request
from tests.app.phones import Phone
from tests.app.ws_phone import TcpPhone
from tests.interop.gateway import PASSWORDS, config_on_free_ports
from tests.interop.kamailio import kamailio, led_astray, line_of
from tests.interop.stranger import stranger
from tests.net.peers import ANSWER, LOOPBACK, Application
from tests.ports import free_ports

CONFIGURATION = Path(__file__).parents[2] / "deploy/kamailio/kamailio.cfg"
LESSON = Path(__file__).parents[2] / "examples/14_many_gateways/kamailio.cfg"
CHANGES = {
    CONFIGURATION: (
        ("listen=udp:0.0.0.0:5060", "listen=udp:127.0.0.1:{port}"),
        ("listen=tcp:0.0.0.0:5060", "listen=tcp:127.0.0.1:{port}"),
        ("/etc/kamailio/dispatcher.list", "{folder}/dispatcher.list"),
        ("fork=yes\nchildren=4\nlog_stderror=yes\ndebug=2\n", ""),
    ),
    LESSON: (
        ("udp:PROXY", "udp:127.0.0.1:{port}"),
        ("LIST", "{folder}/dispatcher.list"),
        ("log_stderror=yes\ndebug=0\nchildren=2\n", ""),
    ),
}
"""What is a test's own in each file."""
NOWHERE = "sip:1002@desk.invalid;transport=tcp"

pytestmark = pytest.mark.wall


def configuration(folder: Path, gateway: tuple[str, int], port: int, file: Path = CONFIGURATION) -> str:
    """The file with the addresses of this test, and a list with the one gateway."""
    (folder / "dispatcher.list").write_text(f"1 sip:{gateway[0]}:{gateway[1]} 0 10\n")
    text = file.read_text()
    for before, after in CHANGES[file]:
        assert before in text
        text = text.replace(before, after.format(folder=folder, port=port))
    return text


def bye_of(invite: Request) -> Request:
    """What ends the call of an INVITE that `TcpPhone.answer` has answered."""
    assert invite.contact is not None
    return build.request(
        "BYE",
        invite.contact.uri,
        from_=invite.to.with_tag("phone"),
        to=invite.from_,
        call_id=invite.call_id,
        cseq=1,
        headers=tuple(("Route", str(hop)) for hop in invite.record_route),
    )


async def test_a_phone_behind_the_documented_proxy_is_called_and_held_and_hung_up(tmp_path: Path) -> None:
    """By the Path with which it has registered, and in the call by the connection that its Contact does not name."""
    [port] = free_ports(1)
    config = config_on_free_ports(tmp_path, SIP__BANS__NEVER='["127.0.0.1"]')
    app, agent = GatewayApp(config), UserAgent(UserAgentConfig(listen=LOOPBACK), Application())
    await agent.start()
    await app.start()
    try:
        text = configuration(tmp_path, ("127.0.0.1", config.sip.listen[0].port), port)
        async with kamailio(tmp_path, text, "127.0.0.1", port, only_udp=False):
            # Not from a gateway's address: by that the proxy knows gateways.
            streams = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))
            phone = TcpPhone(*streams, "1002", config.domain, PASSWORDS["1002"])
            try:
                answer = await phone.register(contact=NOWHERE, supported="path")
                assert answer.status == 200, answer
                for ends in ("caller", "phone"):
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
                    if ends == "caller":
                        caller.session.hangup()
                        await phone.send(build.response(await phone.request("BYE"), 200))
                    else:
                        await phone.send(bye_of(invite))
                        assert (await phone.final("BYE")).status == 200
                    await asyncio.wait_for(caller.over, 30)
            finally:
                await phone.close()
    finally:
        await agent.close()
        await app.stop()


@pytest.mark.parametrize("file", [CONFIGURATION, LESSON], ids=["deployed", "lesson"])
async def test_no_route_of_a_strangers_leads_through_the_proxy(tmp_path: Path, file: Path) -> None:
    """Nor a response: what is no gateway's goes to a gateway or nowhere."""
    port, same = free_ports(2)
    proxy, address = ("127.0.0.1", port), f"127.0.0.1:{port}"
    at_home, away = stranger("127.0.0.67", same), stranger("127.0.0.68", same)
    async with at_home as gateway, stranger() as sender, away as elsewhere:
        text = configuration(tmp_path, gateway.place, port, file)
        async with kamailio(tmp_path, text, *proxy, only_udp=False):
            there, home = (":".join(map(str, one.place)) for one in (elsewhere, gateway))
            requests = led_astray(sender, home, address, there)
            for request in requests:
                sender.send(request, proxy)
            via = f"Via: SIP/2.0/UDP {address};branch=z9hG4bKp\r\nVia: SIP/2.0/UDP {there};branch=z9hG4bKe\r\n"
            sender.send(
                f"SIP/2.0 200 OK\r\n{via}From: <sip:a@h>;tag=a\r\nTo: <sip:b@h>;tag=b\r\nCall-ID: none\r\n"
                f"CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n".encode(),
                proxy,
            )
            inside = f"Route: <sip:{address};lr>"
            for method in ("INFO", "ACK"):
                sender.send(sender.request(method, f"sip:x@{home}", to_tag="inside", headers=(inside,)), proxy)
            # What came before this was read before it.
            assert await sender.status(sender.request("OPTIONS", f"sip:{address}"), proxy) == 200
            while {line_of(data) for data, _ in gateway.received if b";tag=inside\r\n" in data} != {b"INFO", b"ACK"}:
                await gateway.more_than(len(gateway.received))
            # A gateway's own goes where it says, and nothing else has been there.
            gateway.send(gateway.request("NOTIFY", f"sip:x@{there}", to_tag="t", headers=(inside,)), proxy)
            await elsewhere.more_than(0)
            assert {line_of(data) for data, _ in elsewhere.received} == {b"NOTIFY"}
