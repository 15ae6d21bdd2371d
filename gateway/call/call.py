"""One call: a caller, one or more callees, one media session, run by the table in state.py."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from gateway.call.leg import (
    Answered,
    CalleeLeg,
    CallerLeg,
    CandidateAdded,
    DigitPressed,
    HungUp,
    Leg,
    LegEvent,
    Rejected,
    Reoffered,
    Ringing,
    UpdateAnswered,
)
from gateway.call.preference import audio_codecs
from gateway.call.record import CallRecord, CallSettings, Step
from gateway.call.state import BEFORE_ANSWER, ENDS_UNANSWERED, TABLE, Action, Input, State
from gateway.call.status import Cause, most_telling
from gateway.call.timers import Timer, Timers
from gateway.media.engine import (
    Connected,
    DtmfReceived,
    FirstMedia,
    Kind,
    MediaEngine,
    MediaError,
    MediaEvent,
    MediaFailed,
    MediaTimeout,
)

log = structlog.get_logger(__name__)

_HISTORY_LIMIT = 100
"""Steps kept of one call."""
_PENDING_LIMIT = 200
"""Inputs a call may have waiting; a peer that floods one call hurts that call only."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One input with what came along."""

    input: Input
    leg: Leg | None = None
    event: LegEvent | MediaEvent | None = None
    cause: Cause | None = None


