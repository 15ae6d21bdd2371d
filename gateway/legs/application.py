"""Leg of a program: the program rings, answers, transfers and ends the call, and receives the caller's events."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from gateway.call.leg import (
    Address,
    Answered,
    DigitPressed,
    HungUp,
    LegEvent,
    OfferAnswered,
    Rejected,
    Ringing,
    TransferRequested,
)
from gateway.call.status import Cause
from gateway.errors import GatewayError
from gateway.legs.base import LegBase
from gateway.legs.sound import Sound
from gateway.legs.speech import Samples, Utterance
from gateway.media.engine import AudioPort, Conference, Kind, MediaError, Party, Recording, RecordingFile, Seat

PROGRAM = "program"
"""Service of a leg with the program's own sound (gateway.media.engine.Party.service)."""
Record = Callable[[RecordingFile, Callable[[str | None], None]], Recording]
_WAITING_EVENTS = 100
"""Events kept for a slow program; the oldest are dropped, never the final one."""


T = TypeVar("T")


class SessionError(GatewayError):
    """Raised for an impossible request of a program; `cause` gives the reason for SIP and web."""

    def __init__(self, message: str, cause: Cause) -> None:
        super().__init__(message)
        self.cause = cause


class ApplicationLeg(LegBase):
    """A callee implemented by a program in this process; the sound is the program's own or an engine service."""

    def __init__(
        self,
        tag: str,
        number: str,
        service: str,
        may_call: tuple[str, ...],
        begin: Callable[[Session], None],
        *,
        lasting: bool = False,
        video: tuple[str, ...] = (),
        text: bool = False,
    ) -> None:
        """`service` is played after the answer; `may_call` bounds transfer targets.

        `lasting` exempts the call from the short limit of services. `video` lists codecs (lower case) that callers
        exchange; `text` accepts real-time text.
        """
        super().__init__(
            Party(tag, Kind.SERVICE, service=service, lasting=lasting, video=video, text=text),
            Address(f"sip:{number}@application.invalid"),
            f"application:{tag}",
        )
        self.may_call = may_call
        self.number = number
        self._begin = begin
        self._session: Session | None = None
        self._sdp = ""

    async def invite(self, sdp: str, caller: Address) -> None:
        self._sdp = sdp
        self._session = Session(self, caller)
        self._begin(self._session)

    async def offer(self, exchange: int, sdp: str) -> None:
        self.tell(OfferAnswered(exchange, sdp))

    async def answer_offer(self, exchange: int, sdp: str | None, cause: Cause = Cause.NOT_ACCEPTABLE) -> None:
        """Do nothing: a program never offers."""

    async def digit(self, digit: str, duration_ms: int, *, sent: bool, told: Callable[[bool], None]) -> None:
        if self._session is not None:
            self._session.happened(DigitPressed(digit, duration_ms))
        told(self._session is not None)

    async def end(self, cause: Cause) -> None:
        self.over(cause)

    def over(self, cause: Cause) -> None:
        """End event delivery and notify the program; idempotent."""
        if not self._over and self._session is not None:
            self._session.happened(HungUp(cause))
        self._over = True

    def answered(self, call_id: str, audio: Callable[[str], AudioPort], identity: str | None, record: Record) -> None:
        """Note that the answered call is up.

        `audio` returns the sound port of a tag; `identity` is the authenticated caller; `record` starts a recording.
        """
        if self._session is not None and not self._session.is_up and not self._over:
            sound = Sound(audio(self.party.tag)) if self.party.service == PROGRAM else None
            self._session.came_up(call_id, sound, identity, record)

    def accept(self) -> None:
        """Accept the call."""
        self.tell(Answered(self._sdp))

    def tell(self, event: LegEvent) -> None:
        """Deliver `event` to the call, unless the leg has ended."""
        if not self._over:
            self._deliver(event)


