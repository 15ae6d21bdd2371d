"""What a death costs a call of plain RTP: the gateway's, its packet plane's as well, and rtpengine's with its Redis.

Run as `python -m bench.recovery [KILLS]`. Two sockets send each other a packet every 20 ms through what is measured; it
is killed with SIGKILL and started again at once. Of each kill: the longest time that either socket heard nothing, and
the time from the kill until the same call can be signalled again (ours: a re-INVITE is answered with 200; rtpengine:
the call is there when it is asked about it).
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import re
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from bench.cluster import _redis
from bench.process import environment, plane_of, running
from bench.registrations import PASSWORD
from bench.rtpengine import rtpengine
from bench.sip import _silent
from bench.table import Result, report
from gateway.demo.ports import free_ports
from gateway.media.rtpengine.bencode import Encodable, Value, decode, encode
from gateway.net import Accepted, Answered, IncomingSession, OfferAnswered, Reply, UserAgent, UserAgentConfig
from gateway.sip.auth.account import Credentials
from gateway.sip.flow import Flow
from gateway.sip.invite.events import Offered, SessionEvent
from gateway.sip.invite.session import InviteSession
from gateway.sip.message.message import Request

KILLS = 20
HOST, USER = "127.0.0.1", "1001"
_PTIME = 0.02
_PATIENCE = 60.0
_WINDOW = 1.0
_CONTROL, _FIRST, _PORTS = 26_001, 26_100, 100
_PAYLOAD = b"\xd5" * 160
_MEDIA = re.compile(r"^m=audio (\d+) ", re.MULTILINE)


class Ear:
    """One end's RTP socket."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((HOST, 0))
        self.socket.settimeout(_PTIME / 4)
        self.remote: tuple[str, int] | None = None
        self.heard_at = self.gap = 0.0
        self._sent = 0

    @property
    def description(self) -> str:
        port = self.socket.getsockname()[1]
        head = f"v=0\r\no=- {port} 1 IN IP4 {HOST}\r\ns=-\r\nc=IN IP4 {HOST}\r\nt=0 0\r\n"
        return f"{head}m=audio {port} RTP/AVP 0\r\na=ptime:20\r\n"

    def speak_to(self, description: str) -> None:
        """Send where it says from now on."""
        found = _MEDIA.search(description)
        assert found is not None
        self.remote = (HOST, int(found[1]))

    def speak(self) -> None:
        if self.remote is None:
            return
        self._sent += 1
        head = struct.pack("!BBHII", 0x80, 0, self._sent & 0xFFFF, self._sent * 160 & 0xFFFFFFFF, id(self) & 0xFFFFFFFF)
        with contextlib.suppress(OSError):
            self.socket.sendto(head + _PAYLOAD, self.remote)

    def hear(self) -> None:
        try:
            data = self.socket.recv(2048)
        except OSError:
            return
        if len(data) == 172:
            now = time.monotonic()
            self.gap = max(self.gap, now - self.heard_at) if self.heard_at else 0.0
            self.heard_at = now


