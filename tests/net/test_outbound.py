"""The flows of one account, and the keep-alives by them (RFC 5626 sections 4.2 to 4.5)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest
import pytest_asyncio

from gateway.net.config import UserAgentConfig
from gateway.net.connections import StreamLimits
from gateway.net.outbound import FlowKeeper, Outbound, OutboundRegistration
from gateway.net.registration import Registration
from gateway.net.user_agent import UserAgent
from gateway.sip.flow import Flow
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request, Response
from gateway.sip.message.parser import parse_message
from gateway.sip.message.uri import Uri
from gateway.sip.registration.client import FlowRecovery, RegistrationPolicy
from tests.media.engine_support import until
from tests.net.peers import LOOPBACK, Application

ONE, TWO = "<sip:192.0.2.1;transport=tcp;lr>", "<sip:192.0.2.2;transport=tcp;lr>"
ROUTES = ((NameAddr.parse(ONE),), (NameAddr.parse(TWO),))


class Registrar:
    """Answers what registrations send by each edge, and counts it."""

    def __init__(self, *, takes_flows: bool = True, one_contact: bool = True) -> None:
        self.takes_flows = takes_flows
        self.without_flows: set[str] = set()
        """Edges that take none."""
        self.dead: set[str] = set()
        """Edges that answer nothing."""
        self.one_contact = one_contact
        self.down: set[str] = set()
        self.flow_timer = ""
        self.asked: list[tuple[str, int]] = []
        """(edge, Expires) of each REGISTER."""
        self.contacts: list[NameAddr] = []

    def token(self) -> str:
        return "token"

    def contact(self, flow: Flow, user: str | None) -> NameAddr:
        return NameAddr(Uri.of(user, "198.51.100.1", None if self.one_contact else 5060 + int(flow.host[-1])))

    async def request(self, method: str, target: Uri, **given: Any) -> Response:
        edge = given["route"][0].uri.host
        flow = Flow("tcp", edge, 5060)
        fields = dict(given["headers"])
        self.asked.append((edge, fields["Expires"]))
        contact = given["contact"](flow)
        self.contacts.append(contact)
        request = build.request(
            method, target, from_=given["caller"].with_tag("a"), to=given["callee"], call_id="c", cseq=given["cseq"]()
        )
        await asyncio.sleep(0)
        if edge in self.dead:
            await asyncio.get_running_loop().create_future()
        if edge in self.down:
            return build.response(request, 503)
        given["answered_by"](flow)
        headers: list[tuple[str, object]] = [("Expires", fields["Expires"])]
        if self.takes_flows and edge not in self.without_flows:
            assert fields["Supported"] == "outbound, path"
            headers.append(("Require", "outbound"))
        if self.flow_timer:
            headers.append(("Flow-Timer", self.flow_timer))
        return build.response(request, 200, headers=headers)


class World:
    def __init__(self, registrar: Registrar, ping: Callable[[Flow], Any] | None = None, patience: float = 30.0) -> None:
        async def answered(flow: Flow) -> bool:
            return True

        self.registrar = registrar
        self.keeper = FlowKeeper(ping or answered, lambda: 0.5)
        self.told = 0
        self.made = OutboundRegistration(
            Outbound(
                instance="urn:uuid:0",
                routes=ROUTES,
                recovery=FlowRecovery(all_failed=0.01, not_all_failed=0.01, longest=0.02),
                keep_alive=0.02,
                patience=patience,
            ),
            RegistrationPolicy(expires=300, probe=0),
            self._flow,
            self.keeper,
            self._answered,
        )

    def _answered(self, made: OutboundRegistration) -> None:
        self.told += 1

    def _flow(
        self, policy: RegistrationPolicy, route: tuple[NameAddr, ...], changed: None, answered: Any, **flow: Any
    ) -> Registration:
        aor, registrar = NameAddr.parse("<sip:4989@pbx.test>"), [Uri.parse("sip:pbx.test")]
        return Registration(
            self.registrar, registrar, aor, lambda: None, policy, route, None, answered, None, lambda: 0.5, **flow
        )

    @property
    def hosts(self) -> list[str]:
        return [flow.host for flow in self.made.sources]


@pytest_asyncio.fixture
async def worlds() -> AsyncIterator[Callable[..., World]]:
    made: list[World] = []

    def new(registrar: Registrar, ping: Callable[[Flow], Any] | None = None, patience: float = 30.0) -> World:
        made.append(World(registrar, ping, patience))
        return made[-1]

    yield new
    for world in made:
        world.made.stop()
        await world.keeper.close()


async def test_every_flow_registers_and_is_taken_back(worlds: Callable[..., World]) -> None:
    """reg-id 1 and 2 with one instance; the account stands as long as one does."""
    world = worlds(Registrar())
    await world.made.begin()
    await until(lambda: world.hosts == ["192.0.2.1", "192.0.2.2"])
    assert [(one.reg_id, one.instance) for one in world.registrar.contacts] == [(1, "urn:uuid:0"), (2, "urn:uuid:0")]
    assert (world.made.registered, world.made.status, world.made.expires) == (True, 200, 300)
    await world.made.unregister()
    assert sorted(world.registrar.asked[2:]) == [("192.0.2.1", 0), ("192.0.2.2", 0)]
    assert not world.made.registered


@pytest.mark.parametrize("takes_flows", [True, False])
async def test_flows_that_another_gateway_has_taken_over_are_left_to_it(
    worlds: Callable[..., World], takes_flows: bool
) -> None:
    """Both have one instance: what takes ours back would take its flow. A binding that is no flow is taken back."""
    world = worlds(Registrar(takes_flows=takes_flows))
    await world.made.begin()
    await until(lambda: not world.made._beginning and not world.made._tasks)
    world.registrar.asked.clear()
    await world.made.leave()
    assert not world.made.sources
    assert [expires for _, expires in world.registrar.asked] == ([] if takes_flows else [0])


async def test_a_flow_that_is_lost_leaves_the_account_registered(worlds: Callable[..., World]) -> None:
    """Calls go by the one that stands first; the other is tried again by itself."""
    world = worlds(Registrar())
    await world.made.begin()
    await until(lambda: len(world.hosts) == 2)
    world.registrar.down.add("192.0.2.1")
    [lost] = world.made.standing_on(Flow("tcp", "192.0.2.1", 5060))
    lost.flow_failed(0.0)
    assert world.hosts == ["192.0.2.2"]
    assert world.made.registered
    assert [str(route[0]) for route in world.made.routes] == [TWO, ONE]
    before = len(world.registrar.asked)
    await until(lambda: len(world.registrar.asked) >= before + 3)
    world.registrar.down.clear()
    await until(lambda: world.hosts == ["192.0.2.1", "192.0.2.2"])
    assert [str(route[0]) for route in world.made.routes] == [ONE, TWO]


async def test_only_flows_that_stand_are_hurried(worlds: Callable[..., World]) -> None:
    """Who waits after a failure waits for as long as RFC 5626 section 4.5 says."""
    world = worlds(Registrar())
    world.registrar.down.add("192.0.2.2")
    await world.made.begin()
    await until(lambda: world.hosts == ["192.0.2.1"])
    failed = world.made._flows[2]
    await until(lambda: ("192.0.2.2", 300) in world.registrar.asked and failed._client.deadline is not None)
    failed._client.deadline = failed._now() + 1000
    world.registrar.asked.clear()
    world.made.hurry(0.0)
    await until(lambda: world.registrar.asked)
    assert world.registrar.asked == [("192.0.2.1", 300)]


@pytest.mark.parametrize("one_contact", [True, False])
async def test_a_registrar_that_takes_no_flows_is_given_one(worlds: Callable[..., World], one_contact: bool) -> None:
    """Else each call came in by both; the next takes its place where it fails, and goes when flows are taken again.

    What two flows have in common at such a registrar is not taken back with the one that leaves.
    """
    world = worlds(Registrar(takes_flows=False, one_contact=one_contact))
    await world.made.begin()
    await until(lambda: not world.made._tasks)
    assert world.hosts == ["192.0.2.1"]
    assert (("192.0.2.2", 0) in world.registrar.asked) is not one_contact
    world.registrar.down.add("192.0.2.1")
    [alone] = world.made.standing_on(Flow("tcp", "192.0.2.1", 5060))
    alone.hurry(0.0)
    await until(lambda: world.hosts == ["192.0.2.2"])
    world.registrar.down.clear()
    world.registrar.takes_flows = True
    [alone] = world.made.standing_on(Flow("tcp", "192.0.2.2", 5060))
    alone.hurry(0.0)
    await until(lambda: len(world.hosts) == 2)


@pytest.mark.parametrize("bare", ["192.0.2.1", "192.0.2.2"])
@pytest.mark.parametrize("one_contact", [True, False])
async def test_an_edge_that_takes_no_flows_is_left_out_where_others_take_them(
    worlds: Callable[..., World], bare: str, one_contact: bool
) -> None:
    """Whichever answers first; it is asked again once no flow stands any more, and never in between."""
    world = worlds(Registrar(one_contact=one_contact))
    [good] = {"192.0.2.1", "192.0.2.2"} - {bare}
    world.registrar.without_flows.add(bare)
    await world.made.begin()
    await until(lambda: not world.made._beginning and not world.made._tasks)
    assert world.hosts == [good]
    assert ((bare, 0) in world.registrar.asked) is not one_contact
    world.registrar.asked.clear()
    world.made.hurry(0.0)
    await until(lambda: bool(world.registrar.asked))
    await until(lambda: world.hosts == [good])
    assert [edge for edge, _ in world.registrar.asked] == [good]
    world.registrar.down.add(good)
    world.made.hurry(0.0)
    await until(lambda: world.hosts == [bare])
    world.registrar.down.clear()


async def test_an_edge_that_takes_flows_and_was_away_takes_the_place_of_the_bare_one(
    worlds: Callable[..., World],
) -> None:
    """It is asked again while the other stands alone, as often as flows that fail are, and the other left out anew."""
    world = worlds(Registrar())
    world.registrar.without_flows.add("192.0.2.2")
    await world.made.begin()
    await until(lambda: not world.made._beginning and not world.made._tasks)
    world.registrar.down.add("192.0.2.1")
    world.made.hurry(0.0)
    await until(lambda: world.hosts == ["192.0.2.2"])
    before = world.registrar.asked.count(("192.0.2.1", 300))
    await until(lambda: world.registrar.asked.count(("192.0.2.1", 300)) > before + 2)
    assert world.hosts == ["192.0.2.2"]
    world.registrar.down.clear()
    await until(lambda: world.hosts == ["192.0.2.1"])
    await until(lambda: not world.made._beginning and not world.made._tasks)
    assert list(world.made._flows) == [1]


async def test_what_fails_beside_a_flow_that_stands_alone_is_given_up(worlds: Callable[..., World]) -> None:
    """A first answer that came later than that of the one without flows, and was none."""
    world = worlds(Registrar())
    world.registrar.without_flows.add("192.0.2.1")
    world.registrar.down.add("192.0.2.2")
    await world.made.begin()
    await until(lambda: not world.made._beginning and not world.made._tasks)
    assert (world.hosts, list(world.made._flows)) == (["192.0.2.1"], [1])


@pytest.mark.parametrize("begun", [True, False])
async def test_an_edge_that_is_dead_holds_nobody_up_as_flows_are_taken_back(
    worlds: Callable[..., World], caplog: pytest.LogCaptureFixture, begun: bool
) -> None:
    """The flow by the other one is taken back, and what is bound by the dead one runs out."""
    world = worlds(Registrar(), patience=0.05)
    if not begun:
        world.registrar.dead.add("192.0.2.2")
    await world.made.begin()
    await until(lambda: len(world.hosts) == 1 + begun)
    world.registrar.dead.add("192.0.2.2")
    await asyncio.wait_for(world.made.unregister(), 30)
    assert ("192.0.2.1", 0) in world.registrar.asked
    assert not world.made._tasks
    assert "does not answer by every flow" in caplog.text
    assert "not registered" not in caplog.text


async def test_by_a_registrar_that_takes_no_flows_no_connection_is_pinged(worlds: Callable[..., World]) -> None:
    """It need not answer a double CRLF (RFC 5626 section 4.4.1): its only connection was closed for that."""
    world = worlds(Registrar(takes_flows=False))
    await world.made.begin()
    await until(lambda: not world.made._beginning and not world.made._tasks)
    assert world.hosts == ["192.0.2.1"]
    assert not world.keeper._formed
    world.registrar.takes_flows = True
    world.made.hurry(0.0)
    await until(lambda: len(world.keeper._formed) == 2)


async def test_one_keep_alive_is_for_all_who_stand_on_a_flow(worlds: Callable[..., World]) -> None:
    """What it brings, or does not, is told to each."""
    pinged: list[str] = []
    alive = True

    async def ping(flow: Flow) -> bool:
        pinged.append(flow.host)
        return alive

    world = worlds(Registrar(), ping)
    other = World(world.registrar)
    other.made._keeper = world.keeper
    await world.made.begin()
    await other.made.begin()
    await until(lambda: {"192.0.2.1", "192.0.2.2"} <= set(pinged))
    assert all(flow._client._proven for made in (world.made, other.made) for flow in made._flows.values())
    assert len(world.keeper._tasks) == 2
    world.registrar.down |= {"192.0.2.1", "192.0.2.2"}
    alive = False
    await until(lambda: not world.made.registered and not other.made.registered)
    await until(lambda: not world.keeper._tasks)
    other.made.stop()


async def test_a_keep_alive_that_cannot_be_sent_is_one_that_was_not_answered(worlds: Callable[..., World]) -> None:
    """The flow is formed anew, and kept alive from then on as before."""
    failures = [OSError("no way there"), RuntimeError("unforeseen")]
    pinged = asyncio.Event()

    async def ping(flow: Flow) -> bool:
        if flow.host == "192.0.2.1":
            if failures:
                raise failures.pop()
            pinged.set()
        return True

    world = worlds(Registrar(), ping)
    await world.made.begin()
    await asyncio.wait_for(pinged.wait(), 30)
    assert [edge for edge, _ in world.registrar.asked].count("192.0.2.1") == 3
    await until(lambda: world.hosts == ["192.0.2.1", "192.0.2.2"])


@pytest.mark.parametrize(
    ("said", "seconds"), [("90", 90), ("", 0), ("1", 0), ("-5", 0), ("many", 0), ("9" * 40, 0), ("86400", 3600)]
)
async def test_the_registrar_says_how_often(
    worlds: Callable[..., World], monkeypatch: pytest.MonkeyPatch, said: str, seconds: int
) -> None:
    """Flow-Timer, of which 90 % pass before each keep-alive here; without it, or with nonsense, our own pause."""
    pauses: set[float] = set()
    pinged = asyncio.Event()
    sleep = asyncio.sleep

    async def hurried(pause: float) -> None:
        pauses.add(pause)
        await sleep(min(pause, 0.01))

    async def ping(flow: Flow) -> bool:
        pinged.set()
        return True

    world = worlds(Registrar(), ping)
    world.registrar.flow_timer = said
    monkeypatch.setattr(asyncio, "sleep", hurried)
    await world.made.begin()
    await asyncio.wait_for(pinged.wait(), 30)
    assert world.made._flows[1].flow_timer == seconds
    assert {round(pause, 6) for pause in pauses - {0}} == {round(0.9 * (seconds or 0.02), 6)}


@pytest.mark.parametrize("answers", [True, False])
async def test_a_connection_by_which_no_keep_alive_is_answered_is_closed(answers: bool) -> None:
    """Also where none ever was: who takes flows answers them (RFC 5626 section 4.4.1)."""

    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(100):
                if answers and data.endswith(b"\r\n\r\n"):
                    writer.write(b"\r\n")
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        gone.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    agent = UserAgent(UserAgentConfig(listen=LOOPBACK, streams=StreamLimits(pong=0.2)), Application())
    await agent.start()
    try:
        flow = Flow("tcp", "127.0.0.1", server.sockets[0].getsockname()[1])
        assert not await agent._keeper._ping(flow), "there is no connection yet"
        lost: asyncio.Queue[Flow] = asyncio.Queue()
        agent.when_lost(lost.put_nowait)
        await agent._shell.endpoint._dialers["tcp"].connect(flow)
        assert await agent._keeper._ping(flow) is answers
        if not answers:
            assert (await asyncio.wait_for(lost.get(), 30)).port == flow.port
        assert len(agent._shell.endpoint.connections) == answers
    finally:
        await agent.close()
        await asyncio.wait_for(gone.wait(), 30)
        server.close()


async def test_a_flow_by_udp_is_asked_whether_somebody_is_there() -> None:
    """By OPTIONS to its edge; any answer of somebody who works is one."""
    there = UserAgent(UserAgentConfig(listen=LOOPBACK), Application())
    await there.start()
    config = UserAgentConfig(listen=LOOPBACK, streams=StreamLimits(pong=0.5))
    agent = UserAgent(config, Application())
    await agent.start()
    _, host, port = there.listening[0]
    try:
        assert await agent._keeper._ping(Flow("udp", host, port))
        await there.close()
        assert not await agent._keeper._ping(Flow("udp", host, port))
    finally:
        await agent.close()


async def test_an_edge_that_is_overloaded_is_there() -> None:
    """A 503 of its own is an answer to the keep-alive; what is made here for want of one is not."""

    class Edge(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast(asyncio.DatagramTransport, transport)

        def datagram_received(self, data: bytes, source: tuple[str, int]) -> None:
            request = parse_message(data)
            assert isinstance(request, Request)
            self.transport.sendto(build.response(request, 503, to_tag="edge").write(), source)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Edge, local_addr=("127.0.0.1", 0))
    agent = UserAgent(UserAgentConfig(listen=LOOPBACK), Application())
    await agent.start()
    try:
        assert await agent._keeper._ping(Flow("udp", *transport.get_extra_info("sockname")[:2]))
    finally:
        transport.close()
        await agent.close()
