"""Applications for tests: they write down what happens and answer as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.net import (
    Accepted,
    Flow,
    IncomingSession,
    InfoReceived,
    InviteSession,
    Reply,
    SessionEvent,
    UserAgent,
    UserAgentConfig,
    Verdict,
)
from gateway.sip.message.message import Request

OFFER = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
LOOPBACK = (("127.0.0.1", 0),)
ANSWER = OFFER.replace(b"4000", b"5000")


class Recorder:
    """Keeps a session's events and lets a test wait for the next one of a kind."""

    def __init__(self, session: InviteSession, react: Callable[[SessionEvent], None] | None = None) -> None:
        self.session = session
        self.events: list[SessionEvent] = []
        self._news = asyncio.Event()
        self._react = react
        session.listen(self._take)

    def _take(self, event: SessionEvent) -> None:
        self.events.append(event)
        self._news.set()
        if self._react is not None:
            self._react(event)
        elif isinstance(event, InfoReceived):
            self.session.answer_info(event.number, 200)

    async def wait(self, kind: type[SessionEvent], seconds: float = 30.0) -> SessionEvent:
        """The first event of `kind`; TimeoutError when none comes."""
        return await self.wait_for_one_of(kind, seconds=seconds)

    async def wait_for_one_of(self, *kind: type[SessionEvent], seconds: float = 30.0) -> SessionEvent:
        """The first event of any of these kinds; TimeoutError when none comes."""
        async with asyncio.timeout(seconds):
            while True:
                for event in self.events:
                    if isinstance(event, kind):
                        return event
                self._news.clear()
                await self._news.wait()


class Application:
    """Hooks that let everybody in, keep each call's recorder and run `on_call` on it."""

    def __init__(self, on_call: Callable[[IncomingSession, Recorder], None] | None = None) -> None:
        self.on_call = on_call
        self.calls: asyncio.Queue[Recorder] = asyncio.Queue()
        self.verdict: Verdict = Accepted("tester")
        self.registered: list[Request] = []

    async def authenticate(self, request: Request, source: Flow) -> Verdict:
        return self.verdict

    def invited(self, session: InviteSession, identity: str | None) -> None:
        assert isinstance(session, IncomingSession)
        recorder = Recorder(session)
        if self.on_call is not None:
            self.on_call(session, recorder)
        self.calls.put_nowait(recorder)

    async def answer_register(self, request: Request, source: Flow, identity: str | None) -> Reply:
        self.registered.append(request)
        return Reply(200)


def answering(session: IncomingSession, recorder: Recorder) -> None:
    """Ring and answer at once."""
    session.ring()
    session.answer(ANSWER)


async def tcp_agent(application: Application, **settings: object) -> UserAgent:
    """A user agent on free loopback ports of UDP and TCP."""
    agent = UserAgent(UserAgentConfig(listen=LOOPBACK, listen_tcp=LOOPBACK, **settings), application)  # type: ignore[arg-type]
    await agent.start()
    return agent


def port_of(agent: UserAgent, transport: str) -> int:
    """The port that it listens on by `transport`."""
    return next(port for kind, _, port in agent.listening if kind == transport)


async def started(application: Application, **settings: object) -> UserAgent:
    """A user agent on a free loopback port."""
    agent = UserAgent(UserAgentConfig(listen=(("127.0.0.1", 0),), **settings), application)  # type: ignore[arg-type]
    await agent.start()
    return agent


def address(agent: UserAgent, user: str = "bob") -> str:
    """A URI that reaches `agent`."""
    _, host, port = agent.listening[0]
    return f"sip:{user}@{host}:{port}"
