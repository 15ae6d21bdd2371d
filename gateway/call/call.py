"""One call: the queue of everything that happens to it, worked off one at a time by its attempt, then its bridge."""

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
"""Steps kept of one call."""
_PENDING_LIMIT = 200
"""Inputs a call may have waiting; a peer that floods one call hurts that call only."""


class Call:
    """Two sides and the media between them.

    Everything that happens is queued and handled one at a time, in order, so that no event
    overtakes the media engine's answer to the one before it.
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
        """`offer` None: the caller wants ours (an INVITE without a description); `callees` without legs: all of them
        have refused.

        `keep` writes the call down as it stands: which legs have changed (None: any may have), whether one has left it.
        `on_end` is told before the far ends are: the call is over, and its media is yet to go.
        """
        self.id = call_id
        self.caller = caller
        self.settings = settings or CallSettings()
        self.record = CallRecord(call_id, caller.address, dialled, timers.time())
        self.history: deque[Step] = deque(maxlen=_HISTORY_LIMIT)
        self.cause = Cause.NORMAL
        """Why the call ended, once it has."""
        self._timers = timers
        self._on_change = on_change
        self._on_preference = on_preference
        self._on_transfer = on_transfer
        self._keep = keep or (lambda call, changed, ending: None)
        self._on_end = on_end
        self._is_kept = self._is_ending = False
        self._scope = self._made(engine, on_redirect or nobody_instead, announce)
        self.leaving: Sequence[Leg] = self._scope.leaving  # ended, and their far ends have not answered that yet
        self._machine: Attempt | Bridge = Attempt(self._scope, caller, callees, offer)
        self._pending: deque[Callable[[], CallInput | None]] = deque()
        """What happened is read when its turn comes: what it means depends on what came before it."""
        self._pump: asyncio.Task[None] | None = None
        self._timer: Timer | None = None
        self._turning_away: asyncio.Task[None] | None = None
        self._finished = asyncio.Event()
        self._refusals: dict[Cause, str] = {}
        """Words of far ends that refused, by the cause they stand for."""

    def _made(
        self,
        engine: MediaEngine,
        redirect: Callable[[Leg, Redirected], Awaitable[Branch | None]],
        announce: Callable[[Cause], CalleeLeg | None],
    ) -> Scope:
        """Return what the attempt and the bridge have of the call."""
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
        """Go on as another process has left it, in place of `start`: these two talk, for `left` seconds at most.

        `silent`: their media is gone, and others stand ready to be offered.
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

    # -- what others see -------------------------------------------------------------

    @property
    def state(self) -> State:
        """Where the call is: its attempt's state until somebody answered, its bridge's from then on."""
        return self._machine.state

    @property
    def machine(self) -> Attempt | Bridge:
        """What runs the call now."""
        return self._machine

    @property
    def bridge(self) -> Bridge | None:
        """The two legs that talk, once they do."""
        return self._machine if isinstance(self._machine, Bridge) else None

    @property
    def legs(self) -> tuple[Leg, ...]:
        """Every leg that is part of it now."""
        return self._machine.legs

    @property
    def unexpected(self) -> Counter[tuple[State, Input]]:
        """Inputs that had no row, by the state they came in."""
        return self._machine.unexpected

    # -- what drives it ------------------------------------------------------------

    def start(self) -> None:
        """Begin: offer the media, invite the callees, listen to every leg."""
        # Where nobody has seen the call whoever made it makes it again, if we die, for want of an answer.
        if not all(leg.is_unaware for leg in self.legs):
            self.keep()
        # First of all inputs: what the legs have kept (candidates, a hang-up) comes after it.
        self.post(CallInput(input=Input.START))
        for leg in self.legs:
            leg.listen(self.leg_event)
        self._arm(self.settings.ring_timeout, Input.RING_TIMEOUT, Cause.NO_ANSWER)

    def stop(self, cause: Cause = Cause.NORMAL) -> None:
        """End the call from the gateway's side."""
        self.post(CallInput(input=Input.STOP, cause=cause))

    def keep(self) -> None:
        """Write it down as it stands."""
        self._write(None, self._is_ending)

    def _ends(self) -> None:
        """Whoever finds it from now on is to end it, too: a goodbye may be lost with this process."""
        if self.bridge is not None and not self._is_ending:
            self._write((), ending=True)
        self._on_end()

    def _write(self, changed: Sequence[Leg] | None, ending: bool = False) -> None:
        self._is_kept, self._is_ending = True, ending
        self._keep(self, changed, ending)

    def when_pressed(self, told: Callable[[Leg, str], None]) -> None:
        """Have `told` hear of every digit of its legs, in the media or by signalling."""
        self._scope.pressed = told

    def leave(self) -> None:
        """Another gateway goes on with it: end it here; of what it was nothing is written down any more."""
        keep = self._keep

        def kept(call: Call, changed: Sequence[Leg] | None, ending: bool) -> None:
            if call.state is State.ENDED:
                keep(call, changed, ending)

        self._keep = kept
        self.record.elsewhere = True
        self.stop(Cause.LOST)

    def transfer(self, transfer: Transfer) -> None:
        """Have whoever answers first of its targets talk in the transferor's place (see transferring.py)."""
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
        """Have `newcomer`, whose offer is not answered yet, talk in the place of `leg` (INVITE with Replaces).

        `done` hears NORMAL once it has come to that, of a leg that talks, else why not. `only_ringing`: not any
        more where `leg` has answered meanwhile.
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
        """Have `new_leg`, which has an agreement in this call's media, talk in the place of `leg` (a transfer).

        `done` hears NORMAL once it has come to that, else why not: `new_leg` is ended, for it has nobody to talk to.
        `held`: it was on hold where it comes from.
        """
        new_leg.listen(self.leg_event)
        self._post_or_turn_away(CallInput(input=Input.REPLACE, leg=leg, new_leg=new_leg, done=once(done), held=held))

    def _post_or_turn_away(self, what: CallInput) -> None:
        if self.state is State.ENDED:
            self._turning_away = asyncio.get_running_loop().create_task(_turn_away(what))
        else:
            self.post(what)

    def give_away(self, leg: Leg, to_call: str, done: Callable[[Cause], None]) -> None:
        """Have the call of that id adopt `leg` with its media (NORMAL), and end (see transfer.merge)."""
        what = CallInput(input=Input.GIVE_AWAY, leg=leg, to_call=to_call, done=once(done))
        if self.state is State.ENDED:
            done(Cause.UNAVAILABLE)
        else:
            self.post(what)

    async def finished(self) -> None:
        """Wait until the call has ended and its media is gone."""
        await self._finished.wait()

    def leg_event(self, leg: Leg, event: LegEvent) -> None:
        """Take one event of one of our legs."""
        if isinstance(event, TransferRequested):
            self._transfer_requested(leg, event)
            return
        if isinstance(event, KeyFrameRequested):
            self._key_frame_requested(leg)
            return
        if isinstance(event, SignallingChanged) and event.is_first and self._is_kept:
            return
        if isinstance(event, SignallingChanged | Answered | HungUp) and self.state is not State.ENDED:
            # Before a message leaves that tells of it.
            self._write((leg,), self._is_ending or (isinstance(event, HungUp) and leg in self.legs))
        if isinstance(event, SignallingChanged):
            return
        if isinstance(event, DigitPressed) and self.state is State.ENDED:
            event.told(False)
        else:
            self._queue(lambda: input_of_leg(self._machine, leg, event))

    def _transfer_requested(self, leg: Leg, request: TransferRequested) -> None:
        """Where it leads to is for whoever knows all calls; who is not answered yet cannot be passed on."""
        if self._on_transfer is None or self.bridge is None or leg not in self.legs:
            request.report.ended(Cause.GLARE)
        else:
            self._on_transfer(self, leg, request)

    def _key_frame_requested(self, leg: Leg) -> None:
        """No state of a call depends on it: the engine knows whom the leg sees."""
        try:
            if self._scope.engine.capabilities.key_frames:
                self._scope.engine.request_key_frame(self.id, leg.party.tag)
        except MediaError as error:
            log.debug("no key frame can be asked for", call_id=self.id, of=leg.party.tag, reason=error.reason)

    def media_event(self, event: MediaEvent) -> None:
        """Take one event of the media engine about this call."""
        if isinstance(event, KeyFrameWanted):
            for leg in self.legs:
                if leg.party.tag == event.tag:
                    leg.ask_key_frame()
            return
        self._queue(lambda: input_of_media(self._machine, event))

    def post(self, what: CallInput) -> None:
        """Queue one input; what comes after the end is nobody's business any more, but a digit is told to be lost."""
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

    # -- the machine ---------------------------------------------------------------

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
                for leg in {*self.legs, self.caller}:  # who may have left it
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
        if is_answered:  # whoever finds the call counts from here
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
        """The attempt has done its part: who is left of it talks in a bridge."""
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
        """One step, in the history and in the log, with both names of the call."""
        tag = what.leg.party.tag if what.leg is not None else None
        for leg in self.legs:
            if leg.references:
                self.record.references[leg.party.tag] = leg.references
        # A step of no leg, or of one that has no such name, goes by the caller's.
        references = (what.leg.references if what.leg is not None else ()) or self.caller.references
        self.history.append(Step(at=elapsed, input=what.input, state=state, leg=tag, references=references))
        refusal = self._refusal_of(what, state)
        # Digits and candidates are steps too, but nobody wants to read them all.
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
        """Return the words of the far end that refused now, or for whose refusal the call ends."""
        if isinstance(what.event, Rejected) and what.event.said:
            self._refusals[what.event.cause] = what.event.said
            return {"said": what.event.said}
        if state is not State.ENDED:
            return {}
        said = self._refusals.get(self.cause)
        return {"cause": self.cause.word} | ({} if said is None else {"said": said})

    def _with_cause(self, what: CallInput) -> CallInput:
        """The input that ends the call, with the cause both sides are told."""
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
        """Seconds that it may be up."""
        if any(leg.party.kind is Kind.SERVICE and not leg.party.lasting for leg in self.legs):
            return self.settings.service_max_duration
        return self.settings.max_duration

    def _learn(self, leg: Leg, sdp: str) -> None:
        """Tell who keeps preferences which codecs the callee chose, best first."""
        codecs = audio_codecs(sdp) if self._on_preference is not None else ()
        if codecs and self._on_preference is not None:
            self._on_preference(leg, codecs)


async def _turn_away(what: CallInput | None) -> None:
    """What is not done any more: a leg that was to come in must not be left alone."""
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