class Ears:
    """Two of them, each in a thread of its own that hears and one that speaks."""

    def __init__(self) -> None:
        self.both = (Ear(), Ear())
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._speak, daemon=True)]
        self._threads += [threading.Thread(target=self._hear, args=(each,), daemon=True) for each in self.both]
        for thread in self._threads:
            thread.start()

    def _speak(self) -> None:
        due = time.monotonic()
        while not self._over.wait(max(0.0, due - time.monotonic())):
            due = max(due + _PTIME, time.monotonic())
            for each in self.both:
                each.speak()

    def _hear(self, ear: Ear) -> None:
        while not self._over.is_set():
            ear.hear()

    def begin(self) -> None:
        for each in self.both:
            each.gap = 0.0

    @property
    def gap(self) -> float:
        """Seconds, of whoever heard nothing for longer."""
        return max(each.gap for each in self.both)

    def close(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        for each in self.both:
            each.socket.close()


def _serve(asked: Connection) -> None:
    """Ears in a process of their own: who starts programs holds its threads up."""
    made = Ears()
    asked.send([each.description for each in made.both])
    try:
        while (told := asked.recv()) is not None:
            if told == "begin":
                made.begin()
            elif told == "figures":
                asked.send((min(each.heard_at for each in made.both), made.gap))
            else:
                made.both[told[0]].speak_to(told[1])
    finally:
        made.close()


class Sound:
    """Two sockets in another process that send each other a packet every 20 ms."""

    def __init__(self, asked: Connection) -> None:
        self._asked = asked
        self.descriptions: list[str] = asked.recv()

    def speak_to(self, place: int, description: str) -> None:
        """Have one of them send where that says."""
        self._asked.send((place, description))

    def begin(self) -> None:
        """Look for the longest gap from now on."""
        self._asked.send("begin")

    def heard_since(self, moment: float) -> bool:
        return self._figures()[0] > moment

    @property
    def gap(self) -> float:
        """Seconds, of whoever heard nothing for longer."""
        return self._figures()[1]

    def _figures(self) -> tuple[float, float]:
        self._asked.send("figures")
        figures: tuple[float, float] = self._asked.recv()
        return figures


@contextlib.contextmanager
def sound() -> Iterator[Sound]:
    context = multiprocessing.get_context("spawn")
    asked, asking = context.Pipe()
    process = context.Process(target=_serve, args=(asking,), daemon=True)
    process.start()
    try:
        yield Sound(asked)
    finally:
        asked.send(None)
        process.join(_PATIENCE)
        process.kill()


@dataclass(slots=True)
class Figures:
    """Of each kill, seconds."""

    gaps: list[float] = field(default_factory=list)
    signalling: list[float] = field(default_factory=list)
    quiet: list[float] = field(default_factory=list)
    """The same silences while nothing dies: what the machine and the sockets' own threads add."""


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(_PATIENCE):
        while not is_so():  # noqa: ASYNC110  # threads hear
            await asyncio.sleep(0.005)


class Phones:
    """Who calls and who is called, with a socket of `ears` each."""

    def __init__(self, heard: Sound) -> None:
        self._sound = heard
        self.session: InviteSession
        self._answers: asyncio.Queue[int] = asyncio.Queue()
        [self.port] = free_ports(1)

    async def authenticate(self, request: Request, source: Flow) -> Accepted:
        return Accepted()

    async def answer_register(self, request: Request, source: Flow, identity: str | None) -> Reply:
        return Reply(403)

    def invited(self, session: InviteSession, identity: str | None) -> None:
        assert isinstance(session, IncomingSession)
        self._sound.speak_to(1, session.request.body.decode())
        session.listen(lambda event: self._take(1, session, event))
        session.answer(self._sound.descriptions[1].encode())

    def _take(self, place: int, session: InviteSession, event: SessionEvent) -> None:
        if isinstance(event, Answered | Offered | OfferAnswered) and event.body:
            self._sound.speak_to(place, event.body.decode())
        if isinstance(event, Offered):
            session.answer_offer(event.exchange, self._sound.descriptions[place].encode())
        if isinstance(event, Answered):
            self._answers.put_nowait(200)
        if isinstance(event, OfferAnswered):
            self._answers.put_nowait(event.status)

    async def call(self, agent: UserAgent, sip: str) -> None:
        """It is up, and both hear each other."""
        self.session = agent.invite(
            f"sip:9@{sip}",
            caller=f"<sip:{USER}@gateway.local>",
            body=self._sound.descriptions[0].encode(),
            credentials=Credentials(USER, PASSWORD),
        )
        self.session.listen(lambda event: self._take(0, self.session, event))
        async with asyncio.timeout(_PATIENCE):
            assert await self._answers.get() == 200
        began = time.monotonic()
        await until(lambda: self._sound.heard_since(began))

    async def change(self) -> None:
        """A re-INVITE is answered; tried again where nobody is there to take it."""
        async with asyncio.timeout(_PATIENCE):
            while True:
                self.session.offer(self._sound.descriptions[0].encode())
                if await self._answers.get() == 200:
                    return
                await asyncio.sleep(0.02)


async def _until_answered(agent: UserAgent, sip: str) -> None:
    """Ask by OPTIONS: silence and ICMP say that nobody is there yet, and a re-INVITE would end its session by it."""
    async with asyncio.timeout(_PATIENCE):
        while (await agent.options(f"sip:{sip}")).status != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def of_gateway(kills: int, *, with_plane: bool) -> Figures:
    """Of our own, as `gateway run` starts."""
    found = Figures()
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-bench-")))
        heard = stack.enter_context(sound())
        phones = Phones(heard)
        user = {"id": USER, "sip": True, "password": PASSWORD, "may_call": ["*", "9*"]}
        environ = environment(
            str(folder), phones.port, USERS=[user], MEDIA__PLANE="native", LIMITS__LOAD=0, DOMAIN="gateway.local"
        )
        sip = re.findall(r"udp:([\d.:]+)", environ["GATEWAY_SIP__LISTEN"])[0]
        agent = UserAgent(UserAgentConfig(listen=((HOST, phones.port),)), phones)
        await agent.start()
        stack.push_async_callback(agent.close)
        gateway = await stack.enter_async_context(running(environ, folder / "0.log"))
        await phones.call(agent, sip)
        for _ in range(kills):
            heard.begin()
            await asyncio.sleep(_WINDOW)
            found.quiet.append(heard.gap)
        for number in range(1, kills + 1):
            heard.begin()
            began, plane = time.monotonic(), plane_of(str(folder))
            gateway.process.kill()
            if with_plane:
                assert plane is not None
                os.kill(plane, signal.SIGKILL)
            gateway.process.wait()
            async with asyncio.TaskGroup() as group:
                starting = group.create_task(stack.enter_async_context(running(environ, folder / f"{number}.log")))
                await _until_answered(agent, sip)
                await phones.change()
                found.signalling.append(time.monotonic() - began)
            gateway = starting.result()
            ended = time.monotonic()
            await until(lambda since=ended: heard.heard_since(since))  # type: ignore[misc]
            await asyncio.sleep(0.3)
            found.gaps.append(heard.gap)
    return found


@contextlib.asynccontextmanager
async def _ng() -> AsyncIterator[Callable[[dict[str, Encodable]], dict[str, Value]]]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        control.connect((HOST, _CONTROL))
        control.settimeout(0.05)
        numbers = iter(range(1 << 30))

        def ask(command: dict[str, Encodable]) -> dict[str, Value]:
            cookie = f"bench{next(numbers)} ".encode()
            deadline = time.monotonic() + _PATIENCE
            while time.monotonic() < deadline:
                with contextlib.suppress(OSError):
                    control.send(cookie + encode(command))
                    data = control.recv(65_535)
                    if data.startswith(cookie):
                        found = decode(data.removeprefix(cookie))
                        assert isinstance(found, dict)
                        return found
            raise SystemExit("rtpengine does not answer")

        yield ask


async def of_rtpengine(kills: int, binary: str) -> Figures:
    """Of rtpengine in user space, which writes its calls into a Redis and reads them back as it starts."""
    found, call = Figures(), {"call-id": "bench", "from-tag": "one"}
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rtpengine-bench-")))
        url = stack.enter_context(_redis(folder))
        heard = stack.enter_context(sound())
        ask = await stack.enter_async_context(_ng())
        keeps = (f"--redis={url.removeprefix('redis://')}", "--timeout=600")

        def start() -> subprocess.Popen[bytes]:
            daemon = rtpengine(binary, *keeps, ports=_PORTS, control=_CONTROL, first=_FIRST)
            return stack.enter_context(daemon).process

        process = start()
        offer = ask({**call, "command": "offer", "sdp": heard.descriptions[0]})
        heard.speak_to(1, str(offer["sdp"]))
        answer = ask({**call, "command": "answer", "to-tag": "two", "sdp": heard.descriptions[1]})
        heard.speak_to(0, str(answer["sdp"]))
        began = time.monotonic()
        await until(lambda: heard.heard_since(began))
        for _ in range(kills):
            await asyncio.sleep(0.5)
            heard.begin()
            began = time.monotonic()
            process.kill()
            process.wait()
            process = await asyncio.to_thread(start)
            while (await asyncio.to_thread(ask, {"command": "query", "call-id": "bench"})).get("result") != "ok":
                if time.monotonic() - began > _PATIENCE:
                    raise SystemExit("rtpengine has lost the call")
            found.signalling.append(time.monotonic() - began)
            ended = time.monotonic()
            await until(lambda since=ended: heard.heard_since(since))  # type: ignore[misc]
            await asyncio.sleep(0.3)
            found.gaps.append(heard.gap)
    return found


def _results(what: str, found: Figures, peer: Figures | None, goals: tuple[str | None, str | None]) -> list[Result]:
    results = []
    for name, values, theirs, goal in (
        ("longest silence", found.gaps, peer and peer.gaps, goals[0]),
        ("until the call can be signalled", found.signalling, peer and peer.signalling, goals[1]),
    ):
        for figure, of in (("p50", statistics.median), ("max", max)):
            value = of(values) * 1e3
            other = of(theirs) * 1e3 if theirs else None
            told = () if other is None else ("rtpengine, Redis", other, other / value)
            results.append(Result(f"{what}: {name}, {figure}", value, "ms", goal, *told))
    return results


def main(kills: int = KILLS) -> bool:
    """Measure, print, write bench/results/recovery.json; whether every goal is met."""
    _silent()
    binary, theirs = shutil.which("rtpengine"), None
    if binary is None or shutil.which("redis-server") is None:
        print("rtpengine or redis-server is not installed: ours is measured alone.")
    else:
        theirs = asyncio.run(of_rtpengine(kills, binary))
    alone = asyncio.run(of_gateway(kills, with_plane=False))
    both = asyncio.run(of_gateway(kills, with_plane=True))
    results = [
        Result("nothing killed: longest silence in a second, p50", statistics.median(alone.quiet) * 1e3, "ms"),
        Result("nothing killed: longest silence in a second, max", max(alone.quiet) * 1e3, "ms"),
    ]
    results += _results("gateway killed", alone, theirs, ("value <= 60", "value <= 2000"))
    results += _results("gateway and plane killed", both, theirs, (None, "value <= 5000"))
    return report("recovery", results)


if __name__ == "__main__":
    raise SystemExit(0 if main(int(sys.argv[1]) if len(sys.argv) > 1 else KILLS) else 1)