class Call:
    """Two sides and the media between them.

    Everything that happens is queued and handled one at a time, in order, so that no event
    overtakes the media engine's answer to the one before it.
    """

    def __init__(
        self,
        call_id: str,
        caller: CallerLeg,
        callees: Sequence[CalleeLeg],
        offer: str,
        *,
        dialled: str,
        engine: MediaEngine,
        timers: Timers,
        settings: CallSettings | None = None,
        on_change: Callable[[Call], None] | None = None,
        on_preference: Callable[[Leg, tuple[str, ...]], None] | None = None,
    ) -> None:
        self.id = call_id
        self.state = State.NEW
        self.caller = caller
        self.callees: list[CalleeLeg] = list(callees)
        self.callee: CalleeLeg | None = None
        """The one that answered."""
        self.settings = settings or CallSettings()
        self.record = CallRecord(call_id, caller.address, dialled, timers.time())
        self.history: deque[Step] = deque(maxlen=_HISTORY_LIMIT)
        self.unexpected: Counter[tuple[State, Input]] = Counter()
        self.cause = Cause.NORMAL
        """Why the call ended, once it has."""
        self._engine = engine
        self._timers = timers
        self._on_change = on_change
        self._on_preference = on_preference
        self._offer = offer
        self._offers: list[tuple[CalleeLeg, str]] = []
        self._early: dict[str, str] = {}
        """Early descriptions of callees, by tag."""
        self._answer_sdp: str | None = None
        self._refusals: list[Cause] = []
        self._updating: Leg | None = None
        self._media_up: set[str] = set()
        self._pending: deque[Happening] = deque()
        self._pump: asyncio.Task[None] | None = None
        self._timer: Timer | None = None
        self._update_timer: Timer | None = None
        self._finished = asyncio.Event()

    # -- what drives it ------------------------------------------------------------

    def start(self) -> None:
        """Begin: offer the media, invite the callees, listen to every leg."""
        # First of all inputs: what the legs have kept (candidates, a hang-up) comes after it.
        self.post(Happening(Input.START))
        for leg in (self.caller, *self.callees):
            leg.listen(self.leg_event)
        self._arm(self.settings.ring_timeout, Input.RING_TIMEOUT, Cause.NO_ANSWER)

    def stop(self, cause: Cause = Cause.NORMAL) -> None:
        """End the call from the gateway's side."""
        self.post(Happening(Input.STOP, cause=cause))

    async def finished(self) -> None:
        """Wait until the call has ended and its media is gone."""
        await self._finished.wait()

    def leg_event(self, leg: Leg, event: LegEvent) -> None:
        """Take one event of one of our legs."""
        happening = self._classify(leg, event)
        if happening is not None:
            self.post(happening)

    def media_event(self, event: MediaEvent) -> None:
        """Take one event of the media engine about this call."""
        leg = self._leg(event.tag)
        if leg is None:
            return  # a callee that lost; what becomes of its media is not this call's end
        match event:
            case Connected() | FirstMedia():
                self.post(Happening(Input.MEDIA_CONNECTED, leg, event))
            case MediaTimeout():
                self.post(Happening(Input.MEDIA_TIMEOUT, leg, event, Cause.MEDIA_TIMEOUT))
            case MediaFailed():
                self.post(Happening(Input.MEDIA_FAILED, leg, event, Cause.MEDIA_FAILED))
            case DtmfReceived():
                # The engine has already passed the digit on in the media.
                log.debug("digit in media", call_id=self.id, tag=event.tag)

    # -- the machine ---------------------------------------------------------------

    def _classify(self, leg: Leg, event: LegEvent) -> Happening | None:
        from_caller = leg is self.caller
        if not from_caller and leg not in self.callees:
            return None
        if from_caller and isinstance(event, Ringing | Answered | Rejected):
            return None  # only who is called can say that
        match event:
            case Ringing(sdp=None):
                what = Input.CALLEE_RINGING
            case Ringing(sdp=str(sdp)):
                self._early[leg.party.tag] = sdp
                # Early media of one would silence the others, so with several callees it waits for the answer.
                what = Input.CALLEE_EARLY_MEDIA if len(self.callees) == 1 else Input.CALLEE_RINGING
            case Answered():
                what = Input.CALLEE_ANSWERED
            case Rejected(cause=cause):
                return Happening(Input.CALLEE_REJECTED, leg, event, cause)
            case HungUp(cause=cause):
                hung_up = Input.CALLER_HUNG_UP if from_caller else Input.CALLEE_HUNG_UP
                return Happening(hung_up, leg, event, cause)
            case Reoffered():
                what = Input.REOFFERED
            case UpdateAnswered():
                what = Input.UPDATE_ANSWERED
            case CandidateAdded():
                what = Input.CANDIDATE
            case DigitPressed():
                what = Input.DIGIT
            case _:
                return None
        return Happening(what, leg, event)

    def post(self, happening: Happening) -> None:
        """Queue one input; what comes after the end is nobody's business any more."""
        if self.state is State.ENDED:
            return
        if len(self._pending) >= _PENDING_LIMIT:
            self._pending.clear()
            happening = Happening(Input.FAULT, cause=Cause.OVERLOADED)
        self._pending.append(happening)
        if self._pump is None:
            self._pump = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            while self._pending and self.state is not State.ENDED:
                await self._handle(self._pending.popleft())
        finally:
            self._pump = None
            if self.state is State.ENDED:
                self._pending.clear()
                self._finished.set()

    async def _handle(self, happening: Happening) -> None:
        row = TABLE.get((self.state, happening.input))
        if row is None or self._is_stale(happening):
            self.unexpected[self.state, happening.input] += 1
            log.debug("unexpected", call_id=self.id, state=self.state.value, input=happening.input.value)
            return
        actions, target = row
        if target is State.ENDED:
            self._settle_cause(happening)
        try:
            for action in actions:
                await _ACTIONS[action](self, happening)
        except MediaError as error:
            log.info("media refused", call_id=self.id, reason=error.reason, status=error.status)
            await self._fault(_cause_of_media(error))
            return
        except Exception:
            log.exception("call step failed", call_id=self.id, input=happening.input.value)
            await self._fault(Cause.ERROR)
            return
        self._enter(target, happening.input)

    def _is_stale(self, happening: Happening) -> bool:
        """Whether it was queued before its leg lost the call, or answers a re-offer its own side made."""
        leg = happening.leg
        if leg is None:
            return False
        if happening.input is Input.UPDATE_ANSWERED:
            return self._updating is None or leg is not self._other(self._updating)
        return leg is not self.caller and leg not in self.callees

    async def _fault(self, cause: Cause) -> None:
        self.cause = cause
        for action in (Action.END_LEGS, Action.DELETE_MEDIA):
            try:
                await _ACTIONS[action](self, Happening(Input.FAULT, cause=cause))
            except Exception:
                log.exception("call clean-up failed", call_id=self.id)
        self._enter(State.ENDED, Input.FAULT)

    def _enter(self, state: State, what: Input) -> None:
        now = self._timers.time()
        elapsed = now - self.record.started_at
        self.history.append(Step(elapsed, what, state))
        if state is self.state:
            return
        self.state = state
        record = self.record
        if state in (State.RINGING, State.EARLY) and record.ringing_after_ms is None:
            record.ringing_after_ms = elapsed * 1000
        elif state is State.CONNECTED and record.answered_after_ms is None:
            record.answered_after_ms = elapsed * 1000
            self._arm(self._longest(), Input.MAX_DURATION, Cause.NORMAL)
        elif state is State.ENDED:
            record.ended_after_ms = elapsed * 1000
            record.cause = self.cause
            self._disarm()
            self._stop_waiting_for_update()
        log.info("call", call_id=self.id, state=state.value, after_ms=round(elapsed * 1000))
        if self._on_change is not None:
            self._on_change(self)

    def _settle_cause(self, happening: Happening) -> None:
        if happening.input is Input.CALLER_HUNG_UP and self.state in (State.NEW, *BEFORE_ANSWER):
            self.cause = Cause.CANCELLED
        elif happening.cause is not None:
            self.cause = happening.cause

    def _arm(self, delay: float, what: Input, cause: Cause) -> None:
        self._disarm()
        self._timer = self._timers.call_later(delay, lambda: self.post(Happening(what, cause=cause)))

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- actions -------------------------------------------------------------------

    async def _offer_media(self, _: Happening) -> None:
        self._offers = [
            (leg, await self._engine.offer(self.id, self.caller.party, leg.party, self._offer)) for leg in self.callees
        ]

    async def _accept_early(self, _: Happening) -> None:
        if self.caller.party.kind is not Kind.WEBRTC or not self._engine.capabilities.early_answer:
            return
        if any(leg.party.kind is Kind.SERVICE for leg in self.callees):
            return  # a service answers in the same breath; an early answer would only come twice
        sdp = await self._engine.accept(self.id, self.caller.party)
        await self.caller.early_answer(sdp)

    async def _invite_callees(self, _: Happening) -> None:
        offers, self._offers = self._offers, []
        if any(waiting.input in ENDS_UNANSWERED for waiting in self._pending):
            return  # given up while the engine worked: no phone needs to ring for that
        for leg, sdp in offers:
            await leg.invite(sdp, self.caller.address)

    async def _ring_caller(self, _: Happening) -> None:
        await self.caller.ring(None)

    async def _early_media(self, happening: Happening) -> None:
        assert isinstance(happening.event, Ringing)
        assert happening.leg is not None
        assert happening.event.sdp is not None
        self._answer_sdp = await self._answer_for(self.caller, happening.leg, happening.event.sdp)
        await self.caller.ring(self._answer_sdp)

    async def _choose_callee(self, happening: Happening) -> None:
        self.callee = next((leg for leg in self.callees if leg is happening.leg), None)
        others = [leg for leg in self.callees if leg is not happening.leg]
        self.callees = [leg for leg in self.callees if leg is happening.leg]
        for leg in others:
            await self._end_leg(leg, Cause.ELSEWHERE)

    async def _answer_media(self, happening: Happening) -> None:
        assert isinstance(happening.event, Answered)
        assert happening.leg is not None
        sdp = happening.event.sdp
        if sdp is None and self._answer_sdp is None:
            sdp = self._early.get(happening.leg.party.tag)
        if sdp is not None:
            self._answer_sdp = await self._answer_for(self.caller, happening.leg, sdp)
            self._learn(happening.leg, sdp)
        if self._answer_sdp is None:
            raise MediaError("the callee accepted without a session description", 488)

    async def _answer_for(self, target: Leg, source: Leg, sdp: str) -> str:
        return await self._engine.answer(self.id, source.party, target.party, sdp)

    async def _answer_caller(self, _: Happening) -> None:
        assert self._answer_sdp is not None
        await self.caller.answer(self._answer_sdp)

    async def _drop_callee(self, happening: Happening) -> None:
        assert happening.leg is not None
        self.callees = [leg for leg in self.callees if leg is not happening.leg]
        self._refusals.append(happening.cause or Cause.UNAVAILABLE)
        if not self.callees:
            self._pending.appendleft(Happening(Input.ALL_REJECTED, cause=most_telling(self._refusals)))

    async def _reoffer(self, happening: Happening) -> None:
        assert isinstance(happening.event, Reoffered)
        source, other = happening.leg, self._other(happening.leg)
        assert source is not None
        try:
            sdp = await self._engine.offer(self.id, source.party, other.party, happening.event.sdp)
            if other.can_update:
                self._updating = source
                self._update_timer = self._timers.call_later(
                    self.settings.update_timeout, lambda: self.post(Happening(Input.UPDATE_TIMEOUT))
                )
                await other.update(sdp)
                return
            await source.update_answer(await self._engine.accept(self.id, source.party))
        except MediaError as error:
            log.info("re-offer refused", call_id=self.id, reason=error.reason)
            await source.update_answer(None, Cause.NOT_ACCEPTABLE)
        self._updating = None
        self._pending.appendleft(Happening(Input.UPDATE_ANSWERED))

    async def _refuse_glare(self, happening: Happening) -> None:
        assert happening.leg is not None
        await happening.leg.update_answer(None, Cause.GLARE)

    async def _answer_reoffer(self, happening: Happening) -> None:
        source = self._stop_waiting_for_update()
        if source is None or not isinstance(happening.event, UpdateAnswered):
            return
        if happening.event.sdp is None:
            await source.update_answer(None, Cause.NOT_ACCEPTABLE)
            return
        try:
            sdp = await self._answer_for(source, self._other(source), happening.event.sdp)
        except MediaError as error:
            log.info("answer to re-offer refused", call_id=self.id, reason=error.reason)
            await source.update_answer(None, Cause.NOT_ACCEPTABLE)
            return
        await source.update_answer(sdp)

    async def _give_up_reoffer(self, _: Happening) -> None:
        source = self._stop_waiting_for_update()
        if source is not None:
            await source.update_answer(None, Cause.NOT_ACCEPTABLE)

    def _stop_waiting_for_update(self) -> Leg | None:
        """The side whose re-offer was with the other side, which is asked no longer."""
        source, self._updating = self._updating, None
        if self._update_timer is not None:
            self._update_timer.cancel()
            self._update_timer = None
        return source

    async def _add_candidate(self, happening: Happening) -> None:
        assert isinstance(happening.event, CandidateAdded)
        assert happening.leg is not None
        try:
            await self._engine.trickle(self.id, happening.leg.party.tag, happening.event.candidate, happening.event.mid)
        except MediaError as error:
            log.debug("candidate refused", call_id=self.id, reason=error.reason)

    async def _pass_digit(self, happening: Happening) -> None:
        assert isinstance(happening.event, DigitPressed)
        other = self._other(happening.leg)
        if await other.digit(happening.event.digit, happening.event.duration_ms):
            return
        try:
            await self._engine.send_dtmf(self.id, other.party.tag, happening.event.digit, happening.event.duration_ms)
        except MediaError as error:
            log.info("digit lost", call_id=self.id, reason=error.reason)

    async def _note_media(self, happening: Happening) -> None:
        if happening.leg is None or self.record.media_after_ms is not None:
            return
        self._media_up.add(happening.leg.party.tag)
        needed = {leg.party.tag for leg in (self.caller, *self.callees) if leg.party.kind is not Kind.SERVICE}
        if needed <= self._media_up:
            self.record.media_after_ms = (self._timers.time() - self.record.started_at) * 1000

    async def _end_legs(self, happening: Happening) -> None:
        gone = happening.leg if isinstance(happening.event, HungUp) else None
        for leg in (self.caller, *self.callees):
            if leg is not gone:
                await self._end_leg(leg, self.cause)

    async def _end_leg(self, leg: Leg, cause: Cause) -> None:
        try:
            await leg.end(cause)
        except Exception:
            # The other legs must hear of the end all the same.
            log.exception("leg could not be ended", call_id=self.id, tag=leg.party.tag)

    async def _delete_media(self, _: Happening) -> None:
        try:
            self.record.statistics = await self._engine.delete(self.id)
        except MediaError as error:
            # The call is over for its reason, whatever becomes of the media.
            log.warning("media not deleted", call_id=self.id, reason=error.reason)

    # -- help ----------------------------------------------------------------------

    def _other(self, leg: Leg | None) -> Leg:
        if leg is not self.caller:
            return self.caller
        return self.callee or self.callees[0]

    def _longest(self) -> float:
        if any(leg.party.kind is Kind.SERVICE for leg in self.callees):
            return self.settings.service_max_duration
        return self.settings.max_duration

    def _leg(self, tag: str) -> Leg | None:
        return next((leg for leg in (self.caller, *self.callees) if leg.party.tag == tag), None)

    def _learn(self, leg: Leg, sdp: str) -> None:
        """Tell who keeps preferences which codecs the callee chose, best first."""
        if self._on_preference is None:
            return
        codecs = audio_codecs(sdp)
        if codecs:
            self._on_preference(leg, codecs)


def _cause_of_media(error: MediaError) -> Cause:
    return {400: Cause.NOT_ACCEPTABLE, 488: Cause.NOT_ACCEPTABLE, 503: Cause.OVERLOADED}.get(error.status, Cause.ERROR)


_ACTIONS: dict[Action, Callable[[Call, Happening], Awaitable[None]]] = {
    action: getattr(Call, f"_{action.value}") for action in Action
}
