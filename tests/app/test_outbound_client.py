"""Accounts registered at a PBX by two flows (RFC 5626): while one is down, calls come and go by the other."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest_asyncio

from gateway.app import GatewayApp
from gateway.net.config import UserAgentConfig
from gateway.net.outbound import OutboundRegistration
from gateway.net.user_agent import UserAgent
from gateway.sip.auth.account import Credentials
from tests.app.phones import Phone
from tests.interop.gateway import PASSWORDS, config_on_free_ports
from tests.media.engine_support import until
from tests.net.peers import LOOPBACK, Application, answering
from tests.ports import free_ports


class Edge:
    """One way to the PBX: passes octets on, and counts the INVITEs that come in and go out by it."""

    def __init__(self, port: int, pbx: int) -> None:
        self.port = port
        self._pbx = pbx
        self._server: asyncio.Server | None = None
        self.swallows = False
        """Whether nothing goes on to the PBX, which nobody is told."""
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.to_pbx = bytearray()
        self.from_pbx = bytearray()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def kill(self) -> None:
        """Nobody is there any more: what is open is cut, what is new is refused."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._open:
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, far = await asyncio.open_connection("127.0.0.1", self._pbx)
        for source, target, seen in ((reader, far, self.to_pbx), (there, writer, self.from_pbx)):
            task = asyncio.create_task(self._pass(source, target, seen))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, seen: bytearray) -> None:
        self._open.add(target)
        try:
            while data := await source.read(65536):
                seen += data
                if not self.swallows:
                    target.write(data)
        except OSError:
            pass
        finally:
            self._open.discard(target)
            target.close()
            with contextlib.suppress(OSError):
                await target.wait_closed()


class Office:
    """A PBX, and a gateway whose user 1002 is its extension 1001, registered by two edges."""

    def __init__(self, pbx: GatewayApp, app: GatewayApp, edges: list[Edge], agent: UserAgent) -> None:
        self.pbx = pbx
        self.app = app
        self.edges = edges
        self.agent = agent

    @property
    def standing(self) -> set[int]:
        """Ports of the edges by which the account is registered now."""
        made = self.app._care.registrations.of_account("1002")
        return {flow.port for flow in made.sources} if isinstance(made, OutboundRegistration) else set()

    @property
    def both(self) -> set[int]:
        return {edge.port for edge in self.edges}


@pytest_asyncio.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    sip, tcp, one, two = free_ports(4)
    there = config_on_free_ports(tmp_path / "pbx", SIP__LISTEN=f'["udp:127.0.0.1:{sip}", "tcp:127.0.0.1:{tcp}"]')
    trunk = {
        "name": "pbx",
        "uri": f"sip:127.0.0.1:{tcp};transport=tcp",
        "outbound_proxies": [f"sip:127.0.0.1:{port};transport=tcp" for port in (one, two)],
        "options_interval": 0,
    }
    here = config_on_free_ports(
        tmp_path / "office",
        USERS=json.dumps([{"id": "1002", "sip": True, "may_call": ["*"]}]),
        USERS__1002__ACCOUNT=json.dumps({"registrar": "pbx", "username": "1001", "password": PASSWORDS["1001"]}),
        TRUNKS=json.dumps([trunk]),
        ROUTES="[]",
        ACCOUNTS__FLOWS__BASE_TIME="0.2",
        SIP__REGISTRATION__FLOW_TIMEOUT="1",
    )
    edges = [Edge(port, tcp) for port in (one, two)]

    async with AsyncExitStack() as stack:
        for edge in edges:
            await edge.open()
            stack.push_async_callback(edge.kill)
        pbx, app = GatewayApp(there), GatewayApp(here)
        agent = UserAgent(UserAgentConfig(listen=LOOPBACK), Application(answering))
        for part, stop in ((pbx, pbx.stop), (app, app.stop), (agent, agent.close)):
            await part.start()
            stack.push_async_callback(stop)
        account = Credentials("1002", PASSWORDS["1002"])
        await agent.register(f"sip:{app.sip_hostport}", aor=f"sip:1002@{app.config.domain}", credentials=account)
        made = Office(pbx, app, edges, agent)
        await until(lambda: made.standing == made.both)
        yield made


async def test_both_flows_are_of_one_instance_and_numbered(office: Office) -> None:
    """RFC 5626 section 4.2: the registrar keeps two bindings of one Contact user, and says Require: outbound."""
    registers = [bytes(edge.to_pbx).decode() for edge in office.edges]
    for number, text in enumerate(registers, start=1):
        assert f";reg-id={number}" in text
        assert "Supported: outbound, path" in text
    [instance] = {text.partition("+sip.instance=")[2].partition(">")[0] for text in registers}
    assert instance.startswith('"<urn:uuid:')
    assert all("Require: outbound" in bytes(edge.from_pbx).decode() for edge in office.edges)


async def test_a_call_comes_in_by_the_other_flow_while_one_is_gone(office: Office) -> None:
    """Whichever it is; and once it is back after its wait it is used again."""
    for gone, left in (office.edges, office.edges[::-1]):
        await gone.kill()
        left.from_pbx.clear()
        call = Phone(office.agent, office.pbx, "1003", dials="1001")
        assert await call.status() == 200
        assert left.from_pbx.startswith(b"INVITE ")
        call.session.hangup()
        await asyncio.wait_for(call.over, 30)
        await until(lambda left=left: office.standing == {left.port})
        await gone.open()
        await until(lambda: office.standing == office.both)


async def test_calls_go_out_by_a_flow_that_stands(office: Office) -> None:
    """By the first at first, with `ob` in Contact; by the other as soon as that is known to be gone."""
    for edge in office.edges:
        edge.to_pbx.clear()
        call = Phone(office.agent, office.app, "1002", dials="600")
        assert await call.status() == 200
        assert edge.to_pbx.count(b"INVITE sip:600@") >= 1
        contact = bytes(edge.to_pbx).partition(b"INVITE ")[2].partition(b"Contact: ")[2].partition(b"\r\n")[0]
        assert b";ob>" in contact
        call.session.hangup()
        await asyncio.wait_for(call.over, 30)
        await edge.kill()
    await until(lambda: not office.standing)
    assert office.app._care.registrations.state("1002")[0] == "unreachable"
    refused = Phone(office.agent, office.app, "1002", dials="600")
    assert await refused.status() >= 480


async def test_a_call_goes_out_by_the_other_flow_where_the_first_brings_nothing(office: Office) -> None:
    """The first is taken to stand: only the call itself finds out that nobody is behind its edge any more."""
    first, second = office.edges
    first.swallows = True
    first.to_pbx.clear()
    second.to_pbx.clear()
    call = Phone(office.agent, office.app, "1002", dials="600")
    assert await call.status() == 200
    assert office.standing == office.both
    assert first.to_pbx.startswith(b"INVITE sip:600@")
    assert second.to_pbx.startswith(b"INVITE sip:600@")
    call.session.hangup()
    await asyncio.wait_for(call.over, 30)
    first.swallows = False
