"""Many calls between phones with sound, and what becomes of each while something dies."""

from __future__ import annotations

import asyncio
import re
import selectors
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager

from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.auth.account import Credentials
from gateway.sip.invite import events
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.invite.session import InviteSession
from tests.chaos.fates import Fate
from tests.net.peers import Application, Recorder
from tests.ports import free_port

PTIME = 0.04
"""Seconds of a packet."""
SETTLED = 40.0
"""Seconds after which somebody has been left alone: more than 64 T1."""
_PAYLOAD = b"\xd5" * round(8000 * PTIME)
_MEDIA = re.compile(rb"^m=audio (\d+) ", re.MULTILINE)
_ADDRESS = re.compile(rb"^c=IN IP4 ([\d.]+)", re.MULTILINE)


class Ear:
    """One phone's RTP socket."""

    def __init__(self, ssrc: int, host: str) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((host, 0))
        self.host = host
        self.remote: tuple[str, int] | None = None
        self.heard_at = 0.0
        self.longest_gap = 0.0
        self._ssrc, self._number = ssrc, 0

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    def hear(self, now: float) -> None:
        """Take what has come."""
        try:
            while True:
                if self.socket.recv(2048)[1] & 0x7F:
                    continue  # RTCP
                if self.heard_at:
                    self.longest_gap = max(self.longest_gap, now - self.heard_at)
                self.heard_at = now
        except OSError:
            return

    def speak(self) -> None:
        """Send a packet where the last description said."""
        if self.remote is None:
            return
        self._number += 1
        head = struct.pack(
            "!BBHII", 0x80, 0, self._number & 0xFFFF, self._number * len(_PAYLOAD) & 0xFFFFFFFF, self._ssrc
        )
        try:
            self.socket.sendto(head + _PAYLOAD, self.remote)
        except OSError:
            return  # as a network would lose it


class Sound:
    """A thread in which every ear hears and speaks."""

    def __init__(self) -> None:
        self._ears: list[Ear] = []
        self._selector = selectors.DefaultSelector()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sound", daemon=True)
        self._thread.start()

    def add(self, ear: Ear) -> None:
        self._selector.register(ear.socket, selectors.EVENT_READ, ear)
        self._ears.append(ear)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._over.is_set():
            now = time.monotonic()
            if now >= due:
                due = max(due + PTIME, now)
                for ear in tuple(self._ears):
                    ear.speak()
            for key, _ in self._selector.select(max(0.001, due - time.monotonic())):
                key.data.hear(time.monotonic())

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._selector.close()
        for ear in self._ears:
            ear.socket.close()


class Side:
    """One phone of a call."""

    def __init__(self, ear: Ear, told: Callable[[], None]) -> None:
        self.ear = ear
        self._told = told
        self.session: InviteSession | None = None
        self._events: list[events.SessionEvent] = []
        self.offers = 0

    @property
    def description(self) -> bytes:
        return (
            f"v=0\r\no=- {self.ear.port} 1 IN IP4 {self.ear.host}\r\ns=-\r\nc=IN IP4 {self.ear.host}\r\nt=0 0\r\n"
            f"m=audio {self.ear.port} RTP/AVP 0\r\na=ptime:{PTIME * 1000:.0f}\r\n"
        ).encode()

    def begin(self, session: InviteSession) -> None:
        self.session = session
        session.listen(self._take)

    def take_description(self, body: bytes | None) -> None:
        """Speak to where it says."""
        if body and (found := _MEDIA.search(body)) and (address := _ADDRESS.search(body)):
            self.ear.remote = (address[1].decode(), int(found[1]))

    def _take(self, event: events.SessionEvent) -> None:
        assert self.session is not None
        self._events.append(event)
        if isinstance(event, events.Offered | events.Answered | events.OfferAnswered):
            self.take_description(event.body)
        if isinstance(event, events.Offered):
            self.session.answer_offer(event.exchange, self.description)
        if isinstance(event, events.Failed | events.Ended):
            self.ear.remote = None
        self._told()

    def heard(self, *kinds: type[events.SessionEvent]) -> list[events.SessionEvent]:
        """Events of these kinds."""
        return [each for each in self._events if isinstance(each, kinds)]

    @property
    def is_over(self) -> bool:
        return self.session is None or bool(self.heard(events.Failed, events.Ended))

    @property
    def is_up(self) -> bool:
        return not self.is_over and bool(self.heard(events.Answered, events.Confirmed))

    @property
    def is_answered(self) -> bool:
        """Whether each offer of its own has been, with 200 the last."""
        answers = self.heard(events.OfferAnswered)
        return len(answers) == self.offers and (not answers or getattr(answers[-1], "status", 0) == 200)


