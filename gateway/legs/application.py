"""The leg of a program: it decides when it rings, answers, passes on and ends, and is told what the caller does."""

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
"""The service of a leg whose sound is its program's own (gateway.media.engine.Party.service)."""
Record = Callable[[RecordingFile, Callable[[str | None], None]], Recording]
_WAITING_EVENTS = 100
"""Events kept for a program that does not ask for them; the oldest goes first, the last is the end."""


T = TypeVar("T")


class SessionError(GatewayError):
    """What a program asked of its session cannot be; `cause` says why in both worlds' words."""

    def __init__(self, message: str, cause: Cause) -> None:
        super().__init__(message)
        self.cause = cause


class ApplicationLeg(LegBase):
    """A callee whose far end is a program in this process; its sound is its own, or one of the engine's services."""

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
        """`service` is what the caller hears once it is answered; `may_call` bounds what it may be passed on to.

        `lasting`: the call may last as long as one between people. `video`: codecs (lower case) in which its callers
        show each other their pictures. `text`: it takes what its caller types.
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
        """A program never offers, so there is nothing to answer."""

    async def digit(self, digit: str, duration_ms: int, *, sent: bool, told: Callable[[bool], None]) -> None:
        if self._session is not None:
            self._session.happened(DigitPressed(digit, duration_ms))
        told(self._session is not None)

    async def end(self, cause: Cause) -> None:
        self.over(cause)

    def over(self, cause: Cause) -> None:
        """Nothing more comes or goes; idempotent."""
        if not self._over and self._session is not None:
            self._session.happened(HungUp(cause))
        self._over = True

    def answered(self, call_id: str, audio: Callable[[str], AudioPort], identity: str | None, record: Record) -> None:
        """The call of that id is up: the caller has what `Session.answer` gave it.

        `audio` gives the sound of a program's tag, `identity` is who the caller has proved to be, `record` records.
        """
        if self._session is not None and not self._session.is_up and not self._over:
            sound = Sound(audio(self.party.tag)) if self.party.service == PROGRAM else None
            self._session.came_up(call_id, sound, identity, record)

    def accept(self) -> None:
        """Take the call."""
        self.tell(Answered(self._sdp))

    def tell(self, event: LegEvent) -> None:
        """Have the call see `event`, unless it is over."""
        if not self._over:
            self._deliver(event)


class Session:
    """One call to a program: `async for event in session` gives what the caller does, until one side ends it.

    The events are `DigitPressed` and, always last, `HungUp`.
    """

    def __init__(self, leg: ApplicationLeg, caller: Address) -> None:
        self.caller = caller
        """Who calls: `caller.user`, `caller.display_name`, `caller.uri`."""
        self.is_up = False
        """Whether the call is answered, and the caller knows."""
        self.call_id = ""
        """The call's, once it is up."""
        self.identity: str | None = None
        """Who the caller has proved to be, once the call is up: a user's id, "trunk:NAME"; None: nobody knows."""
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
        """What was dialled."""
        return self._leg.number

    @property
    def ended(self) -> Cause | None:
        """Why the session is over; None while it is not."""
        return None if self._ended is None else self._ended.cause

    async def ring(self) -> None:
        """The caller hears that it rings (180)."""
        self._leg.tell(Ringing())

    async def answer(self) -> None:
        """Take the call and wait until it is up; raises SessionError where the caller has gone."""
        self._still_there()
        self._leg.accept()
        while not self.is_up:
            await self._next_news()
            self._still_there()

    async def reject(self, cause: Cause = Cause.DECLINED) -> None:
        """Do not take the call; the caller is answered the status of `cause`."""
        self._leg.tell(Rejected(cause))
        self._leg.over(cause)

    async def hang_up(self, cause: Cause = Cause.NORMAL) -> None:
        """End the call, answered or not, and say why; idempotent."""
        self._leg.tell(HungUp(cause) if self.is_up else Rejected(Cause.UNAVAILABLE))
        self._leg.over(cause)

    async def transfer(self, to: str) -> None:
        """Pass the caller on to whoever answers at `to`, a number or SIP URI, within the application's `may_call`.

        Returns once they talk to each other, which ends this session. Raises SessionError where nobody answers there,
        or it may not be called; then the session goes on.
        """
        self._still_there()
        report = _Report()
        self._leg.tell(TransferRequested(to, report))
        cause = await report.outcome
        if cause is not Cause.NORMAL:
            raise SessionError(f"{to}: {cause.sentence}", cause)

    async def digit(self, timeout: float | None = None) -> str | None:
        """The next digit the caller presses; None where the call ends or `timeout` seconds pass without one."""
        try:
            async with asyncio.timeout(timeout):
                async for event in self:
                    if isinstance(event, DigitPressed):
                        return event.digit
        except TimeoutError:
            pass
        return None

    def audio(self, rate: int = 16_000) -> AsyncIterator[Samples]:
        """`async for frame in session.audio()`: what the caller says from now on, 20 ms of int16 samples at a time.

        Ends with the call; of what is not fetched the last ten seconds are kept. `rate`: 8,000, 16,000, 32,000 or
        48,000 samples a second. Raises SessionError for another one, while the call is not up, and where the
        decorator gave it something to play.
        """
        return self._listening(lambda sound: sound.frames(rate))

    def utterances(
        self, rate: int = 16_000, *, silence: float = 0.6, longest: float = 30.0
    ) -> AsyncIterator[Utterance]:
        """`async for utterance in session.utterances()`: what the caller says, from one silence to the next.

        From now on; found by energy. `silence`: seconds of it that end an utterance; `longest`: seconds after which one
        is cut.
        Raises SessionError as `audio` does.
        """
        return self._listening(lambda sound: sound.utterances(rate, silence, longest))

    def _listening(self, listen: Callable[[Sound], AsyncIterator[T]]) -> AsyncIterator[T]:
        try:
            return listen(self._sounding())
        except MediaError as error:
            raise SessionError(error.reason, Cause.ERROR) from None

    async def play(self, pcm: Samples, rate: int = 16_000, *, until_speech: bool = False) -> bool:
        """Say int16 samples to the caller and wait for their end; whether they were said to it.

        `until_speech`: stop when the caller speaks. Cancelling stops it too. Raises SessionError as `audio` does, and
        where more than a minute waits.
        """
        try:
            return await self._sounding().play(pcm, rate, until_speech=until_speech)
        except MediaError as error:
            raise SessionError(error.reason, Cause.ERROR) from None

    def say(self, pcm: Samples, rate: int = 16_000) -> None:
        """Say int16 samples after all that waits, and do not wait for them. Raises SessionError as `play` does."""
        try:
            self._sounding().say(pcm, rate)
        except MediaError as error:
            raise SessionError(error.reason, Cause.ERROR) from None

    def text(self) -> AsyncIterator[str]:
        """`async for text in session.text()`: what the caller types from now on, a character or more at a time.

        "\\b" erases one character, U+2028 or CR LF ends a line, U+FFFD stands where text was lost. Of what is not
        fetched the last 10,000 pieces, of 100 characters at most, are kept; ends with the call. Raises SessionError as
        `audio` does. Needs `text=True` of the decorator.
        """
        return self._sounding().text()

    def type(self, text: str) -> None:
        """Show text to the caller; nothing where it has none. Raises SessionError as `audio` does."""
        self._sounding().type(text)

    def join(self, conference: Conference, name: str, group: str | None = None, label: str = "") -> Seat:
        """Have the caller be part of a conference, until the call ends or the seat's `leave`.

        Who has the same `group` does not hear each other there. What `play` and `say` are given it alone hears. The
        others read what it types, with `label` before it. Raises SessionError as `audio` does, MediaError as
        `Conference.seat`.
        """
        return self._sounding().join(conference, name, group, label)

    def record(self, wanted: RecordingFile, ended: Callable[[str | None], None]) -> Recording:
        """Write what both say to a file until its `stop` or the end of the call.

        `ended` hears once the file is finished, with one sentence why it ended early, None: as was wanted. Raises
        SessionError where the call is not up, MediaError as `MediaEngine.record`.
        """
        self._still_there()
        if self._record is None:
            raise SessionError("answer the call first, to record it", Cause.ERROR)
        return self._record(wanted, ended)

    @property
    def waiting(self) -> float:
        """Seconds that were given to `play` and `say` and are not said yet."""
        return self._sound.waiting if self._sound is not None else 0.0

    def stop_playing(self) -> None:
        """Say no more of what `play` was given."""
        if self._sound is not None:
            self._sound.stop()

    def _sounding(self) -> Sound:
        self._still_there()
        if self._sound is None:
            raise SessionError("answer the call first, and without `plays`, to hear and to speak", Cause.ERROR)
        return self._sound

    def happened(self, event: LegEvent) -> None:
        """Keep an event for who iterates."""
        if isinstance(event, HungUp):
            self._ended = event
            if self._sound is not None:
                self._sound.close()
        self._events.append(event)
        self._news.set()

    def came_up(self, call_id: str, sound: Sound | None, identity: str | None, record: Record) -> None:
        """Let `answer` return."""
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
        # Looked at and cleared without a turn of the loop in between: nothing that happens is missed.
        self._news.clear()
        await self._news.wait()

    def _still_there(self) -> None:
        if self._ended is not None:
            raise SessionError(f"the call is over: {self._ended.cause.sentence}", self._ended.cause)


class _Report:
    """How a program hears what becomes of its transfer (gateway.call.leg.TransferReport)."""

    def __init__(self) -> None:
        self.outcome: asyncio.Future[Cause] = asyncio.get_running_loop().create_future()

    def accepted(self) -> None:
        """It is tried; the outcome comes."""

    def ringing(self) -> None:
        """The outcome comes."""

    def ended(self, cause: Cause) -> None:
        if not self.outcome.done():
            self.outcome.set_result(cause)
