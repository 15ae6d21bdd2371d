"""One socket of a program: it waits for a call, has that one, and ends with it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import structlog

from gateway.agents.framing import Clear, Event, FramingError, Mark, Media, Stop, Transfer, Writer, read
from gateway.call.leg import DigitPressed
from gateway.legs.application import Session, SessionError
from gateway.legs.speech import SpeechDetector

log = structlog.get_logger(__name__)

BURST_SECONDS = 10.0
"""So many seconds' worth of messages may come at once."""
MAX_MARKS = 128
"""Marks that may wait for what is before them to be said; `clear` tells all at once: half of `send_queue`."""
_NEARLY = 0.01
"""Seconds: half a frame."""
NORMAL, POLICY = 1000, 1008
"""Close codes (RFC 6455 section 7.4.1)."""


class Link(Protocol):
    """The way out of a socket."""

    def send(self, message: str | bytes) -> None:
        """Queue one message; where too much waits the socket ends. Never blocks, never raises."""

    def close(self, code: int, reason: str) -> None:
        """Close it after what is queued; idempotent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What the socket of a program carries."""

    rate: int = 16_000
    """Samples a second, both ways."""
    binary: bool = False
    """Sound goes to it as binary messages, not in base64; from it both are taken."""
    max_messages_per_second: float = 500.0


class AgentConnection:
    """Whoever has the socket calls `received` for each message, and `lost` once when it is gone."""

    def __init__(self, link: Link, form: Form, clock: Callable[[], float]) -> None:
        self._link = link
        self._form = form
        self._clock = clock
        self._allowance = form.max_messages_per_second * BURST_SECONDS
        self._since = clock()
        self._session: Session | None = None
        self._writer = Writer("", form.rate, binary=form.binary)
        self._over = asyncio.Event()
        self._said = 0.0
        """Seconds that were given to be said."""
        self._marks: deque[tuple[float, str]] = deque()
        """Each with the seconds before it."""
        self._check: asyncio.TimerHandle | None = None
        self._transfer: asyncio.Task[None] | None = None

    @property
    def over(self) -> bool:
        """Whether no call can be given to it."""
        return self._over.is_set()

    def received(self, message: str | bytes) -> None:
        """One message of the program came."""
        if self.over:
            return
        if not self._may_send():
            self._refuse("too many messages")
            return
        try:
            event = read(message, self._writer.stream)
        except FramingError as error:
            self._refuse(str(error))
            return
        if self._session is None:
            self._refuse("there is no call yet")
        else:
            self._carry_out(event, self._session)

    def lost(self) -> None:
        """The socket is gone; so is the program."""
        self._over.set()

    def close(self, code: int, reason: str) -> None:
        """Have no call, or no more."""
        self._over.set()
        self._link.close(code, reason)

    async def talk(self, session: Session, stream: str) -> None:
        """Have this call, which is up, until one side ends it. `stream` is its id on the socket."""
        self._writer = Writer(stream, self._form.rate, binary=self._form.binary)
        frames = session.audio(self._form.rate)
        self._session = session
        caller = session.caller
        self._link.send(
            self._writer.start(
                session.call_id,
                **{"from": caller.uri, "to": session.number, "name": caller.display_name, "user": session.identity},
            )
        )

        async def listen() -> None:
            detector = SpeechDetector(self._form.rate)
            async for frame in frames:
                self._link.send(self._writer.media(frame.astype("<i2", copy=False).tobytes()))
                before, _ = detector.speaking, detector.hear(frame)
                if detector.speaking is not before:
                    self._link.send(self._writer.speech(speaking=detector.speaking))

        async def watch() -> None:
            async for event in session:
                if isinstance(event, DigitPressed):
                    self._link.send(self._writer.dtmf(event.digit))

        tasks = [asyncio.ensure_future(each) for each in (listen(), watch(), self._over.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await self._end(session, tasks)

    async def _end(self, session: Session, tasks: Sequence[asyncio.Future[Any]]) -> None:
        if self._check is not None:
            self._check.cancel()
        running = [*tasks, self._transfer] if self._transfer is not None else [*tasks]
        for task in running:
            task.cancel()
        self._link.send(self._writer.stop("normal" if session.ended is None else session.ended.word))
        self.close(NORMAL, "the call is over")
        await asyncio.gather(*running, return_exceptions=True)

    def _may_send(self) -> bool:
        now, most = self._clock(), self._form.max_messages_per_second
        self._allowance = min(most * BURST_SECONDS, self._allowance + (now - self._since) * most) - 1
        self._since = now
        return self._allowance >= 0

    def _refuse(self, reason: str) -> None:
        """What came is none of the protocol: the program is not understood, so its call ends."""
        log.warning("agent refused", reason=reason)
        self._link.send(self._writer.error(reason))
        self.close(POLICY, reason)

    def _carry_out(self, event: Event, session: Session) -> None:
        match event:
            case Media(pcm=pcm):
                self._say(pcm, session)
            case Mark(name=name):
                self._mark(name, session)
            case Clear():
                session.stop_playing()
                self._tell_marks(session)
            case Transfer(to=to):
                if self._transfer is None or self._transfer.done():
                    self._transfer = asyncio.ensure_future(self._pass_on(to, session))
                else:
                    self._link.send(self._writer.error("the caller is being passed on already"))
            case Stop():
                self._over.set()

    def _say(self, pcm: bytes, session: Session) -> None:
        try:
            session.say(np.frombuffer(pcm, "<i2").astype(np.int16, copy=False), self._form.rate)
        except SessionError as error:
            if session.ended is None:  # a minute waits
                self._link.send(self._writer.error(str(error)))
        else:
            self._said += len(pcm) / 2 / self._form.rate

    def _mark(self, name: str, session: Session) -> None:
        if len(self._marks) >= MAX_MARKS:
            self._link.send(self._writer.error("too many marks wait"))
            return
        self._marks.append((self._said, name))
        self._tell_marks(session)

    def _tell_marks(self, session: Session) -> None:
        """Tell those whose time has come, and look again when that of the next has."""
        if self._check is not None:
            self._check.cancel()
            self._check = None
        done = self._said - session.waiting
        while self._marks and self._marks[0][0] <= done + _NEARLY:
            self._link.send(self._writer.mark(self._marks.popleft()[1]))
        if self._marks:
            wait = max(_NEARLY, self._marks[0][0] - done)
            self._check = asyncio.get_running_loop().call_later(wait, self._tell_marks, session)

    async def _pass_on(self, to: str, session: Session) -> None:
        try:
            await session.transfer(to)
        except SessionError as error:
            if session.ended is None:
                self._link.send(self._writer.transfer_failed(to, error.cause.word))
