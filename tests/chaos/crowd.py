"""Many calls between phones with sound, and what becomes of each while something dies."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager

from gateway.net.config import UserAgentConfig
from gateway.net.registration import Registration, RegistrationPolicy
from gateway.net.user_agent import UserAgent
from gateway.sip.auth.account import Credentials
from gateway.sip.invite import events
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.invite.session import InviteSession
from tests.chaos.ears import PTIME, Ear, Sound
from tests.chaos.fates import Fate
from tests.net.peers import Application, Recorder
from tests.ports import free_port

SETTLED = 40.0
"""Seconds after which somebody has been left alone: more than 64 T1."""
_MEDIA = re.compile(rb"^m=audio (\d+) ", re.MULTILINE)
_ADDRESS = re.compile(rb"^c=IN IP4 ([\d.]+)", re.MULTILINE)


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
    """Phones that call each other through a gateway, by turns by a trunk and where a phone registered."""

    def __init__(self, gateway: str, host: str, user: str, password: str, domain: str, registered: int) -> None:
        """`registered` phones have a number and a binding each."""
        self._gateway, self._host, self._domain = f"udp:{gateway}", host, domain
        self._credentials = Credentials(user, password)
        self._news = asyncio.Event()
        self.callees = free_port()
        """The port that the gateway is to send every number of the trunk to."""
        self._caller = UserAgent(UserAgentConfig(listen=((host, free_port()),), close_timeout=0.2), Application())
        listening = UserAgentConfig(listen=((host, self.callees),), close_timeout=0.2)
        self._callee = UserAgent(listening, Application(self._rings))
        self.sound = Sound()
        self.numbers = [f"8{number:04}" for number in range(registered)]
        """Of phones that register; users of the gateway with the caller's password."""
        self._registrations: dict[str, Registration] = {}
        self._answered: dict[str, asyncio.Future[int]] = {}
        """Who waits for what a REGISTER is answered."""
        self.calls: dict[str, TwoPhones] = {}
        """The last of each number."""
        self.made = list[TwoPhones]()

    async def start(self) -> None:
        await self._caller.start()
        await self._callee.start()

    async def close(self) -> None:
        for agent in (self._caller, self._callee):
            await agent.close()
        self.sound.close()

    async def register(self, numbers: Collection[str]) -> dict[str, int]:
        """Have these phones register, or refresh what they have; what each was answered."""
        return dict(zip(numbers, await asyncio.gather(*map(self._register, numbers)), strict=True))

    async def _register(self, number: str) -> int:
        known = self._registrations.get(number)
        if known is not None:
            answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            self._answered[number] = answered
            known.hurry(0.0)
            async with asyncio.timeout(SETTLED):
                return await answered
        made = self._registrations[number] = await self._callee.register(
            self._gateway.replace("udp:", "sip:"),
            aor=f"sip:{number}@{self._domain}",
            credentials=Credentials(number, self._credentials.password),
            policy=RegistrationPolicy(probe=0.0),
            answered=lambda registration: self._refreshed(number, registration.status),
        )
        return made.status

    def _refreshed(self, number: str, status: int) -> None:
        waiting = self._answered.pop(number, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(status)

    def _rings(self, session: IncomingSession, recorder: Recorder) -> None:
        call = self.calls.get(session.request.uri.user or "")
        if call is None or call.callee.session is not None:
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

    def dial(self, number: str = "", *, answered: bool = True) -> TwoPhones:
        """The next call, or one of that number; not `answered`: it rings until somebody calls `answer`."""
        if not number:
            free = (each for each in self.numbers if each not in self.calls or self.calls[each].is_over)
            number = next(free) if len(self.made) % 2 else f"9{len(self.made):04}"
        call = self.calls[number] = TwoPhones(number, self._host, self.sound, self._news.set)
        self.made.append(call)
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

    @property
    def were_up(self) -> Counter[str]:
        """How many calls of each number were answered, as far as their callers were told."""
        return Counter(call.number for call in self.made if call.caller.heard(events.Answered))

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
async def crowd(
    gateway: str, host: str, user: str, password: str, domain: str, registered: int
) -> AsyncIterator[Crowd]:
    """Phones of that host, without a call yet; the gateway is at "HOST:PORT"."""
    made = Crowd(gateway, host, user, password, domain, registered)
    await made.start()
    try:
        yield made
    finally:
        await made.close()
