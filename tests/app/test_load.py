"""A whole gateway that has too much to do: 503 for new calls by SIP, and it says so until it has time again."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, closing, suppress
from pathlib import Path

import httpx
import pytest

from gateway.app import GatewayApp
from gateway.call.load import LoadControl, LoadPolicy
from gateway.config import Config
from gateway.media.embedded.engine import EmbeddedEngine
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.observe.load import LoadWatch, limit_new_calls
from gateway.sip.flow import Flow
from gateway.sip.invite import events
from gateway.sip.message.message import Request
from gateway.sip.message.parser import parse_message
from tests.app.phones import Phone
from tests.identity.conftest import redis_server
from tests.interop.gateway import PASSWORDS, config_on_free_ports
from tests.net.peers import Application
from tests.ports import free_ports


async def _keep_busy(until: asyncio.Event) -> None:
    while not until.is_set():
        work = time.thread_time() + 0.06
        while time.thread_time() < work:
            pass
        await asyncio.sleep(0)


async def _started(stack: AsyncExitStack, config: Config) -> tuple[GatewayApp, UserAgent, httpx.AsyncClient, str]:
    """A gateway, a phone beside it, a client, and the URL that says whether it takes calls."""
    app = GatewayApp(config)
    await app.start()
    stack.push_async_callback(app.stop)
    agent = UserAgent(UserAgentConfig(listen=(("127.0.0.1", 0),)), Application())
    await agent.start()
    stack.push_async_callback(agent.close)
    http = await stack.enter_async_context(httpx.AsyncClient())
    return app, agent, http, f"http://127.0.0.1:{config.web.listen.port}/readyz"


async def _again(http: httpx.AsyncClient, ready: str) -> None:
    """Ask until the answer is 200, seldom enough not to be the load."""
    pause = 0.1
    while (await http.get(ready)).status_code != 200:
        pause = min(1.0, pause * 2)
        await asyncio.sleep(pause)


@pytest.mark.wall
async def test_new_calls_wait_while_calls_that_are_up_and_calls_in_need_go_on(tmp_path: Path) -> None:
    """A loop with no time left: 503 with Retry-After, but not for 112; /readyz says so and takes it back."""
    [pbx] = free_ports(1)
    config = config_on_free_ports(
        tmp_path,
        LIMITS__LOAD="0.5",
        LIMITS__DELAY="0.04",
        USERS__1001__MAX_CALLS="100",
        TRUNKS=json.dumps([{"name": "pbx", "uri": f"sip:127.0.0.1:{pbx}"}]),
        EMERGENCY=json.dumps({"numbers": ["112"], "trunk": "pbx"}),
    )
    emergency = UserAgent(UserAgentConfig(listen=(("127.0.0.1", pbx),)), Application(lambda call, _: call.ring(180)))
    await emergency.start()
    app = GatewayApp(config)
    await app.start()
    agent = UserAgent(UserAgentConfig(listen=(("127.0.0.1", 0),)), Application())
    await agent.start()
    ready = f"http://127.0.0.1:{config.web.listen.port}/readyz"
    calm = asyncio.Event()
    work = asyncio.create_task(_keep_busy(calm))
    try:
        async with httpx.AsyncClient() as http, asyncio.timeout(30):
            while (answer := await http.get(ready)).json()["status"] != "overloaded":
                pass
            assert answer.status_code == 503
            assert "more to do than it can" in answer.json()["conditions"][0]
            # How much more there is to do than it can is learnt from measurement to measurement.
            while app._load.share > 0.1:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            began = time.monotonic()
            phones = [Phone(agent, app, "1001") for _ in range(40)]
            statuses = await asyncio.gather(*(phone.status() for phone in phones))
            # A tenth, and beside them five a second however busy it is: a slow machine takes longer over the forty.
            let_in = 40 / 10 + 1 + 5 * (time.monotonic() - began + 1)
            outcomes = [phone.outcome.result() for phone in phones]
            refused = [one for one in outcomes if isinstance(one, events.Failed)]
            assert statuses.count(503) == len(refused) >= 40 - let_in
            assert refused
            assert all(one.headers.all("Retry-After") == ["5"] for one in refused)
            assert all("limits.delay" in (one.headers.get("Reason") or "") for one in refused)
            for written in ("112", "1%31-2", "112;user=phone"):
                await Phone(agent, app, "1001", dials=written).rings
            calm.set()
            await _again(http, ready)
            assert await Phone(agent, app, "1001").status() == 200
    finally:
        calm.set()
        await work
        await agent.close()
        await emergency.close()
        await app.stop()


class SlowProxy:
    """Before a server: what it answers takes `delay` seconds longer."""

    def __init__(self, to: int) -> None:
        self.delay = 0.0
        self._to = to
        self._writers: list[asyncio.StreamWriter] = []
        self._open = 0
        self._over = asyncio.Event()
        self._server: asyncio.Server

    async def start(self) -> int:
        """The port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        async with asyncio.timeout(30):
            while self._open:
                self._over.clear()
                await self._over.wait()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        their_reader, their_writer = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers += [writer, their_writer]
        await asyncio.gather(self._pass(reader, their_writer), self._pass(their_reader, writer, slow=True))
        self._open -= 1
        self._over.set()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, slow: bool = False) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                if slow:
                    await asyncio.sleep(self.delay)
                writer.write(data)
        writer.close()


