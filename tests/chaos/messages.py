"""kill -9 of the gateway at every message of a call: its set-up, a hold, a re-INVITE of the callee's, and its end."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.auth.account import Credentials
from gateway.sip.invite import events
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.invite.session import InviteSession
from gateway.sip.invite.states import SessionState
from gateway.sip.message.uri import Uri
from tests import peers
from tests.chaos.fates import Fate
from tests.chaos.forked import Forks, Succession, forks
from tests.chaos.wire import HOST, Message, Side, Wire
from tests.net.peers import ANSWER, OFFER, Application, Recorder
from tests.ports import free_port, free_ports

USER, PASSWORD, DOMAIN = "1001", "of-the-caller-0815", "gateway.example"
CALLS = 100
"""Most calls of one stage: each callee has a number and a port of its own."""
HOLD = OFFER + b"a=sendonly\r\n"
_SETTLED = 40.0
"""Seconds after which somebody has been left alone: more than 64 T1."""
_ANSWERED = Message("caller", False, "200 INVITE")
_BYE = Message("caller", True, "BYE")
_CANCEL = Message("caller", True, "CANCEL")


@dataclass(frozen=True, slots=True)
class Death:
    """When the gateway is killed."""

    at: Message
    lost: bool
    """Whether the message is lost with it: what was to be sent or was on its way."""
    again: Message | None = None
    """At which the next gateway is killed as well, and which is lost with it; None: it lives on."""
    is_given_up: bool = False
    """Whether the caller gives up while it rings."""

    def __str__(self) -> str:
        twice = "" if self.again is None else f"; then at {self.again}"
        return f"{self.at}, {'lost' if self.lost else 'arrived'}{', given up' if self.is_given_up else ''}{twice}"


AGAIN = (
    Death(Message("callee", True, "180 INVITE"), False, Message("callee", False, "CANCEL")),
    Death(Message("callee", True, "180 INVITE"), False, Message("caller", False, "500 INVITE")),
    Death(Message("callee", True, "200 INVITE"), True, Message("callee", False, "BYE")),
)
"""The next gateway is killed at each goodbye that it has to say for the one before."""


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What became of a call."""

    fate: Fate
    told: str
    """What each phone was told of the end, or what went wrong."""
    seconds: float
    """From the start of the next gateway until that was so."""


class Phone:
    """A user agent that answers every offer, behind a wire, and what it hears of its call.

    A callee may be called twice: a gateway that never told the caller of the first call begins another one.
    """

    def __init__(self, agent: UserAgent, wire: Wire, heard: Callable[[events.SessionEvent], None]) -> None:
        """`heard` is told of each event."""
        self.agent, self.wire = agent, wire
        self._heard = heard
        self._session: InviteSession | None = None
        self._events: list[events.SessionEvent] = []
        """Of the last call."""
        self._before: list[list[events.SessionEvent]] = []
        """Of each before it."""
        self.offers = 0

    @property
    def session(self) -> InviteSession:
        assert self._session is not None
        return self._session

    @session.setter
    def session(self, session: InviteSession) -> None:
        if self._session is not None:
            self._before.append(self._events)
        self._session, self._events = session, []
        session.listen(partial(self._take, session, self._events))

    def _take(self, session: InviteSession, heard: list[events.SessionEvent], event: events.SessionEvent) -> None:
        heard.append(event)
        if isinstance(event, events.Offered):
            session.answer_offer(event.exchange, ANSWER)
        self._heard(event)

    def heard(self, *kinds: type[events.SessionEvent]) -> list[events.SessionEvent]:
        """Events of these kinds."""
        return [each for each in self._events if isinstance(each, kinds)]

    @property
    def is_over(self) -> bool:
        """Whether it was told so, or never knew of a call."""
        return self._session is None or (self.has_no_other and bool(self.heard(events.Failed, events.Ended)))

    @property
    def has_no_other(self) -> bool:
        """Whether it was told of the end of every call before."""
        return all(any(isinstance(each, events.Failed | events.Ended) for each in heard) for heard in self._before)

    @property
    def is_up(self) -> bool:
        return self.has_no_other and not self.is_over and bool(self.heard(events.Answered, events.Confirmed))

    @property
    def waits(self) -> bool:
        """Whether an offer of its own has no answer yet."""
        return len(self.heard(events.OfferAnswered)) < self.offers

    def offer(self, body: bytes) -> None:
        self.offers += 1
        self.session.offer(body)

    @property
    def told(self) -> str:
        for event in self.heard(events.Failed, events.Ended):
            if isinstance(event, events.Failed):
                return str(event.status)
            if isinstance(event, events.Ended):
                return f"{event.by} {event.cause or ''}".strip()
        return "nothing"

    async def said(self) -> None:
        """Wait until the gateway has what this phone has sent so far."""
        await self.agent.request("OPTIONS", Uri.parse(f"sip:{DOMAIN}"), received=f"udp:{HOST}:{self.wire.for_phone}")

    async def close(self) -> None:
        await self.agent.close()
        self.wire.close()