class TwoPhones:
    """A call."""

    def __init__(self, number: str, host: str, sound: Sound, told: Callable[[], None]) -> None:
        self.number = number
        self.caller, self.callee = (Side(Ear(hash((number, side)) & 0xFFFFFFFF, host), told) for side in range(2))
        for side in (self.caller, self.callee):
            sound.add(side.ear)
        self.may_answer = True

    @property
    def is_up(self) -> bool:
        return self.caller.is_up and self.callee.is_up

    @property
    def is_over(self) -> bool:
        return self.caller.is_over and self.callee.is_over

    def answer(self) -> None:
        """Pick the callee's phone up, if it rings."""
        session = self.callee.session
        if isinstance(session, IncomingSession) and not self.callee.is_over:
            session.answer(self.callee.description)

    def hears_since(self, moment: float) -> bool:
        return all(side.ear.heard_at > moment for side in (self.caller, self.callee))


class Crowd:
    """Phones that call each other through a gateway."""

    def __init__(self, gateway: str, host: str, user: str, password: str, domain: str) -> None:
        self._gateway, self._host, self._domain = f"udp:{gateway}", host, domain
        self._credentials = Credentials(user, password)
        self._news = asyncio.Event()
        self.callees = free_port()
        """The port that the gateway is to send every number to."""
        self._caller = UserAgent(UserAgentConfig(listen=((host, free_port()),)), Application())
        self._callee = UserAgent(UserAgentConfig(listen=((host, self.callees),)), Application(self._rings))
        self._sound = Sound()
        self.calls: dict[str, TwoPhones] = {}

    async def start(self) -> None:
        await self._caller.start()
        await self._callee.start()

    async def close(self) -> None:
        for agent in (self._caller, self._callee):
            await agent.close()
        self._sound.close()

    def _rings(self, session: IncomingSession, recorder: Recorder) -> None:
        call = self.calls.get(session.request.uri.user or "")
        if call is None:
            session.reject(404)
            return
        call.callee.take_description(session.request.body)
        call.callee.begin(session)
        session.ring()
        if call.may_answer:
            call.answer()

    async def until(self, is_so: Callable[[], bool], seconds: float = SETTLED) -> bool:
        """Wait for news that make it so; whether they did in time."""
        try:
            async with asyncio.timeout(seconds):
                while not is_so():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return False
        return True

    def dial(self, *, answered: bool = True) -> TwoPhones:
        """The next call; not `answered`: it rings until somebody calls `answer`."""
        number = f"9{len(self.calls):04}"
        call = self.calls[number] = TwoPhones(number, self._host, self._sound, self._news.set)
        call.may_answer = answered
        call.caller.begin(
            self._caller.invite(
                f"sip:{number}@{self._domain}",
                received=self._gateway,
                caller=f"<sip:{self._credentials.username}@{self._domain}>",
                body=call.caller.description,
                credentials=self._credentials,
            )
        )
        return call

    async def answered(self) -> None:
        """Wait until the gateway answers an OPTIONS."""
        async with asyncio.timeout(SETTLED):
            # 503 where ICMP said that nobody listens.
            while (await self._caller.options(f"sip:{self._domain}", received=self._gateway)).status == 503:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def heard(self, calls: Collection[TwoPhones], moment: float) -> bool:
        """Wait until every phone of these calls has heard something after that moment; whether they have in time."""
        try:
            async with asyncio.timeout(SETTLED):
                while not all(call.hears_since(moment) for call in calls):  # noqa: ASYNC110  # a thread hears
                    await asyncio.sleep(PTIME)
        except TimeoutError:
            return False
        return True

    async def fate(self, call: TwoPhones) -> Fate:
        """Of a call that was up: whether both still hear each other and may change it, or both know that it is over."""
        if call.is_over:
            return Fate.ENDED
        if not await self.heard([call], time.monotonic()):
            return Fate.ENDED if call.is_over else Fate.LOST
        for side in (call.caller, call.callee):
            if side.session is None or side.is_over:
                return Fate.LOST
            if not await self._may_change(side):
                return Fate.LOST
        return Fate.KEPT

    async def _may_change(self, side: Side) -> bool:
        assert side.session is not None
        side.offers += 1
        side.session.offer(side.description)
        await self.until(lambda: len(side.heard(events.OfferAnswered)) == side.offers)
        return side.is_answered


@asynccontextmanager
async def crowd(gateway: str, host: str, user: str, password: str, domain: str) -> AsyncIterator[Crowd]:
    """Phones of that host, without a call yet; the gateway is at "HOST:PORT"."""
    made = Crowd(gateway, host, user, password, domain)
    await made.start()
    try:
        yield made
    finally:
        await made.close()
