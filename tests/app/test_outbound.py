"""Phones with two flows at the whole gateway: one living one is called, the other where it fails (RFC 5626)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request, Response
from gateway.sip.message.uri import Uri
from tests.app.phones import Phone
from tests.app.ws_phone import ScriptedPhone, TcpPhone, WebSocketPhone
from tests.interop.gateway import PASSWORDS, Gateway, config_on_free_ports, gateway_with
from tests.net.peers import LOOPBACK, Application
from tests.ports import free_ports

INSTANCE = "urn:uuid:00000000-0000-1000-8000-aabbccddeeff"
WAYS = ["tcp", "ws"]


class Office:
    """A gateway, a caller at it, and phones that are opened as they are wanted."""

    def __init__(self, gateway: Gateway, tcp: int, caller: UserAgent, stack: AsyncExitStack) -> None:
        self.gateway = gateway
        self._tcp = tcp
        self._caller = caller
        self._stack = stack

    async def flow(self, way: str, reg_id: int) -> ScriptedPhone:
        """One flow of 1001, registered; all of them have the same Contact URI."""
        who = ("1001", self.gateway.config.domain, PASSWORDS["1001"])
        if way == "ws":
            phone: ScriptedPhone = await WebSocketPhone.open(f"{self.gateway.web.replace('http', 'ws', 1)}/sip", *who)
            self._stack.push_async_callback(phone.close)
        else:
            phone = await self.phone()
        answer = await register(phone, way, reg_id)
        assert answer.status == 200
        assert answer.require == ("outbound",)
        assert answer.headers.get("Flow-Timer") == ("77" if way == "tcp" else None)
        return phone

    async def phone(self) -> TcpPhone:
        """A connection of 1001 that is not registered yet."""
        phone = await TcpPhone.open("127.0.0.1", self._tcp, "1001", self.gateway.config.domain, PASSWORDS["1001"])
        self._stack.push_async_callback(phone.close)
        return phone

    def call(self) -> Phone:
        """A call to 1001."""
        return Phone(self._caller, self.gateway.app, "1002", dials="1001")


async def register_by_edge(edge: ScriptedPhone, number: int) -> Response:
    """The answer to a REGISTER of 1001 that an edge proxy passes on, by its flow of that number."""
    contact = f'<sip:1001@phone.invalid;ob>;+sip.instance="<{INSTANCE}>";reg-id={number};expires=600'
    fields = (("Supported", "outbound, path"), ("Path", f"<sip:flow{number}@edge.invalid;lr;ob>"))
    registrar = Uri.of(None, edge.uri.host)
    return await edge.ask("REGISTER", registrar, edge.uri, NameAddr.parse(contact), headers=fields)


async def register(phone: ScriptedPhone, way: str, reg_id: int, expires: int = 600) -> Response:
    contact = f'<sip:1001@phone.invalid;transport={way};ob>;+sip.instance="<{INSTANCE}>";reg-id={reg_id}'
    return await phone.register(expires, contact, supported="outbound, path")


async def refuse(phone: ScriptedPhone, status: int) -> Request:
    """Answer the INVITE that comes, and wait for its ACK."""
    invite = await phone.request("INVITE")
    await phone.send(build.response(invite, status, to_tag=f"tag{status}"))
    await phone.request("ACK")
    return invite


@pytest_asyncio.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    sip, tcp = free_ports(2)
    config = config_on_free_ports(
        tmp_path,
        SIP__LISTEN=f'["udp:127.0.0.1:{sip}", "tcp:127.0.0.1:{tcp}"]',
        SIP__REGISTRATION__WEBSOCKET_GRACE="0",
        SIP__REGISTRATION__FLOW_TIMER="77",
        SIP__REGISTRATION__FLOW_TIMEOUT="0.3",
    )
    async with gateway_with(config, tmp_path / "gateway.log") as running, AsyncExitStack() as stack:
        caller = UserAgent(UserAgentConfig(listen=LOOPBACK), Application())
        await caller.start()
        stack.push_async_callback(caller.close)
        yield Office(running, tcp, caller, stack)


@pytest.mark.parametrize("way", WAYS)
async def test_an_invite_goes_by_one_flow_and_by_the_other_where_that_fails(office: Office, way: str) -> None:
    """The latest first; 430 leads on, and the device's own word is the call's."""
    older, newer = await office.flow(way, 1), await office.flow(way, 2)
    call = office.call()
    await refuse(newer, 430)
    assert not older.has("INVITE")
    await refuse(older, 486)
    assert await call.status() == 486
    again = office.call()
    await refuse(newer, 486)
    assert await again.status() == 486
    assert not older.has("INVITE")


@pytest.mark.parametrize("way", WAYS)
async def test_a_flow_whose_connection_is_gone_is_called_no_more(office: Office, way: str) -> None:
    """The other one is; once it has gone, too, nobody is there; and it may come back."""
    older, newer = await office.flow(way, 1), await office.flow(way, 2)
    await newer.close()
    call = office.call()
    await refuse(older, 486)
    assert await call.status() == 486
    await older.close()
    assert await office.call().status() == 480
    back = await office.flow(way, 1)
    call = office.call()
    await refuse(back, 486)
    assert await call.status() == 486


@pytest.mark.parametrize("way", WAYS)
async def test_a_flow_that_is_silent_is_given_up_for_the_other(office: Office, way: str) -> None:
    """Its far end may have vanished without a word; what it says late ends in nothing."""
    older, newer = await office.flow(way, 1), await office.flow(way, 2)
    call = office.call()
    invite = await newer.request("INVITE")
    await refuse(older, 486)
    assert await call.status() == 486
    await newer.send(build.response(invite, 180, to_tag="late"))
    assert (await newer.request("CANCEL")).call_id == invite.call_id


async def test_a_flow_that_its_edge_proxy_has_lost_is_forgotten(office: Office) -> None:
    """430 from there: the next flow is called, the lost ones never again, until they are registered again."""
    edge = await office.phone()
    for number in (1, 2, 3):
        assert (await register_by_edge(edge, number)).status == 200

    async def called(*answers: tuple[str, int]) -> int | None:
        """The status of a call that goes by these flows, each of which says that."""
        call = office.call()
        for flow, status in answers:
            assert (await refuse(edge, status)).route[0].uri.user == flow
        status = await call.status()
        assert not edge.has("INVITE")
        return status

    assert await called(("flow3", 430), ("flow2", 430), ("flow1", 486)) == 486
    assert await called(("flow1", 486)) == 486
    assert await called(("flow1", 430)) == 480
    assert await called() == 480
    assert [one.reg_id for one in (await register_by_edge(edge, 2)).contacts] == [2]
    assert await called(("flow2", 486)) == 486


async def test_a_phone_that_says_430_itself_keeps_its_flow(office: Office) -> None:
    """It is a word between proxies (RFC 5626 section 11.5), and its connection stands."""
    phone = await office.flow("tcp", 1)
    for _ in range(2):
        call = office.call()
        await refuse(phone, 430)
        assert await call.status() == 480


async def test_registering_a_flow_again_and_taking_it_back_leaves_the_other(office: Office) -> None:
    """The same reg-id by another connection takes the place of the old flow."""
    older, newer = await office.flow("tcp", 1), await office.flow("tcp", 2)
    moved = await office.flow("tcp", 2)
    call = office.call()
    await refuse(moved, 430)
    await refuse(older, 486)
    assert await call.status() == 486
    assert not newer.has("INVITE")
    answer = await register(moved, "tcp", 2, expires=0)
    assert [contact.reg_id for contact in answer.contacts] == [1]


async def test_a_phone_that_keeps_alive_and_stops_is_closed(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the Flow-Timer that it was told; one that never sent a keep-alive is left alone."""
    silent, stopping = await office.flow("tcp", 1), await office.flow("tcp", 2)
    assert isinstance(stopping, TcpPhone)
    await stopping.write(b"\r\n\r\n")
    loop = asyncio.get_running_loop()
    now = loop.time()
    connections = office.gateway.app._user_agent._shell.endpoint.connections
    connections.sweep(now + 80)
    assert (await register(stopping, "tcp", 2)).status == 200
    connections.sweep(now + 77 + 20)
    with pytest.raises(ConnectionError):
        await stopping.read()
    assert (await register(silent, "tcp", 1)).status == 200
