"""Execution of a call's table: look up the row, run its actions, enter the next state; shared by attempt and bridge."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

import structlog

from gateway.call.branches import Branch
from gateway.call.leg import (
    CalleeLeg,
    CandidateAdded,
    DigitPressed,
    HungUp,
    Leg,
    LegEvent,
    Redirected,
    TransferRequested,
)
from gateway.call.record import CallRecord, CallSettings
from gateway.call.state import Action, CallInput, Input, State, Table
from gateway.call.status import Cause
from gateway.call.timers import Timer, Timers
from gateway.media.engine import DtmfReceived, Kind, MediaEngine, MediaError, MediaEvent

log = structlog.get_logger(__name__)

_METHODS = {action: f"_{action.value}" for action in Action}
"""Method name of each action."""


@dataclass(slots=True, kw_only=True)
class Scope:
    """Environment of a machine: call id, engine, clock, and access to the call's queue."""

    call_id: str
    engine: MediaEngine
    timers: Timers
    settings: CallSettings
    record: CallRecord
    post: Callable[[CallInput], None]
    """Queue an input after all waiting ones."""
    follow: Callable[[CallInput], None]
    """Queue an input before all waiting ones."""
    ends: Callable[[], None]
    """Report that the legs are about to be ended."""
    waiting: Callable[[], Iterable[Input]]
    """Returns the waiting inputs."""
    learn: Callable[[Leg, str], None]
    """Report a leg's answer, with its description."""
    listen: Callable[[Leg], None]
    """Route the events of a leg into the call's queue."""
    redirect: Callable[[Leg, Redirected], Awaitable[Branch | None]]
    """Returns the branch for a callee's redirection; None for no permitted target."""
    announce: Callable[[Cause], CalleeLeg | None]
    """Returns the leg that announces a failure to the caller; None for no announcement."""
    gone: Callable[[], None]
    """Report that a leaving leg has confirmed the end."""
    pressed: Callable[[Leg, str], None] = lambda leg, digit: None
    """Report a digit from a leg."""
    leaving: list[Leg] = field(default_factory=list)
    """Ended legs without a confirmation from their far end."""

    def ended(self, leg: Leg) -> None:
        """Track an ended leg until its far end has confirmed the end."""
        if leg not in self.leaving and leg.when_left(partial(self._has_left, leg)):
            self.leaving.append(leg)

    def _has_left(self, leg: Leg) -> None:
        self.leaving.remove(leg)
        self.gone()

    def let_go(self) -> None:
        """Drop all references to the ended call, so that it is freed at once instead of by the cycle collector. Later
        inputs are ignored.
        """
        self.post = self.follow = turned_away
        self.waiting, self.learn, self.listen, self.redirect = tuple, _unheard, _unheard, nobody_instead
        self.announce, self.ends, self.gone, self.pressed = unsaid, _unheard, _unheard, _unheard


def cause_of_media(error: MediaError) -> Cause:
    """Return the cause for media refused by the engine."""
    if error.status == 503:
        return Cause.LIMIT if error.limit else Cause.OUT_OF_SERVICE
    return Cause.NOT_ACCEPTABLE if error.status in (400, 488, 501) else Cause.ERROR


def refused_by_media(leg: Leg, error: MediaError) -> Cause:
    """Note the engine's limit behind a refusal on the leg, and return the cause."""
    cause = cause_of_media(error)
    leg.note_limit(cause, error.limit, error.retry_after)
    return cause


def turned_away(what: CallInput) -> None:
    """Drop an input after the end; a digit is reported as lost."""
    digit = what.digit or (what.event if isinstance(what.event, DigitPressed) else None)
    if digit is not None:
        digit.told(False)


def over(_: Leg, event: LegEvent) -> None:
    """Handle an event of a leg whose call has ended."""
    if isinstance(event, DigitPressed):
        event.told(False)
    elif isinstance(event, TransferRequested):
        event.report.ended(Cause.GLARE)


