"""Connections toward peers on real sockets: kept alive, noticed when dead, made anew under a call."""

from __future__ import annotations

import asyncio
import contextlib

from gateway.net import Answered, Confirmed, Ended, Flow, OfferAnswered, Offered, UserAgent, UserAgentConfig
from gateway.net.connections import StreamLimits
from gateway.sip.invite.events import FlowFound, FlowLost
from tests.net.peers import ANSWER, LOOPBACK, OFFER, Application, Recorder, answering, port_of, tcp_agent

PING, PONG = b"\r\n\r\n", b"\r\n"


class Relay:
    """Carries TCP to a port until it is told to cut what it carries."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.accepted = 0

    async def open(self) -> int:
        """Its own port."""
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, far_writer]
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.ensure_future(_pump(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def cut(self) -> None:
        """Every connection ends at once, at both ends."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def close(self) -> None:
        self.cut()
        self._server.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


async def test_a_trunk_reaches_us_again_after_its_connection_died_in_a_call() -> None:
    """We have no listener for TCP: what it offers and its BYE come by the connection that we made anew."""
    application = Application(answering)
    alice = UserAgent(UserAgentConfig(listen=LOOPBACK), Application())
    await alice.start()
    bob = await tcp_agent(application)
    relay = Relay(port_of(bob, "tcp"))
    port = await relay.open()
    ours = Recorder(alice.invite(f"sip:b@127.0.0.1:{port};transport=tcp", caller="alice", body=OFFER))
    await ours.wait(Answered)
    theirs = await application.calls.get()
    await theirs.wait(Confirmed)
    relay.cut()
    await ours.wait(FlowLost)
    await ours.wait(FlowFound)
    held = ANSWER + b"a=sendonly\r\n"
    theirs.session.offer(held)
    offered = await ours.wait(Offered)
    assert isinstance(offered, Offered)
    ours.session.answer_offer(offered.exchange, OFFER)
    await theirs.wait(OfferAnswered)
    theirs.session.hangup()
    await ours.wait(Ended)
    await relay.close()
    await alice.close()
    await bob.close()


class Server:
    """A TCP server that keeps what it gets; `answers` says whether it answers keep-alives, by `pong`."""

    def __init__(self, *, answers: bool, pong: bytes = PONG) -> None:
        self.answers = answers
        self.pong = pong
        self.got: asyncio.Queue[bytes] = asyncio.Queue()
        self.accepted = 0
        self._writers: list[asyncio.StreamWriter] = []

    async def open(self) -> Flow:
        """The flow that leads there."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return Flow("tcp", "127.0.0.1", self._server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._writers.append(writer)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(64):
                self.got.put_nowait(data)
                if self.answers and data == PING:
                    writer.write(self.pong)
        writer.close()

    async def close(self) -> None:
        """Once the agent is closed, so that every connection ends."""
        self._server.close()
        for writer in self._writers:
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def agent_and_losses() -> tuple[UserAgent, list[Flow], asyncio.Event]:
    """An agent that waits 0.1 s for a pong, the connections that it has lost, and whether it has lost any."""
    config = UserAgentConfig(listen=LOOPBACK, streams=StreamLimits(pong=0.1))
    agent = UserAgent(config, Application())
    await agent.start()
    gone: list[Flow] = []
    lost = asyncio.Event()
    agent.when_lost(gone.append)
    agent.when_lost(lambda flow: lost.set())
    return agent, gone, lost


async def test_a_connection_is_dead_once_its_keep_alives_are_answered_no_more() -> None:
    """It is closed, whoever lives on it is told, and the next keep-alive makes a new one."""
    agent, gone, lost = await agent_and_losses()
    server = Server(answers=True)
    flow = await server.open()
    for _ in range(3):
        await agent.keep_alive((flow,))
        assert await server.got.get() == PING
    assert (gone, server.accepted) == ([], 1)
    server.answers = False
    await agent.keep_alive((flow,))
    await asyncio.wait_for(lost.wait(), 30)
    assert [(one.port, one.dialled) for one in gone] == [(flow.port, True)]
    await server.got.get()
    await agent.keep_alive((flow,))
    assert await server.got.get() == PING
    assert server.accepted == 2
    await agent.close()
    await server.close()


async def test_a_server_that_answers_no_keep_alive_keeps_its_connection() -> None:
    """RFC 5626 is not everybody's: silence says nothing of who never said anything."""
    agent, gone, _ = await agent_and_losses()
    server = Server(answers=False)
    flow = await server.open()
    for _ in range(3):
        await agent.keep_alive((flow,))
        assert await server.got.get() == PING
    assert (gone, server.accepted) == ([], 1)
    await agent.close()
    await server.close()


async def test_a_server_that_has_keep_alives_of_its_own_has_answered_none_of_ours() -> None:
    """What it sends while we wait is its own, and answered; that it is silent later says nothing."""
    agent, gone, _ = await agent_and_losses()
    server = Server(answers=True, pong=PING)
    flow = await server.open()
    for _ in range(2):
        await agent.keep_alive((flow,))
        assert [await server.got.get() for _ in range(2)] == [PING, PONG]
    server.answers = False
    for _ in range(2):
        await agent.keep_alive((flow,))
        assert await server.got.get() == PING
    assert (gone, server.accepted) == ([], 1)
    await agent.close()
    await server.close()


async def test_only_connections_that_are_there_are_kept_where_a_name_leads_to_several() -> None:
    """The first place is connected to where none is."""
    agent, *_ = await agent_and_losses()
    servers = [Server(answers=True), Server(answers=True)]
    flows = tuple([await server.open() for server in servers])
    await agent.keep_alive(flows)
    await servers[0].got.get()
    await agent.keep_alive(tuple(reversed(flows)))
    assert [server.accepted for server in servers] == [1, 0]
    await agent.close()
    for server in servers:
        await server.close()
