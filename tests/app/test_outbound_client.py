"""Accounts registered at a PBX by two flows (RFC 5626): while one is down, calls come and go by the other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest_asyncio

from tests.app.office import Office, behind_edges
from tests.app.phones import Phone
from tests.media.engine_support import until
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


@dataclass
class Edges:
    """An office behind two edges."""

    office: Office
    edges: list[Edge]

    @property
    def both(self) -> set[int]:
        return {edge.port for edge in self.edges}


@pytest_asyncio.fixture
async def behind(tmp_path: Path) -> AsyncIterator[Edges]:
    sip, tcp, one, two = free_ports(4)
    edges = [Edge(port, tcp) for port in (one, two)]
    async with AsyncExitStack() as stack:
        for edge in edges:
            await edge.open()
            stack.push_async_callback(edge.kill)
        made = behind_edges(
            tmp_path,
            (one, two),
            listen=[f"udp:127.0.0.1:{sip}", f"tcp:127.0.0.1:{tcp}"],
            pbx=f"sip:127.0.0.1:{tcp};transport=tcp",
            of_pbx={},
            of_app={"ACCOUNTS__FLOWS__BASE_TIME": "0.2", "SIP__REGISTRATION__FLOW_TIMEOUT": "1"},
        )
        yield Edges(await stack.enter_async_context(made), edges)


async def test_both_flows_are_of_one_instance_and_numbered(behind: Edges) -> None:
    """RFC 5626 section 4.2: the registrar keeps two bindings of one Contact user, and says Require: outbound."""
    registers = [bytes(edge.to_pbx).decode() for edge in behind.edges]
    for number, text in enumerate(registers, start=1):
        assert f";reg-id={number}" in text
        assert "Supported: outbound, path" in text
    [instance] = {text.partition("+sip.instance=")[2].partition(">")[0] for text in registers}
    assert instance.startswith('"<urn:uuid:')
    assert all("Require: outbound" in bytes(edge.from_pbx).decode() for edge in behind.edges)


async def test_a_call_comes_in_by_the_other_flow_while_one_is_gone(behind: Edges) -> None:
    """Whichever it is; and once it is back after its wait it is used again."""
    for gone, left in (behind.edges, behind.edges[::-1]):
        await gone.kill()
        left.from_pbx.clear()
        call = Phone(behind.office.agent, behind.office.pbx, "1003", dials="1001")
        assert await call.status() == 200
        assert left.from_pbx.startswith(b"INVITE ")
        call.session.hangup()
        await asyncio.wait_for(call.over, 30)
        await until(lambda left=left: behind.office.standing == {left.port})
        await gone.open()
        await until(lambda: behind.office.standing == behind.both)


async def test_calls_go_out_by_a_flow_that_stands(behind: Edges) -> None:
    """By the first at first, with `ob` in Contact; by the other as soon as that is known to be gone."""
    for edge in behind.edges:
        edge.to_pbx.clear()
        call = Phone(behind.office.agent, behind.office.app, "1002", dials="600")
        assert await call.status() == 200
        assert edge.to_pbx.count(b"INVITE sip:600@") >= 1
        contact = bytes(edge.to_pbx).partition(b"INVITE ")[2].partition(b"Contact: ")[2].partition(b"\r\n")[0]
        assert b";ob>" in contact
        call.session.hangup()
        await asyncio.wait_for(call.over, 30)
        await edge.kill()
    await until(lambda: not behind.office.standing)
    assert behind.office.app._care.registrations.state("1002")[0] == "unreachable"
    refused = Phone(behind.office.agent, behind.office.app, "1002", dials="600")
    assert await refused.status() >= 480


async def test_a_call_goes_out_by_the_other_flow_where_the_first_brings_nothing(behind: Edges) -> None:
    """The first is taken to stand: only the call itself finds out that nobody is behind its edge any more."""
    first, second = behind.edges
    first.swallows = True
    first.to_pbx.clear()
    second.to_pbx.clear()
    call = Phone(behind.office.agent, behind.office.app, "1002", dials="600")
    assert await call.status() == 200
    assert behind.office.standing == behind.both
    assert first.to_pbx.startswith(b"INVITE sip:600@")
    assert second.to_pbx.startswith(b"INVITE sip:600@")
    call.session.hangup()
    await asyncio.wait_for(call.over, 30)
    first.swallows = False