def once(done: Callable[[Cause], None] | None) -> Callable[[Cause], None] | None:
    """Return a wrapper of `done` that passes on only the first outcome."""
    if done is None:
        return None
    waiting = [done]

    def pass_on(cause: Cause) -> None:
        if waiting:
            waiting.pop()(cause)

    return pass_on


def _unheard(*_: object) -> None:
    return


def unsaid(cause: Cause) -> CalleeLeg | None:
    """Return None: no announcement."""
    return None


async def nobody_instead(leg: Leg, event: Redirected) -> Branch | None:
    """Return None: redirections are not followed."""
    return None


class Machine(ABC):
    """State machine run by one table. Actions raise MediaError, which ends the call with its reason."""

    table: Table

    def __init__(self, scope: Scope, state: State) -> None:
        self.state = state
        self.unexpected: Counter[tuple[State, Input]] = Counter()
        self._scope = scope
        self._media_up: set[str] = set()
        self._reattach: dict[str, Timer] = {}
        """Timers of absent legs, by tag."""

    @property
    @abstractmethod
    def legs(self) -> tuple[Leg, ...]:
        """Current legs."""

    @abstractmethod
    def admits(self, what: CallInput) -> bool:
        """Return True if the input still applies: its leg is part of the call and its exchange is open."""

    @abstractmethod
    def other(self, leg: Leg | None) -> Leg | None:
        """Return the peer of `leg`; None before the answer."""

    def actions(self, what: CallInput) -> tuple[tuple[Action, ...], State] | None:
        """Return the row for an input; None, counted and logged, without one."""
        row = self.table.get((self.state, what.input))
        if not self.admits(what) or row is None:
            self.unexpected[self.state, what.input] += 1
            log.debug("unexpected", call_id=self._scope.call_id, state=self.state.value, input=what.input.value)
            return None
        return row

    async def do(self, action: Action, what: CallInput) -> None:
        """Run one action; raises MediaError."""
        await getattr(self, _METHODS[action])(what)

    @property
    def away(self) -> tuple[Leg, ...]:
        """Legs whose client has vanished and may return."""
        return tuple(leg for leg in self.legs if self.is_away(leg))

    def is_away(self, leg: Leg) -> bool:
        """Return True if the client of `leg` has vanished and may return."""
        return leg.party.tag in self._reattach

    def close(self) -> None:
        """Cancel all timers."""
        for timer in self._reattach.values():
            timer.cancel()
        self._reattach.clear()

    # -- shared actions ----------------------------------------------------------------

    async def _refuse_glare(self, what: CallInput) -> None:
        assert what.leg is not None
        await what.leg.answer_offer(getattr(what.event, "exchange", 0), None, Cause.GLARE)

    async def _add_candidate(self, what: CallInput) -> None:
        assert isinstance(what.event, CandidateAdded)
        assert what.leg is not None
        scope = self._scope
        try:
            await scope.engine.trickle(scope.call_id, what.leg.party.tag, what.event.candidate, what.event.mid)
        except MediaError as error:
            log.debug("candidate refused", call_id=scope.call_id, reason=error.reason)

    async def _pass_digit(self, what: CallInput) -> None:
        """Send a digit in the media if the peer accepts it there, else by signalling; pages always get a
        notification.
        """
        digit, is_sent = _digit_of(what.event)
        other = self.other(what.leg)
        if what.leg is not None:
            self._scope.pressed(what.leg, digit.digit)
        if other is None or self.is_away(other):
            digit.told(False)
            return
        is_sent = is_sent or await self._send_digit(other, digit)
        refused = CallInput(input=Input.DIGIT_REFUSED, leg=other, digit=digit)
        outcome = partial(self._digit_got, refused)
        await other.digit(digit.digit, digit.duration_ms, sent=is_sent, told=outcome)

    def _digit_got(self, refused: CallInput, got: bool) -> None:
        assert refused.digit is not None
        if got:
            refused.digit.told(True)
        else:
            self._scope.post(refused)

    async def _play_digit(self, what: CallInput) -> None:
        assert what.leg is not None
        assert what.digit is not None
        digit = what.digit
        is_sent = await self._send_digit(what.leg, digit, tones=True)
        if not is_sent:
            log.warning("digit lost", call_id=self._scope.call_id, to=what.leg.party.tag)
        digit.told(is_sent)

    async def _send_digit(self, leg: Leg, digit: DigitPressed, *, tones: bool = False) -> bool:
        scope = self._scope
        try:
            await scope.engine.send_dtmf(scope.call_id, leg.party.tag, digit.digit, digit.duration_ms, tones=tones)
        except MediaError as error:
            log.debug("digit not in the media", call_id=scope.call_id, to=leg.party.tag, reason=error.reason)
            return False
        return True

    async def _note_media(self, what: CallInput) -> None:
        if what.leg is None:
            return
        await what.leg.connected()
        record = self._scope.record
        if record.media_after_ms is not None:
            return
        self._media_up.add(what.leg.party.tag)
        needed = {leg.party.tag for leg in self.legs if leg.party.kind is not Kind.SERVICE}
        if needed <= self._media_up:
            record.media_after_ms = (self._scope.timers.time() - record.started_at) * 1000

    async def _wait_for_return(self, what: CallInput) -> None:
        assert what.leg is not None
        self._await_return(what.leg)

    def _await_return(self, leg: Leg) -> None:
        leg.awaited()
        self._stop_waiting_for(leg)
        late = self._given_up_on(leg)
        delay = self._scope.settings.reattach_time
        self._reattach[leg.party.tag] = self._scope.timers.call_later(delay, lambda: self._scope.post(late))

    def _given_up_on(self, leg: Leg) -> CallInput:
        """Return the input for a client that did not return in time."""
        return CallInput(input=Input.REATTACH_TIMEOUT, leg=leg, cause=Cause.LOST)

    def _stop_waiting_for(self, leg: Leg) -> None:
        timer = self._reattach.pop(leg.party.tag, None)
        if timer is not None:
            timer.cancel()

    async def _end_legs(self, what: CallInput) -> None:
        self._scope.ends()
        leaver = what.leg if isinstance(what.event, HungUp) else None
        for leg in self.legs:
            if leg is not leaver:
                await self._end_leg(leg, what.cause or Cause.NORMAL)

    async def _end_leg(self, leg: Leg, cause: Cause) -> None:
        try:
            await leg.end(cause)
        except Exception:
            # The remaining legs must be ended in any case.
            log.exception("leg could not be ended", call_id=self._scope.call_id, tag=leg.party.tag)
        self._scope.ended(leg)

    async def _release(self, leg: Leg) -> None:
        """Release a leg's media in the engine, if supported; else its ports stay until the end of the call."""
        scope = self._scope
        if scope.engine.capabilities.join:
            try:
                await scope.engine.release(scope.call_id, leg.party.tag)
            except MediaError as error:
                log.info("party not released", call_id=scope.call_id, tag=leg.party.tag, reason=error.reason)

    async def _delete_media(self, _: CallInput) -> None:
        scope = self._scope
        try:
            scope.record.statistics = await scope.engine.delete(scope.call_id)
        except MediaError as error:
            # The call has ended for its own reason, regardless of the media.
            log.warning("media not deleted", call_id=scope.call_id, reason=error.reason)


def _digit_of(event: LegEvent | MediaEvent | None) -> tuple[DigitPressed, bool]:
    """Return a digit, and True if the media has already passed it on."""
    if isinstance(event, DtmfReceived):
        return DigitPressed(event.digit, event.duration_ms), event.passed_on
    assert isinstance(event, DigitPressed)
    return event, False
