"""A call: a queue of inputs, handled one at a time by its attempt and then its bridge."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence

import structlog

from gateway.call.attempt import Attempt
from gateway.call.branches import Branch
from gateway.call.bridge import Bridge
from gateway.call.description import audio_codecs
from gateway.call.inputs import changed_by, input_of_leg, input_of_media, is_kept
from gateway.call.leg import (
    Answered,
    CalleeLeg,
    CallerLeg,
    DigitPressed,
    HungUp,
    KeyFrameRequested,
    Leg,
    LegEvent,
    Offered,
    Redirected,
    Rejected,
    SignallingChanged,
    TransferRequested,
)
from gateway.call.machine import Scope, nobody_instead, once, over, refused_by_media, turned_away, unsaid
from gateway.call.record import CallRecord, CallSettings, Step
from gateway.call.state import FINISH, CallInput, Input, State, Transfer
from gateway.call.status import Cause
from gateway.call.timers import Timer, Timers
from gateway.call.transferring import give_up
from gateway.media.engine import KeyFrameWanted, Kind, MediaEngine, MediaError, MediaEvent

log = structlog.get_logger(__name__)

_HISTORY_LIMIT = 100
"""Steps kept in the history of a call."""
_PENDING_LIMIT = 200
"""Largest number of waiting inputs; a flood ends only the flooded call."""


class Call:
    """Two legs and the media between them.

    Inputs are queued and handled in order, so that no event overtakes the media engine's answer to an earlier one.
    """

    def __init__(
        self,
        call_id: str,
        caller: CallerLeg,
        callees: Branch,
        offer: str | None,
        *,
        dialled: str,
        engine: MediaEngine,
        timers: Timers,
        settings: CallSettings | None = None,
        on_change: Callable[[Call], None] | None = None,
        on_preference: Callable[[Leg, tuple[str, ...]], None] | None = None,
        on_transfer: Callable[[Call, Leg, TransferRequested], None] | None = None,
        on_redirect: Callable[[Leg, Redirected], Awaitable[Branch | None]] | None = None,
        keep: Callable[[Call, Sequence[Leg] | None, bool], None] | None = None,
        on_end: Callable[[], None] = lambda: None,
        announce: Callable[[Cause], CalleeLeg | None] = unsaid,
    ) -> None:
        """`offer` is None for an INVITE without SDP; `callees` without legs means that all have rejected the call.

        `keep` stores the call: changed legs (None for any), and True while a leg is ending. `on_end` is called before
        the legs and media are ended.
        """
        self.id = call_id
        self.caller = caller
        self.settings = settings or CallSettings()
        self.record = CallRecord(call_id, caller.address, dialled, timers.time())
        self.history: deque[Step] = deque(maxlen=_HISTORY_LIMIT)
        self.cause = Cause.NORMAL
        """Cause of the end, valid once the call has ended."""
        self._timers = timers
        self._on_change = on_change
        self._on_preference = on_preference
        self._on_transfer = on_transfer
        self._keep = keep or (lambda call, changed, ending: None)
        self._on_end = on_end
        self._is_kept = self._is_ending = False
        self._scope = self._made(engine, on_redirect or nobody_instead, announce)
        self.leaving: Sequence[Leg] = self._scope.leaving  # ended legs whose far ends have not confirmed yet
        self._machine: Attempt | Bridge = Attempt(self._scope, caller, callees, offer)
        self._pending: deque[Callable[[], CallInput | None]] = deque()
        """Readers of inputs, evaluated late: the meaning of an event depends on earlier inputs."""
        self._pump: asyncio.Task[None] | None = None
        self._timer: Timer | None = None
        self._turning_away: asyncio.Task[None] | None = None
        self._finished = asyncio.Event()
        self._refusals: dict[Cause, str] = {}
        """Rejection texts of far ends, by cause."""

    def _made(
        self,
        engine: MediaEngine,
        redirect: Callable[[Leg, Redirected], Awaitable[Branch | None]],
        announce: Callable[[Cause], CalleeLeg | None],
    ) -> Scope:
        """Return the scope shared by attempt and bridge."""
        return Scope(
            call_id=self.id,
            engine=engine,
            timers=self._timers,
            settings=self.settings,
            record=self.record,
            post=self.post,
            follow=self._follow,
            ends=self._ends,
            waiting=self._waiting,
            learn=self._learn,
            listen=lambda leg: leg.listen(self.leg_event),
            redirect=redirect,
            announce=announce,
            gone=lambda: self._write((), self._is_ending),
        )

    def resume(
        self, a: Leg, b: Leg, *, away: Sequence[Leg], holding: Iterable[str], left: float, silent: bool = False
    ) -> None:
        """Continue a call of a previous process instead of `start`: `a` and `b` talk for at most `left` seconds.

        `silent` means that their media is lost and new transports are ready to be offered.
        """
        self._machine.close()
        bridge = self._machine = Bridge(self._scope, a, b, (a, b))
        bridge.resume(away, holding)
        for leg in self.legs:
            leg.listen(self.leg_event)
        self._arm(left, Input.MAX_DURATION, Cause.NORMAL)
        for leg in self.legs if silent else ():
            if leg.party.kind is not Kind.SERVICE:
                self.post(CallInput(input=Input.MEDIA_LOST, leg=leg))
        self.keep()
        self._changed()

    # -- for observers ---------------------------------------------------------------

    @property
    def state(self) -> State:
        """State of the attempt, and of the bridge once answered."""
        return self._machine.state

    @property
    def machine(self) -> Attempt | Bridge:
        """Current state machine."""
        return self._machine

    @property
    def bridge(self) -> Bridge | None:
        """Bridge of the answered call; None before the answer."""
        return self._machine if isinstance(self._machine, Bridge) else None

    @property
    def legs(self) -> tuple[Leg, ...]:
        """Current legs."""
        return self._machine.legs

    @property
    def unexpected(self) -> Counter[tuple[State, Input]]:
        """Inputs without a row in the table, counted by state."""
        return self._machine.unexpected

    # -- inputs ----------------------------------------------------------------------

    def start(self) -> None:
        """Offer media, invite the callees, and listen to every leg."""
        # A call unseen by its far ends needs no record: after a crash the caller retransmits the INVITE.
        if not all(leg.is_unaware for leg in self.legs):
            self.keep()
        # START comes before the events kept by legs, such as candidates or a hang-up.
        self.post(CallInput(input=Input.START))
        for leg in self.legs:
            leg.listen(self.leg_event)
        self._arm(self.settings.ring_timeout, Input.RING_TIMEOUT, Cause.NO_ANSWER)

    def stop(self, cause: Cause = Cause.NORMAL) -> None:
        """End the call from the gateway's side."""
        self.post(CallInput(input=Input.STOP, cause=cause))

    def keep(self) -> None:
        """Store the current state."""
        self._write(None, self._is_ending)

    def _ends(self) -> None:
        """Mark the stored call as ending, because a crash may lose the BYE, then report the end."""
        if self.bridge is not None and not self._is_ending:
            self._write((), ending=True)
        self._on_end()

    def _write(self, changed: Sequence[Leg] | None, ending: bool = False) -> None:
        self._is_kept, self._is_ending = True, ending
        self._keep(self, changed, ending)

    def when_pressed(self, told: Callable[[Leg, str], None]) -> None:
        """Call `told` with leg and digit for every digit, from media or signalling."""
        self._scope.pressed = told

    def leave(self) -> None:
        """End the call here because a second gateway continues it; its record stays untouched until the end."""
        keep = self._keep

        def kept(call: Call, changed: Sequence[Leg] | None, ending: bool) -> None:
            if call.state is State.ENDED:
                keep(call, changed, ending)

        self._keep = kept
        self.record.elsewhere = True
        self.stop(Cause.LOST)

    def transfer(self, transfer: Transfer) -> None:
        """Let the first target to answer replace the transferor (see transferring.py)."""
        for leg in transfer.targets:
            leg.listen(self.leg_event)
        self._post_or_turn_away(CallInput(input=Input.TRANSFER, leg=transfer.transferor, transfer=transfer))

    def take_place(
        self,
        leg: Leg,
        newcomer: CallerLeg,
        offer: str,
        done: Callable[[Cause], None] | None = None,
        *,
        only_ringing: bool = False,
    ) -> None:
        """Let `newcomer`, with an unanswered offer, replace `leg` (INVITE with Replaces).

        `done` gets NORMAL after the replacement of an answered leg, else the cause of failure. `only_ringing` gives up
        once `leg` has answered.
        """
        what = CallInput(
            input=Input.TAKE_PLACE,
            leg=leg,
            newcomer=newcomer,
            event=Offered(0, offer),
            done=once(done),
            only_ringing=only_ringing,
        )
        self._post_or_turn_away(what)
        newcomer.listen(self.leg_event)

    def replace(
        self, leg: Leg, new_leg: Leg, done: Callable[[Cause], None] | None = None, *, held: bool = False
    ) -> None:
        """Let `new_leg`, with media in the call already, replace `leg` (transfer).

        `done` gets NORMAL after success, else the cause of failure, and `new_leg` is ended. `held` means that `new_leg`
        was on hold in its old call.
        """
        new_leg.listen(self.leg_event)
        self._post_or_turn_away(CallInput(input=Input.REPLACE, leg=leg, new_leg=new_leg, done=once(done), held=held))

    def _post_or_turn_away(self, what: CallInput) -> None:
        if self.state is State.ENDED:
            self._turning_away = asyncio.get_running_loop().create_task(_turn_away(what))
        else:
            self.post(what)

    def give_away(self, leg: Leg, to_call: str, done: Callable[[Cause], None]) -> None:
        """Let the call with id `to_call` adopt `leg` with its media, and end (see transfer.merge); `done` gets NORMAL
        on success.
        """
        what = CallInput(input=Input.GIVE_AWAY, leg=leg, to_call=to_call, done=once(done))
        if self.state is State.ENDED:
            done(Cause.UNAVAILABLE)
        else:
            self.post(what)

    async def finished(self) -> None:
        """Wait until the call has ended and its media is deleted."""
        await self._finished.wait()

    def leg_event(self, leg: Leg, event: LegEvent) -> None:
        """Take an event of a leg."""
        if isinstance(event, TransferRequested):
            self._transfer_requested(leg, event)
            return
        if isinstance(event, KeyFrameRequested):
            self._key_frame_requested(leg)
            return
        if isinstance(event, SignallingChanged) and event.is_first and self._is_kept:
            return
        if isinstance(event, SignallingChanged | Answered | HungUp) and self.state is not State.ENDED:
            # Stored before the message about the event is sent.
            self._write((leg,), self._is_ending or (isinstance(event, HungUp) and leg in self.legs))
        if isinstance(event, SignallingChanged):
            return
        if isinstance(event, DigitPressed) and self.state is State.ENDED:
            event.told(False)
        else:
            self._queue(lambda: input_of_leg(self._machine, leg, event))

    def _transfer_requested(self, leg: Leg, request: TransferRequested) -> None:
        """Pass a transfer request to the registry, which knows all calls; unanswered calls cannot be transferred."""
        if self._on_transfer is None or self.bridge is None or leg not in self.legs:
            request.report.ended(Cause.GLARE)
        else:
            self._on_transfer(self, leg, request)

    def _key_frame_requested(self, leg: Leg) -> None:
        """Ask the engine for a key frame; the call's state is not involved."""
        try:
            if self._scope.engine.capabilities.key_frames:
                self._scope.engine.request_key_frame(self.id, leg.party.tag)
        except MediaError as error:
            log.debug("no key frame can be asked for", call_id=self.id, of=leg.party.tag, reason=error.reason)

    def media_event(self, event: MediaEvent) -> None:
        """Take an event of the media engine."""
        if isinstance(event, KeyFrameWanted):
            for leg in self.legs:
                if leg.party.tag == event.tag:
                    leg.ask_key_frame()
            return
        self._queue(lambda: input_of_media(self._machine, event))

    def post(self, what: CallInput) -> None:
        """Queue an input; after the end, only the loss of a digit is reported."""
        if what.digit is not None and self.state is State.ENDED:
            what.digit.told(False)
        self._queue(lambda: what)

    def _queue(self, read: Callable[[], CallInput | None]) -> None:
        if self.state is State.ENDED:
            return
        if len(self._pending) >= _PENDING_LIMIT:
            self._pending.clear()
            flood = CallInput(input=Input.FAULT, cause=Cause.LIMIT)
            self._pending.append(lambda: flood)
        else:
            self._pending.append(read)
        if self._pump is None:
            self._pump = asyncio.get_running_loop().create_task(self._run())

    def _follow(self, what: CallInput) -> None:
        self._pending.appendleft(lambda: what)

    def _waiting(self) -> list[Input]:
        return [what.input for read in self._pending if (what := read()) is not None]

    # -- the machine -----------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while self._pending and self.state is not State.ENDED:
                what = self._pending.popleft()()
                if what is not None:
                    await self._handle(what)
            while self._pending:
                await _turn_away(self._pending.popleft()())
        finally:
            self._pump = None
            if self.state is State.ENDED:
                self._scope.let_go()
                for leg in {*self.legs, self.caller}:  # the caller may have been replaced
                    leg.listen(over, instead_of=self.leg_event)
                self._finished.set()

    async def _handle(self, what: CallInput) -> None:
        machine = self._machine
        row = machine.actions(what)
        if row is None:
            await _turn_away(what)
            return
        if not self._is_kept and what.input is not Input.START:
            self.keep()
        actions, target = row
        if target is State.ENDED:
            what = self._with_cause(what)
        try:
            for action in actions:
                await machine.do(action, what)
        except MediaError as error:
            log.info("media refused", call_id=self.id, reason=error.reason, status=error.status)
            await self._fault(refused_by_media(self.caller, error), what)
            return
        except Exception:
            log.exception("call step failed", call_id=self.id, input=what.input.value)
            await self._fault(Cause.ERROR, what)
            return
        self._enter(target, what)

    async def _fault(self, cause: Cause, failed: CallInput) -> None:
        self.cause = cause
        if failed.done is not None:
            failed.done(cause)
        fault = CallInput(input=Input.FAULT, cause=cause)
        for action in FINISH:
            try:
                await self._machine.do(action, fault)
            except Exception:
                log.exception("call clean-up failed", call_id=self.id)
        self._enter(State.ENDED, fault)

    def _enter(self, state: State, what: CallInput) -> None:
        elapsed = self._timers.time() - self.record.started_at
        machine = self._machine
        before, machine.state = machine.state, state
        is_answered = state is State.CONNECTED and self.record.answered_after_ms is None
        if isinstance(machine, Attempt) and state is State.CONNECTED:
            self._answered(machine)
        if is_answered:  # a resuming process counts the duration from here
            self.record.answered_after_ms, self.record.longest = elapsed * 1000, self.longest
        self._note(elapsed, before, state, what)
        if isinstance(self._machine, Bridge):
            self._machine.entered()
        if state in (State.CONFIRMING, State.ENDED) or (self.bridge is not None and is_kept(what)):
            self._write(changed_by(what, self.caller))
        if state is before:
            if what.input is Input.REPLACE:
                self._changed()
            return
        if state in (State.RINGING, State.EARLY) and self.record.ringing_after_ms is None:
            self.record.ringing_after_ms = elapsed * 1000
        elif is_answered:
            self._arm(self.longest, Input.MAX_DURATION, Cause.NORMAL)
        elif state is State.ENDED:
            self.record.ended_after_ms = elapsed * 1000
            self.record.cause = self.cause
            self._disarm()
            self._machine.close()
        self._changed()

    def _changed(self) -> None:
        if self._on_change is not None:
            self._on_change(self)

    def _answered(self, attempt: Attempt) -> None:
        """Replace the attempt by a bridge of the two answered legs."""
        winner = attempt.winner
        assert winner is not None
        away, acquainted = attempt.away, attempt.acquainted
        attempt.close()
        self._machine = Bridge(self._scope, attempt.caller, winner, acquainted)
        if attempt.wants_another:
            self.post(CallInput(input=Input.RENEGOTIATE, leg=attempt.caller))
        for leg in away:
            self._follow(CallInput(input=Input.LEG_AWAY, leg=leg))

    def _note(self, elapsed: float, before: State, state: State, what: CallInput) -> None:
        """Log a step and add it to the history, with the call's id and SIP Call-IDs."""
        tag = what.leg.party.tag if what.leg is not None else None
        for leg in self.legs:
            if leg.references:
                self.record.references[leg.party.tag] = leg.references
        # A step without a leg, or of a leg without Call-ID, is logged with the caller's.
        references = (what.leg.references if what.leg is not None else ()) or self.caller.references
        self.history.append(Step(at=elapsed, input=what.input, state=state, leg=tag, references=references))
        refusal = self._refusal_of(what, state)
        # Digits and candidates are steps, too, but too many for the normal log level.
        say = log.debug if state is before and not refusal else log.info
        say(
            "call",
            call_id=self.id,
            state=state.value,
            input=what.input.value,
            after_ms=round(elapsed * 1000),
            leg=tag,
            sip_call_id=",".join(references) or None,
            **refusal,
        )

    def _refusal_of(self, what: CallInput, state: State) -> dict[str, str]:
        """Return log fields with the text of a rejection, and with the cause at the end of the call."""
        if isinstance(what.event, Rejected) and what.event.said:
            self._refusals[what.event.cause] = what.event.said
            return {"said": what.event.said}
        if state is not State.ENDED:
            return {}
        words = self._refusals.get(self.cause)
        return {"cause": self.cause.word} | ({} if words is None else {"said": words})

    def _with_cause(self, what: CallInput) -> CallInput:
        """Return the final input with the cause reported to both legs."""
        cause = what.cause or Cause.NORMAL
        if what.input is Input.CALLER_HUNG_UP and self.state is not State.CONFIRMING:
            cause = Cause.CANCELLED
        self.cause = cause
        return CallInput(input=what.input, leg=what.leg, event=what.event, cause=cause)

    def _arm(self, delay: float, what: Input, cause: Cause) -> None:
        self._disarm()
        self._timer = self._timers.call_later(delay, lambda: self.post(CallInput(input=what, cause=cause)))

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def longest(self) -> float:
        """Longest duration of the answered call, in seconds."""
        if any(leg.party.kind is Kind.SERVICE and not leg.party.lasting for leg in self.legs):
            return self.settings.service_max_duration
        return self.settings.max_duration

    def _learn(self, leg: Leg, sdp: str) -> None:
        """Report the codecs chosen by a callee, best first."""
        codecs = audio_codecs(sdp) if self._on_preference is not None else ()
        if codecs and self._on_preference is not None:
            self._on_preference(leg, codecs)


async def _turn_away(what: CallInput | None) -> None:
    """Settle a dropped input: report failure and end the legs that were to join."""
    if what is None:
        return
    if what.transfer is not None and what.input is Input.TRANSFER:
        await give_up(what.transfer, Cause.UNAVAILABLE)
    if what.done is not None:
        what.done(Cause.UNAVAILABLE)
    turned_away(what)
    for leg in (what.new_leg, what.newcomer):
        if leg is not None:
            await leg.end(Cause.BUSY if what.only_ringing else Cause.NORMAL)