@pytest.mark.wall
async def test_a_store_that_takes_long_refuses_calls_until_it_is_quick(tmp_path: Path) -> None:
    """A real Redis behind a slow path: calls do not pile up; /healthz names the store, and it heals by itself."""
    async with AsyncExitStack() as stack:
        [port] = free_ports(1)
        await asyncio.to_thread(stack.enter_context, redis_server(port, tmp_path))
        proxy = SlowProxy(port)
        at = await proxy.start()
        stack.push_async_callback(proxy.close)
        store = {"IDENTITY__STORE": f"redis://127.0.0.1:{at}/0", "LIMITS__STORE_DELAY": "0.2"}
        # Whatever else this machine does: here the store alone refuses.
        config = config_on_free_ports(tmp_path, LIMITS__LOAD="0", USERS__1001__MAX_CALLS="100", **store)
        app, agent, http, ready = await _started(stack, config)
        assert await Phone(agent, app, "1001").status() == 200
        proxy.delay = 0.5
        async with asyncio.timeout(60):
            statuses: list[int | None] = []
            while 503 not in statuses:
                phones = [Phone(agent, app, "1001") for _ in range(10)]
                statuses += await asyncio.gather(*(phone.status() for phone in phones))
            answer = (await http.get(ready)).json()
            assert answer["status"] == "overloaded"
            assert "limits.store_delay" in answer["conditions"][1]
            proxy.delay = 0.0
            await _again(http, ready)
            assert await Phone(agent, app, "1001").status() == 200


