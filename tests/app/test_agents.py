"""Programs elsewhere that take calls over a WebSocket: phones call them, both kinds of socket, and what goes wrong."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import pytest_asyncio
import websockets
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import Server, ServerConnection, serve

from gateway.agents import framing
from gateway.agents.agents import Agents, AgentSettings
from gateway.agents.connection import MAX_MARKS, AgentConnection, Form
from gateway.demo.tones import sine
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from tests.app.tone_peers import Phone
from tests.interop.gateway import Gateway, config_on_free_ports, gateway_with
from tests.media.engine_support import until
from tests.net.peers import Application
from tests.processes import kill

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOKEN = "the-agents-own-Secret-0815"
PATIENCE = 30.0
_USERS = [{"id": one, "sip": True, "max_calls": 5} for one in ("1001", "1002")]
_ROUTES = [
    {"match": "600", "to": "service:echo"},
    {"match": "601", "to": "service:tone"},
    {"match": "800", "to": "agent:comes"},
    {"match": "801", "to": "agent:far"},
    {"match": "802", "to": "agent:nowhere"},
]


class Far:
    """A program that listens: the sockets that came, and what each said."""

    def __init__(self) -> None:
        self.sockets: asyncio.Queue[ServerConnection] = asyncio.Queue()
        self.server: Server

    async def open(self) -> str:
        async def serve_one(socket: ServerConnection) -> None:
            self.sockets.put_nowait(socket)
            await socket.wait_closed()

        self.server = await serve(serve_one, "127.0.0.1", 0)
        return f"ws://127.0.0.1:{next(iter(self.server.sockets)).getsockname()[1]}/calls"


class Place:
    def __init__(self, gateway: Gateway, agent: UserAgent, far: Far) -> None:
        self.gateway, self.agent, self.far = gateway, agent, far

    def phone(self) -> Phone:
        return Phone(self.agent, self.gateway, "1001")

    @property
    def agents(self) -> Agents:
        return self.gateway.app._conferencing.agents

    async def waiting(self) -> ClientConnection:
        """A program of `comes` that waits for its call."""
        url, before = f"{self.gateway.web.replace('http', 'ws')}/api/agents/comes", self.agents.waiting("comes")
        socket = await websockets.connect(url, additional_headers={"Authorization": f"Bearer {TOKEN}"})
        await until(lambda: self.agents.waiting("comes") == before + 1)
        return socket


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    folder, far = tmp_path_factory.mktemp("gateway"), Far()
    agents = [
        {"name": "comes", "token": TOKEN, "may_call": ["600"], "max_messages_per_second": 50},
        {"name": "far", "url": await far.open(), "token": TOKEN, "rate": 8000, "binary": True},
        {"name": "nowhere", "url": "ws://127.0.0.1:9/"},
    ]
    changes = {"USERS": json.dumps(_USERS), "ROUTES": json.dumps(_ROUTES), "AGENTS": json.dumps(agents)}
    changes["LIMITS__LOAD"] = "0"  # the peers are in the same loop
    config = config_on_free_ports(folder, **changes)
    async with gateway_with(config, folder / "gateway.log", secrets=[TOKEN]) as gateway:
        agent = UserAgent(UserAgentConfig(listen=(("127.0.0.1", 0),)), Application())
        await agent.start()
        try:
            yield Place(gateway, agent, far)
        finally:
            await agent.close()
            far.server.close()


async def event(socket: Any, kind: str) -> dict[str, Any]:
    """The next event of that kind; others are skipped."""
    async with asyncio.timeout(PATIENCE):
        while True:
            message = await socket.recv()
            if isinstance(message, str) and (found := json.loads(message))["event"] == kind:
                return dict(found)


async def say(socket: Any, kind: str, **body: Any) -> None:
    await socket.send(json.dumps({"event": kind, kind: body}))


def payload(pcm: Any) -> str:
    return base64.b64encode(pcm.astype("<i2").tobytes()).decode()


@pytest.mark.wall
async def test_a_program_comes_for_its_calls_and_says_back_what_it_hears(place: Place, tmp_path: Path) -> None:
    """The program of docs/voice-agents.md, as it stands there: two calls, each ended by a digit."""
    text = (Path(__file__).parents[2] / "docs" / "voice-agents.md").read_text()
    [program] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    file = tmp_path / "agent.py"
    file.write_text(program)
    url = f"{place.gateway.web.replace('http', 'ws')}/api/agents/comes"
    running = await asyncio.create_subprocess_exec(
        sys.executable, str(file), env={"URL": url, "TOKEN": TOKEN}, stdout=asyncio.subprocess.PIPE
    )
    assert running.stdout is not None
    try:
        for _ in range(2):
            phone = place.phone()
            await until(lambda: place.agents.waiting("comes") == 1)
            assert await phone.dial("800") == 200
            assert b"sip:1001@" in await asyncio.wait_for(running.stdout.readline(), PATIENCE)
            await until(lambda phone=phone: phone.hears() == {400.0})
            await phone.press("#")
            await asyncio.wait_for(phone.over, PATIENCE)
            await phone.rtp.close()
        await place.gateway.idle()
    finally:
        await kill(running)
        await until(lambda: place.agents.waiting("comes") == 0)


async def test_a_program_that_is_connected_to_has_a_call(place: Place) -> None:
    """Its own rate, binary sound, marks when what is before them was said, clear, digits, and the end."""
    phone = place.phone()
    assert await phone.dial("801") == 200
    socket = await asyncio.wait_for(place.far.sockets.get(), PATIENCE)
    assert socket.request is not None
    assert socket.request.headers["Authorization"] == f"Bearer {TOKEN}"
    start = (await event(socket, "start"))["start"]
    assert start["mediaFormat"] == {"encoding": "pcm_s16le", "sampleRate": 8000, "channels": 1}
    assert start["customParameters"] == {"from": "sip:1001@gateway.local", "to": "801", "name": "1001", "user": "1001"}
    assert start["callSid"] == next(iter(place.gateway.app.calls)).id
    frames: list[bytes] = []
    while len(frames) < 75:
        message = await asyncio.wait_for(socket.recv(), PATIENCE)
        frames += [message] if isinstance(message, bytes) else []
    assert {len(frame) for frame in frames} == {320}
    heard = np.frombuffer(b"".join(frames[-25:]), "<i2").astype(float)
    assert int(np.argmax(np.abs(np.fft.rfft(heard)))) * 2 == 400
    await socket.send(sine(700.0, 1.0, 8000).astype("<i2").tobytes())
    await say(socket, "mark", name="said")
    await until(lambda: phone.hears() == {700.0})
    assert (await event(socket, "mark"))["mark"] == {"name": "said"}
    # What waits is forgotten, and its mark comes back at once.
    await say(socket, "media", payload=payload(sine(700.0, 1.0, 8000)))
    for _ in range(3):
        await socket.send(sine(700.0, 2.0, 8000).astype("<i2").tobytes())
    await say(socket, "mark", name="late")
    began = asyncio.get_running_loop().time()
    await say(socket, "clear")
    assert (await event(socket, "mark"))["mark"] == {"name": "late"}
    assert asyncio.get_running_loop().time() - began < 2.0
    await phone.press("7")
    assert (await event(socket, "dtmf"))["dtmf"]["digit"] == "7"
    await phone.hang_up()
    assert (await event(socket, "stop"))["stop"] == {"reason": "normal"}
    await asyncio.wait_for(socket.wait_closed(), PATIENCE)
    assert socket.close_code == 1000
    await place.gateway.idle()


async def test_a_caller_is_passed_on_where_the_agent_may(place: Place) -> None:
    """Elsewhere it is told that it may not, and still has its call."""
    socket, phone = await place.waiting(), place.phone()
    assert await phone.dial("800") == 200
    await event(socket, "start")
    await say(socket, "transfer", to="601")
    assert (await event(socket, "transfer"))["transfer"] == {"to": "601", "failed": "forbidden"}
    assert phone.hears() == set()
    await say(socket, "transfer", to="600")
    await event(socket, "stop")
    await until(lambda: phone.hears() == {400.0})
    await phone.hang_up()
    await place.gateway.idle()


async def test_nobody_is_let_in_without_the_token_and_nobody_waits_for_nobody(place: Place) -> None:
    """401 for a wrong token, an agent that there is not, and one that is connected to; 480 where no program is."""
    for name, token in (("comes", "guess"), ("comes", ""), ("nobody", ""), ("nobody", TOKEN), ("far", TOKEN)):
        url = f"{place.gateway.web.replace('http', 'ws')}/api/agents/{name}"
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(url, additional_headers={"Authorization": f"Bearer {token}"})
        assert refused.value.response.status_code == 401
    gone = await place.waiting()
    await gone.close()
    await until(lambda: place.agents.waiting("comes") == 0)
    for number in ("800", "802"):
        assert await place.phone().dial(number) == 480


@pytest.mark.parametrize("first", ["{", '{"event": "start"}', b"odd"])
async def test_a_program_that_is_not_understood_loses_its_call(place: Place, first: str | bytes) -> None:
    """It is told why; before it has a call, too, and the next caller gets another."""
    early, late = await place.waiting(), await place.waiting()
    await early.send(first)
    await asyncio.wait_for(early.wait_closed(), PATIENCE)
    assert early.close_code == 1008
    phone = place.phone()
    assert await phone.dial("800") == 200
    await event(late, "start")
    await late.send(first)
    assert (await event(late, "error"))["error"]["message"]
    await asyncio.wait_for(phone.over, PATIENCE)
    await asyncio.wait_for(late.wait_closed(), PATIENCE)
    assert late.close_code == 1008
    await phone.rtp.close()
    await place.gateway.idle()


@pytest.mark.parametrize("number", ["800", "801"])
async def test_a_message_of_more_than_64_kib_ends_the_call(place: Place, number: str) -> None:
    """Of a program that came, and of one that was connected to; 64 KiB are taken."""
    came = await place.waiting() if number == "800" else None
    phone = place.phone()
    assert await phone.dial(number) == 200
    socket: Any = came or await asyncio.wait_for(place.far.sockets.get(), PATIENCE)
    await event(socket, "start")
    await socket.send(bytes(65_536))
    await say(socket, "mark", name="taken")
    assert (await event(socket, "mark"))["mark"] == {"name": "taken"}
    await socket.send(bytes(65_538))
    await asyncio.wait_for(phone.over, PATIENCE)
    await asyncio.wait_for(socket.wait_closed(), PATIENCE)
    assert socket.close_code == 1009
    await phone.rtp.close()
    await place.gateway.idle()


async def test_marks_that_wait_are_bounded(place: Place) -> None:
    """Those behind ten seconds of sound; one more is refused, and `clear` brings those that were taken in order."""
    waiting, phone = await place.waiting(), place.phone()
    assert await phone.dial("800") == 200
    await event(waiting, "start")
    for _ in range(10):
        await say(waiting, "media", payload=payload(np.zeros(16_000, np.int16)))
    for number in range(MAX_MARKS + 1):
        await say(waiting, "mark", name=str(number))
    assert (await event(waiting, "error"))["error"] == {"message": "too many marks wait"}
    await say(waiting, "clear")
    assert [(await event(waiting, "mark"))["mark"]["name"] for _ in range(MAX_MARKS)] == [
        str(each) for each in range(MAX_MARKS)
    ]
    await phone.hang_up()
    await place.gateway.idle()


async def test_a_program_that_sends_too_much_loses_its_call(place: Place) -> None:
    """More than a minute of sound is refused alone; more messages than it may send end the call."""
    socket, phone = await place.waiting(), place.phone()
    assert await phone.dial("800") == 200
    await event(socket, "start")
    second = payload(np.zeros(16_000, np.int16))
    for _ in range(62):
        await say(socket, "media", payload=second)
    assert "60 s wait" in (await event(socket, "error"))["error"]["message"]
    with contextlib.suppress(websockets.ConnectionClosed):
        for _ in range(600):
            await say(socket, "clear")
    while "60 s wait" in (reason := (await event(socket, "error"))["error"]["message"]):
        pass
    assert reason == "too many messages"
    await asyncio.wait_for(phone.over, PATIENCE)
    await phone.rtp.close()
    await place.gateway.idle()


class Link:
    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, message: str | bytes) -> None:
        self.sent.append(message)

    def close(self, code: int, reason: str) -> None:
        self.sent.append((code, reason))


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("[" * 100_000, "JSON"),
        ("[]", "object"),
        ('{"event": ["media"]}', "event is"),
        ('{"event": "media"}', "media.payload is text"),
        ('{"event": "media", "media": {"payload": "AAA"}}', "base64"),
        ('{"event": "media", "media": {"payload": "\\u00e4"}}', "base64"),
        ('{"event": "media", "media": {"payload": "AA=="}}', "even number"),
        ('{"event": "mark", "mark": {"name": ""}}', "mark.name"),
        (json.dumps({"event": "mark", "mark": {"name": "x" * 257}}), "mark.name"),
        ('{"event": "transfer", "transfer": {"to": "1\\n"}}', "transfer.to"),
        ('{"event": "clear", "streamSid": "other"}', "streamSid"),
    ],
)
async def test_what_is_no_event_is_said_so(message: str, reason: str) -> None:
    """In one sentence that quotes nothing."""
    with pytest.raises(framing.FramingError, match=re.escape(reason)):
        framing.read(message, "mine")


async def test_nothing_is_taken_after_the_end() -> None:
    """What comes late changes nothing."""
    link = Link()
    connection = AgentConnection(link, Form(), lambda: 0.0)
    connection.lost()
    connection.received('{"event": "stop"}')
    assert connection.over
    assert link.sent == []


class Talker:
    """A session whose caller is silent, speaks, and is silent again; then the call is over."""

    call_id, number, identity, ended = "c1", "800", "1001", None
    waiting = 0.0

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self.caller = SimpleNamespace(uri="sip:1001@gw.test", display_name="")

    async def audio(self, rate: int) -> AsyncIterator[Any]:
        assert rate == self._rate
        silence, speech = np.zeros(rate, np.int16), sine(300.0, 1.0, rate).astype(np.int16)
        for frame in np.split(np.concatenate([silence, speech, silence]), 150):
            yield frame

    async def __aiter__(self) -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield


@pytest.mark.parametrize(("rate", "binary"), [(8_000, True), (16_000, False)])
async def test_a_program_is_told_when_the_caller_begins_and_ends_to_speak(rate: int, binary: bool) -> None:
    """Once each, among the sound it hears; three loud frames are speech, 0.6 s without are its end."""
    link = Link()
    connection = AgentConnection(link, Form(rate=rate, binary=binary), lambda: 0.0)
    await asyncio.wait_for(connection.talk(cast(Any, Talker(rate)), "stream"), PATIENCE)
    said = [json.loads(each) for each in link.sent if isinstance(each, str)]
    told = [each["speech"] for each in said if each["event"] == "speech"]
    assert told == [
        {"track": "inbound", "speaking": True, "timestamp": "1040"},
        {"track": "inbound", "speaking": False, "timestamp": "2580"},
    ]
    at = [place for place, each in enumerate(link.sent) if isinstance(each, str) and '"speech"' in each]
    assert at == [54, 132]


class Passing(Talker):
    """A session whose caller is passed on for ever."""

    def __init__(self) -> None:
        super().__init__(16_000)
        self.passed, self.over, self.left = list[str](), asyncio.Event(), asyncio.Event()

    async def audio(self, rate: int) -> AsyncIterator[Any]:
        await self.over.wait()
        for frame in list[Any]():
            yield frame

    async def transfer(self, to: str) -> None:
        self.passed.append(to)
        try:
            await asyncio.Event().wait()
        finally:
            self.left.set()


async def test_a_caller_is_passed_on_once_at_a_time_and_no_more_when_the_call_is_over() -> None:
    """A second transfer meanwhile is refused; the first is given up with the call."""
    link, session = Link(), Passing()
    connection = AgentConnection(link, Form(), lambda: 0.0)
    talking = asyncio.ensure_future(connection.talk(cast(Any, session), "stream"))
    await asyncio.sleep(0)
    for to in ("1002", "1003"):
        connection.received(json.dumps({"event": "transfer", "transfer": {"to": to}}))
        await asyncio.sleep(0)
    assert session.passed == ["1002"]
    assert json.loads(link.sent[-1])["error"] == {"message": "the caller is being passed on already"}
    session.over.set()
    await asyncio.wait_for(talking, PATIENCE)
    assert session.left.is_set()


class Chatterbox(Talker):
    """A session whose caller is never silent, and gives its program each frame as soon as it has had the last."""

    def __init__(self, rate: int) -> None:
        super().__init__(rate)
        self.frames = 0
        self.over = asyncio.Event()

    async def ring(self) -> None: ...

    async def answer(self) -> None: ...

    async def audio(self, rate: int) -> AsyncIterator[Any]:
        try:
            while self.frames < 5_000:
                self.frames += 1
                yield np.zeros(30_000, np.int16)
                await asyncio.sleep(0)
        finally:
            self.over.set()


async def test_a_program_that_does_not_read_loses_its_call(place: Place) -> None:
    """What waits for it is bounded: 512 messages, and what the system holds of two sockets."""
    url = f"ws://127.0.0.1:{next(iter(place.far.server.sockets)).getsockname()[1]}/"
    agents = Agents({"deaf": AgentSettings(url=url, form=Form(binary=True))}, lambda: 0.0, lambda: "stream")
    session = Chatterbox(16_000)
    talking = asyncio.ensure_future(agents.attend(cast(Any, session), "deaf"))
    deaf = await asyncio.wait_for(place.far.sockets.get(), PATIENCE)
    await asyncio.wait_for(session.over.wait(), PATIENCE)
    deaf.transport.abort()
    await asyncio.wait_for(talking, PATIENCE)
    assert 512 < session.frames < 2_000