class Stage:
    """One call between two phones, through a gateway that is killed at one message of it."""

    def __init__(self, folder: Path, start: Forks, environ: dict[str, str], sip: int, numbers: dict[str, int]) -> None:
        """`numbers` are the callees', with the ports that the gateway finds them at."""
        self._gateway, self._sip = Succession(folder, start, environ), sip
        self._numbers = iter(numbers.items())
        self._strikes: list[tuple[Message, bool]] = []
        """At which messages a gateway is to be killed yet, and whether each is lost."""
        self._is_given_up = False
        self._struck = asyncio.Event()
        self._news = asyncio.Event()
        self.passed: list[Message] = []
        """Messages of the call, in order, up to the kill."""
        self.caller: Phone
        self.callee: Phone
        self._number = ""

    async def start(self) -> None:
        """The next gateway."""
        await self._gateway.start()

    async def stop(self) -> None:
        await self._gateway.stop()

    def faults(self) -> list[str]:
        """What no gateway may have said: an exception, or that more calls were left than the one and the one before it.

        Whose far ends may have answered that it is over a moment ago.
        """
        left = [
            re.search(r"calls of the gateway before resumed=(\d+) ended=(\d+)", each) for each in self._gateway.said()
        ]
        many = [found[0] for found in left if found is not None and int(found[1]) + int(found[2]) > 2]
        return many + self._gateway.faults()

    async def _phone(self, side: Side, application: Application, for_gateway: int = 0) -> Phone:
        port = free_port()
        agent = UserAgent(UserAgentConfig(listen=((HOST, port),), close_timeout=0.2), application)
        await agent.start()
        return Phone(agent, Wire(side, port, self._sip, self._passes, for_gateway), self._heard)

    def _passes(self, message: Message) -> bool:
        if self._strikes and message == self._strikes[0][0]:
            _, is_lost = self._strikes.pop(0)
            self._struck.set()
            self._gateway.strike()
            return not is_lost
        if self._struck.is_set():
            return True
        self.passed.append(message)
        self._news.set()
        return True

    @asynccontextmanager
    async def phones(self) -> AsyncIterator[Self]:
        """A caller and a callee, which has a wire of its own that the gateway's route leads to."""

        def rings(session: IncomingSession, recorder: Recorder) -> None:
            self.callee.session = session
            session.ring()

        self.passed, self._struck = [], asyncio.Event()
        self._number, port = next(self._numbers)
        self.caller = await self._phone("caller", Application())
        self.callee = await self._phone("callee", Application(rings), port)
        try:
            yield self
        finally:
            for phone in (self.caller, self.callee):
                await phone.close()
            self._strikes, self._is_given_up = [], False

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait for news that make it so."""
        while not is_so():
            self._news.clear()
            await self._news.wait()

    def dial(self) -> None:
        """The caller calls the callee, who answers once the caller knows that it rings."""
        self.caller.session = self.caller.agent.invite(
            f"sip:{self._number}@{DOMAIN}",
            received=f"udp:{HOST}:{self.caller.wire.for_phone}",
            caller=f"<sip:{USER}@{DOMAIN}>",
            body=OFFER,
            credentials=Credentials(USER, PASSWORD),
        )

    def _heard(self, event: events.SessionEvent) -> None:
        if isinstance(event, events.Provisional) and event.status == 180 and not self.callee.is_over:
            called = self.callee.session
            assert isinstance(called, IncomingSession)
            if called.machine.state is SessionState.INCOMING and self._is_given_up:
                self.caller.session.hangup()
            elif called.machine.state is SessionState.INCOMING:
                called.answer(ANSWER)
        self._news.set()

    async def talk(self) -> None:
        """Set the call up, hold it, have the callee ask for something, and hang up; or give it up while it rings."""
        self.dial()
        if self._is_given_up:
            await self.until(lambda: self.caller.is_over and self.callee.is_over)
            await self.until(lambda: sum(each.what == "ACK" for each in self.passed) == 3)
            return
        await self.until(lambda: self.caller.is_up and self.callee.is_up and self._acks("caller") == 2)
        await self._hold("caller", self.caller)
        await self._hold("callee", self.callee)
        self.caller.session.hangup()
        await self.until(lambda: self.caller.is_over and self.callee.is_over)
        await self.until(lambda: self.passed[-1].what == "200 BYE")

    async def _hold(self, side: Side, phone: Phone) -> None:
        acks = self._acks(side)
        phone.offer(HOLD)
        await self.until(lambda: self._acks(side) > acks)

    def _acks(self, side: Side) -> int:
        return sum(each.side == side and each.to_gateway and each.what == "ACK" for each in self.passed)

    async def messages(self, *, is_given_up: bool = False) -> list[Message]:
        """Of a whole call, without a kill."""
        async with self.phones(), asyncio.timeout(_SETTLED):
            self._is_given_up = is_given_up
            await self.talk()
            return list(self.passed)

    async def die(self, death: Death) -> Aftermath:
        """Kill the gateway there, start the next, and see what becomes of the call."""
        async with self.phones():
            self._strikes, self._is_given_up = [(death.at, death.lost)], death.is_given_up
            talking = asyncio.create_task(self.talk())
            async with asyncio.timeout(_SETTLED):
                await self._struck.wait()
            talking.cancel()
            await asyncio.gather(talking, return_exceptions=True)
            await self._gateway.kill()
            if death.again is not None:
                self._struck.clear()
                self._strikes = [(death.again, True)]
                await self.start()
                async with asyncio.timeout(_SETTLED):
                    await self._struck.wait()
                await self._gateway.kill()
            await self.start()
            began = time.monotonic()
            fate, told = await self._fate()
            after = Aftermath(fate, told, time.monotonic() - began)
            for phone in (self.caller, self.callee):
                await phone.said()
            return after

    async def _fate(self) -> tuple[Fate, str]:
        caller, callee = self.caller, self.callee
        try:
            async with asyncio.timeout(_SETTLED):
                await self.until(
                    lambda: (
                        (caller.is_over and callee.is_over)
                        or (caller.is_up and callee.is_up and not caller.waits and not callee.waits)
                    )
                )
                if caller.is_over:
                    return Fate.ENDED, f"{caller.told}; {callee.told}"
                for phone in (caller, callee):
                    await self._works(phone)
                callee.session.hangup()
                await self.until(lambda: caller.is_over and callee.is_over)
        except (TimeoutError, AssertionError) as error:
            return Fate.LOST, f"{_state(caller)}; {_state(callee)} {error}"
        return Fate.KEPT, ""

    async def _works(self, phone: Phone) -> None:
        """It may offer something else, which the other is asked for."""
        phone.offer(OFFER)
        await self.until(lambda: not phone.waits or phone.is_over)
        last = phone.heard(events.OfferAnswered)[-1]
        assert isinstance(last, events.OfferAnswered)
        assert last.status == 200, f"an offer was answered with {last.status}"


def _state(phone: Phone) -> str:
    return "up" if phone.is_up else f"over ({phone.told})" if phone.is_over else "left alone"


def deaths(passed: Sequence[Message], *, is_given_up: bool = False) -> list[Death]:
    """At each message: one that was lost with the gateway, and one of the gateway's that had just arrived."""
    found = [(message, lost) for message in passed for lost in (True, False)[: 1 + (not message.to_gateway)]]
    return [Death(message, lost, is_given_up=is_given_up) for message, lost in found]