async def test_a_full_packet_plane_refuses_calls_until_it_has_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is let in, but for calls in need; a question that fails changes nothing."""
    busy: list[float | Exception] = [1.0]
    failed = asyncio.Event()

    async def told(_: EmbeddedEngine) -> float | None:
        if isinstance(busy[0], Exception):
            failed.set()
            raise busy[0]
        return busy[0]

    monkeypatch.setattr(EmbeddedEngine, "busy", told)
    monkeypatch.setattr("gateway.observe.load._PLANE_EVERY", 0.05)
    async with AsyncExitStack() as stack:
        config = config_on_free_ports(tmp_path, LIMITS__LOAD="0", LIMITS__PLANE_LOAD="0.8")
        app, agent, http, ready = await _started(stack, config)
        async with asyncio.timeout(60):
            while (answer := await http.get(ready)).json()["status"] != "overloaded":
                pass
            assert "limits.plane_load" in answer.json()["conditions"][1]
            app._load.admit(0.0)
            assert [await Phone(agent, app, "1001").status() for _ in range(10)] == [503] * 10
            busy[0] = RuntimeError("a test's own")
            await failed.wait()
            assert await Phone(agent, app, "1001").status() == 503
            busy[0] = 0.1
            await _again(http, ready)
            assert await Phone(agent, app, "1001").status() == 200


PHONE = Flow("udp", "192.0.2.250", 5060, "")


class Requests:
    """What has begun at a user agent."""

    def __init__(self) -> None:
        self.may_begin: Callable[[Request, Flow, bool], bool] = lambda invite, source, known: True

    def admit_calls(self, may_begin: Callable[[Request, Flow, bool], bool], limit: Callable[[], str]) -> None:
        self.may_begin, self.limit = may_begin, limit

    def waited(self) -> float:
        return 0.0


def invite(number: str, call_id: str = "c", *, signed: bool = False) -> Request:
    credentials = 'Authorization: Digest username="1001"\r\n' if signed else ""
    message = parse_message(
        f"INVITE sip:{number}@gw.test SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n"
        f"From: <sip:1001@gw.test>;tag=a\r\nTo: <sip:{number}@gw.test>\r\nCall-ID: {call_id}\r\n"
        f"CSeq: 1 INVITE\r\n{credentials}Content-Length: 0\r\n\r\n".encode()
    )
    assert isinstance(message, Request)
    return message


async def test_a_call_is_asked_for_once_though_it_comes_twice_and_strangers_in_need_are_bounded() -> None:
    """A phone's INVITE comes again with credentials; a stranger's flood to 112 is a flood."""
    agent, control = Requests(), LoadControl(LoadPolicy())
    watch = limit_new_calls(agent, control, lambda dialled: dialled == "sip:112@gw.test")  # type: ignore[arg-type]
    watch.close()
    for _ in range(500):
        control.measured(1.0, 100.0)
    assert agent.may_begin(invite("600"), PHONE, True)
    while control.admit(asyncio.get_running_loop().time()):
        pass
    assert agent.may_begin(invite("600", signed=True), PHONE, True)
    assert not agent.may_begin(invite("600", signed=True), PHONE, True)
    assert not any(agent.may_begin(invite("600", str(number)), PHONE, True) for number in range(40))
    assert all(agent.may_begin(invite("112"), PHONE, True) for _ in range(400))
    began = time.monotonic()
    let_in = [agent.may_begin(invite("112", str(number)), PHONE, False) for number in range(200)].count(True)
    assert 10 <= let_in <= 12 + 15 * (time.monotonic() - began)
    places = [Flow("udp", f"192.0.2.{number % 200}", 5060, "") for number in range(400)]
    let_in += [agent.may_begin(invite("112", place.host), place, False) for place in places].count(True)
    assert 50 <= let_in <= 54 + 55 * (time.monotonic() - began)
    assert agent.may_begin(invite("112"), PHONE, True)
    more = [f"m{number}" for number in range(1_001)]
    control.policy = LoadPolicy(busy=0.0, store=0.0)
    control.measured(0.0, 0.0)
    assert all(agent.may_begin(invite("600", call_id), PHONE, True) for call_id in more)
    control.policy = LoadPolicy()
    for _ in range(500):
        control.measured(1.0, 100.0)
    while control.admit(asyncio.get_running_loop().time()):
        pass
    # Without credentials it is another call; of a thousand the first that was let in is forgotten.
    assert [agent.may_begin(invite("600", more[-1], signed=signed), PHONE, True) for signed in (False, True)] == [
        False,
        True,
    ]
    assert [agent.may_begin(invite("600", more[place], signed=True), PHONE, True) for place in (0, 1)] == [False, True]


def full() -> Requests:
    """A user agent that has more to do than it can, where strangers call 112."""
    agent, control = Requests(), LoadControl(LoadPolicy())
    limit_new_calls(agent, control, lambda dialled: dialled == "sip:112@gw.test").close()  # type: ignore[arg-type]
    for _ in range(500):
        control.measured(1.0, 100.0)
    while control.admit(asyncio.get_running_loop().time()):
        pass
    control._spare = 0.0
    return agent


async def test_who_has_a_network_of_ipv6_is_one_source_of_emergency_calls() -> None:
    """From whichever of its addresses they come; who calls from elsewhere is let in."""
    agent, began = full(), time.monotonic()
    theirs = [Flow("udp", f"2001:db8::{number:x}", 5060, "") for number in range(40)]
    let_in = [agent.may_begin(invite("112", place.host), place, False) for place in theirs].count(True)
    assert 10 <= let_in <= 11 + 10 * (time.monotonic() - began)
    assert agent.may_begin(invite("112"), Flow("udp", "2001:db8:0:1::1", 5060, ""), False)


async def test_five_sources_that_flood_an_emergency_number_leave_room_for_who_calls_it_first() -> None:
    """A phone that is new needs two INVITEs, the second with credentials; so do some more behind its address."""
    agent = full()
    for number in range(300):
        place = Flow("udp", f"192.0.2.{number % 5}", 5060, "")
        agent.may_begin(invite("112", str(number)), place, False)
    new = Flow("udp", "192.0.2.77", 5060, "")
    assert all(agent.may_begin(invite("112", f"new{number}"), new, False) for number in range(4))


def _full(app: GatewayApp, pace: float) -> None:
    """Nothing more is measured: the gateway lets in `pace` calls a second, and none beside."""
    control = app._load
    for _ in range(500):
        control.measured(1.0, 100.0)
    control.measured = lambda busy, late, waited=0.0: None  # type: ignore[method-assign]
    control._pace = pace
    while control.admit(asyncio.get_running_loop().time()):
        pass
    control._spare = 0.0


async def test_a_phone_calls_for_help_at_a_full_gateway_that_has_just_begun(tmp_path: Path) -> None:
    """Its INVITE is challenged and let in, though nobody has proved anything to this process; other calls are not."""
    [pbx] = free_ports(1)
    config = config_on_free_ports(
        tmp_path,
        TRUNKS=json.dumps([{"name": "pbx", "uri": f"sip:127.0.0.1:{pbx}"}]),
        EMERGENCY=json.dumps({"numbers": ["112"], "trunk": "pbx"}),
    )
    async with AsyncExitStack() as stack, asyncio.timeout(30):
        listen = UserAgentConfig(listen=(("127.0.0.1", pbx),))
        emergency = UserAgent(listen, Application(lambda call, _: call.ring(180)))
        await emergency.start()
        stack.push_async_callback(emergency.close)
        app, agent, _, _ = await _started(stack, config)
        _full(app, 1e-6)
        assert await Phone(agent, app, "1001").status() == 503
        await Phone(agent, app, "1001", dials="112").rings


async def test_calls_come_in_at_the_pace_of_the_gateway(tmp_path: Path) -> None:
    """By SIP and by the HTTP API: none without one, with one as the seconds pass."""
    config = config_on_free_ports(tmp_path, USERS__1001__MAX_CALLS="100")
    async with AsyncExitStack() as stack, asyncio.timeout(60):
        app, agent, http, _ = await _started(stack, config)
        sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n"
        offer = {"sdp": {"type": "offer", "sdp": sdp}, "to": "600"}
        token = {"Authorization": f"Bearer alice:{PASSWORDS['alice']}"}

        async def by_http() -> int:
            url = f"http://127.0.0.1:{config.web.listen.port}/webrtc/offer"
            return (await http.post(url, json=offer, headers=token)).status_code

        _full(app, 1e-6)
        assert [await Phone(agent, app, "1001").status(), await by_http()] == [503, 503]
        app._load._pace = 10.0
        while await Phone(agent, app, "1001").status() == 503:
            pass
        while await by_http() == 503:
            pass


@pytest.mark.wall
async def test_a_loop_that_was_held_up_is_late_by_as_much() -> None:
    """Though it had nothing to do: what held it up was no work of its own."""
    control = LoadControl(LoadPolicy())
    told: asyncio.Queue[tuple[float, float]] = asyncio.Queue()
    control.told.append(lambda busy, late: told.put_nowait((busy, late)))
    with closing(LoadWatch(control, lambda: 0.0)):
        time.sleep(0.4)  # noqa: ASYNC251  # that is what is wrong with it
        async with asyncio.timeout(30):
            busy, late = await told.get()
    assert busy == 0.0
    assert late >= 0.29