class Session:
    """A call to a program: `async for event in session` yields the caller's actions until the end.

    Events are `DigitPressed` and, always last, `HungUp`.
    """

    def __init__(self, leg: ApplicationLeg, caller: Address) -> None:
        self.caller = caller
        """Caller, with `caller.user`, `caller.display_name` and `caller.uri`."""
        self.is_up = False
        """True once the call is answered and the caller has the answer."""
        self.call_id = ""
        """Id of the call; "" before the answer."""
        self.identity: str | None = None
        """Authenticated caller of an answered call: user id or "trunk:NAME"; None if unknown."""
        self._record: Record | None = None
        self._leg = leg
        self._sound: Sound | None = None
        self._events: deque[LegEvent] = deque(maxlen=_WAITING_EVENTS)
        self._news = asyncio.Event()
        self._ended: HungUp | None = None

    @property
    def tag(self) -> str:
        """Name of the program's side of the call (Party.tag)."""
        return self._leg.party.tag

    @property
    def number(self) -> str:
        """Dialled number."""
        return self._leg.number

    @property
    def ended(self) -> Cause | None:
        """Cause of the end of the session; None before the end."""
        return None if self._ended is None else self._ended.cause

    async def ring(self) -> None:
        """Send ringing (180) to the caller."""
        self._leg.tell(Ringing())

    async def answer(self) -> None:
        """Accept the call and wait until media is up; raises SessionError if the caller has hung up."""
        self._still_there()
        self._leg.accept()
        while not self.is_up:
            await self._next_news()
            self._still_there()

    async def reject(self, cause: Cause = Cause.DECLINED) -> None:
        """Reject the call with the status of `cause`."""
        self._leg.tell(Rejected(cause))
        self._leg.over(cause)

    async def hang_up(self, cause: Cause = Cause.NORMAL) -> None:
        """End the call with a cause, answered or not; idempotent."""
        self._leg.tell(HungUp(cause) if self.is_up else Rejected(Cause.UNAVAILABLE))
        self._leg.over(cause)

    async def transfer(self, to: str) -> None:
        """Transfer the caller to `to`, a number or SIP URI within the application's `may_call`.

        Returns after the target has answered, which ends the session. Raises SessionError after a failure or a
        forbidden target; the session continues.
        """
        self._still_there()
        report = _Report()
        self._leg.tell(TransferRequested(to, report))
        cause = await report.outcome
        if cause is not Cause.NORMAL:
            raise SessionError(f"{to}: {cause.sentence}", cause)

    async def digit(self, timeout: float | None = None) -> str | None:
        """Return the caller's next digit; None at the end of the call or after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                async for event in self:
                    if isinstance(event, DigitPressed):
                        return event.digit
        except TimeoutError:
            pass
        return None

    def audio(self, rate: int = 16_000) -> AsyncIterator[Samples]:
        """Yield the caller's sound in frames of 20 ms of int16 samples until the call ends.

        Keeps the last ten seconds of unread sound. `rate` is 8,000, 16,000, 32,000 or 48,000 samples a second. Raises
        SessionError for a different rate, for a call not up, or with `plays`.
        """
        return self._listening(lambda sound: sound.frames(rate))

    def utterances(
        self, rate: int = 16_000, *, silence: float = 0.6, longest: float = 30.0
    ) -> AsyncIterator[Utterance]:
        """Yield the caller's utterances, found by signal energy and separated by silence.

        `silence` is the number of seconds that ends an utterance, `longest` its largest length in seconds. Raises
        SessionError as `audio` does.
        """
        return self._listening(lambda sound: sound.utterances(rate, silence, longest))

    def _listening(self, listen: Callable[[Sound], AsyncIterator[T]]) -> AsyncIterator[T]:
        try:
            return listen(self._sounding())
        except MediaError as error:
            raise SessionError(error.reason, Cause.ERROR) from None

    async def play(self, pcm: Samples, rate: int = 16_000, *, until_speech: bool = False) -> bool:
        """Play int16 samples and wait for the end; return True if played completely.

        `until_speech` stops when the caller speaks; cancelling stops, too. Raises SessionError as `audio` does, and for
        more than a minute of waiting sound.
        """
        try:
            return await self._sounding().play(pcm, rate, until_speech=until_speech)
        except MediaError as error:
            raise SessionError(error.reason, Cause.ERROR) from None

    def say(self, pcm: Samples, rate: int = 16_000) -> None:
        """Queue int16 samples for playing without waiting. Raises SessionError as `play` does."""
        try:
            self._sounding().say(pcm, rate)
        except MediaError as error:
            raise SessionError(error.reason, Cause.ERROR) from None

    def text(self) -> AsyncIterator[str]:
        """Yield the caller's real-time text, one or more characters at a time, until the call ends.

        "\\b" erases a character, U+2028 or CR LF ends a line, U+FFFD marks lost text. Keeps the last 10,000 unread
        pieces of up to 100 characters. Raises SessionError as `audio` does. Needs `text=True` in the decorator.
        """
        return self._sounding().text()

    def type(self, text: str) -> None:
        """Send real-time text to the caller, if negotiated. Raises SessionError as `audio` does."""
        self._sounding().type(text)

    def join(self, conference: Conference, name: str, group: str | None = None, label: str = "") -> Seat:
        """Make the caller a member of a conference until the call ends or the seat's `leave`.

        Members with an equal `group` cannot hear each other. `play` and `say` reach the caller alone. The
        caller's text goes to the remaining members after `label`. Raises SessionError as `audio` does, MediaError as
        `Conference.seat`.
        """
        return self._sounding().join(conference, name, group, label)

    def record(self, wanted: RecordingFile, ended: Callable[[str | None], None]) -> Recording:
        """Record both directions to a file until `stop` or the end of the call.

        `ended` is called after the file is finished, with a sentence about an early end, else None. Raises SessionError
        for a call not up, MediaError as `MediaEngine.record`.
        """
        self._still_there()
        if self._record is None:
            raise SessionError("answer the call first, to record it", Cause.ERROR)
        return self._record(wanted, ended)

    @property
    def waiting(self) -> float:
        """Seconds of queued sound from `play` and `say`."""
        return self._sound.waiting if self._sound is not None else 0.0

    def stop_playing(self) -> None:
        """Discard all queued sound."""
        if self._sound is not None:
            self._sound.stop()

    def _sounding(self) -> Sound:
        self._still_there()
        if self._sound is None:
            raise SessionError("answer the call first, and without `plays`, to hear and to speak", Cause.ERROR)
        return self._sound

    def happened(self, event: LegEvent) -> None:
        """Queue an event for the program."""
        if isinstance(event, HungUp):
            self._ended = event
            if self._sound is not None:
                self._sound.close()
        self._events.append(event)
        self._news.set()

    def came_up(self, call_id: str, sound: Sound | None, identity: str | None, record: Record) -> None:
        """Mark the call as up, so that `answer` returns."""
        self.call_id = call_id
        self.is_up = True
        self.identity = identity
        self._record = record
        self._sound = sound
        self._news.set()

    async def __aiter__(self) -> AsyncIterator[LegEvent]:
        while True:
            while self._events:
                event = self._events.popleft()
                yield event
                if isinstance(event, HungUp):
                    return
            if self._ended is not None:
                return
            await self._next_news()

    async def _next_news(self) -> None:
        # No await between check and clear, so that no event is missed.
        self._news.clear()
        await self._news.wait()

    def _still_there(self) -> None:
        if self._ended is not None:
            raise SessionError(f"the call is over: {self._ended.cause.sentence}", self._ended.cause)


class _Report:
    """Future outcome of a program's transfer (gateway.call.leg.TransferReport)."""

    def __init__(self) -> None:
        self.outcome: asyncio.Future[Cause] = asyncio.get_running_loop().create_future()

    def accepted(self) -> None:
        """Wait for the outcome."""

    def ringing(self) -> None:
        """Wait for the outcome."""

    def ended(self, cause: Cause) -> None:
        if not self.outcome.done():
            self.outcome.set_result(cause)