def allowed(death: Death, passed: Sequence[Message]) -> set[Fate]:
    """A call that a peer was told of goes on, until somebody hangs up; before that it goes on or both are told."""
    if death.is_given_up or death.again is not None:
        return {Fate.ENDED}
    place = passed.index(death.at)
    if place >= passed.index(_BYE):
        return {Fate.ENDED}
    return {Fate.KEPT} if place >= passed.index(_ANSWERED) else {Fate.KEPT, Fate.ENDED}


@asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    """A gateway that runs, and whom it may be killed before."""
    peers.plane()
    web, sip, webrtc, rtp = free_ports(4)
    user = {"id": USER, "sip": True, "password": PASSWORD, "may_call": ["*", "9*"]}
    numbers = {f"9{place:03}": free_port() for place in range(CALLS)}
    values = {
        "WEB__LISTEN": f"{HOST}:{web}",
        "SIP__LISTEN": f'["udp:{HOST}:{sip}"]',
        "WEBRTC__LISTEN": f"{HOST}:{webrtc}",
        "RTP__PORTS": f"{rtp}-{rtp + 99}",
        "RTP__MEDIA_TIMEOUT": "0",
        "IDENTITY__STORE": "memory",
        "STATE_DIR": str(folder),
        "DOMAIN": DOMAIN,
        "MEDIA__PLANE": "native",
        "USERS": json.dumps([user]),
        "ROUTES": json.dumps([{"match": name, "to": f"sip:phone@{HOST}:{port}"} for name, port in numbers.items()]),
    }
    others = {key: value for key, value in os.environ.items() if not key.startswith("GATEWAY_")}
    environ = others | {f"GATEWAY_{key}": value for key, value in values.items()}
    async with AsyncExitStack() as stack:
        made = Stage(folder, await stack.enter_async_context(forks()), environ, sip, numbers)
        await made.start()
        stack.push_async_callback(made.stop)
        yield made


async def deaths_of_a_call(
    folder: Path, chosen: Callable[[Death], bool]
) -> AsyncIterator[tuple[Death, Aftermath, bool]]:
    """Every death of one call that is chosen, what became of it, and whether that may be.

    Raises AssertionError where a gateway said what it may not.
    """
    async with stage(folder) as made:
        passed = await made.messages()
        given_up = await made.messages(is_given_up=True)
        ends = deaths(given_up[given_up.index(_CANCEL) :], is_given_up=True)
        for death in filter(chosen, [*deaths(passed), *ends, *AGAIN]):
            after = await made.die(death)
            yield death, after, after.fate in allowed(death, passed)
        faults = made.faults()
        assert not faults, faults[0]
