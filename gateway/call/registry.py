"""All calls of this gateway: made here, counted here, ended here."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, cast

import structlog

from gateway.call.branches import Branch
from gateway.call.branching import Branching, Journey, Mailboxes, Payers
from gateway.call.call import Call
from gateway.call.dialer import Dialer
from gateway.call.features import TAKING, Features
from gateway.call.journal import caller_of, parked_of
from gateway.call.leg import CalleeLeg, CallerLeg, Leg
from gateway.call.limits import Admission, CallLimits
from gateway.call.machine import unsaid
from gateway.call.record import CallRecord, CallSettings
from gateway.call.routing import (
    Caller,
    FeatureTarget,
    RouteError,
    Router,
    ServiceTarget,
    Target,
    UserTarget,
)
from gateway.call.rules import MemoryRules, RuleStore
from gateway.call.state import State
from gateway.call.status import Cause
from gateway.call.timers import Timers
from gateway.call.toll import TollBrake
from gateway.call.transfer import PassedOn, Rights, Transfers
from gateway.identity.model import User
from gateway.media.engine import CallStatistics, MediaEngine, MediaError, MediaEvent

log = structlog.get_logger(__name__)


_CONFIRMATION = 2.0
"""Seconds of tone that say that a feature's number has done its work."""


class Announcer(Protocol):
    """What callers hear whose call has failed, before they are told so."""

    def announces(self, cause: Cause, caller: CallerLeg) -> bool:
        """Whether that one hears anything about this cause."""

    def leg(self, cause: Cause, caller: CallerLeg, call_id: str) -> CalleeLeg | None:
        """What gives it early media, and then refuses for this cause; None: nothing does."""


class Calls:
    """The registry: `place` makes a call of a caller's leg and what it dialled."""

    def __init__(
        self,
        engine: MediaEngine,
        router: Router,
        dialer: Dialer,
        timers: Timers,
        *,
        settings: CallSettings | None = None,
        limits: CallLimits | None = None,
        new_id: Callable[[], str],
        on_preference: Callable[[Leg, tuple[str, ...]], None] | None = None,
        rights: Rights | None = None,
        rules: RuleStore | None = None,
        uri_of: Callable[[User], str] = lambda user: f"sip:{user.id}",
        payers: Payers | None = None,
        mailboxes: Mailboxes | None = None,
        passed_on: PassedOn | None = None,
    ) -> None:
        """Without `rights` nobody can be asked who may transfer a call, so nobody may.

        `rules` are what users want done with their calls; `uri_of` their URIs, as diversions name them; `payers` whose
        rights and account count where a callee sends a call on; `mailboxes` where messages are left for users;
        `passed_on` says which transfers are others' business.
        """
        self._engine = engine
        self._router = router
        self.rules: RuleStore = rules or MemoryRules()
        limits = limits or CallLimits()
        toll = self.toll = TollBrake(limits, timers.time)
        self._branching = Branching(router, dialer, self.rules, uri_of, payers, mailboxes, toll.check, self)
        self._timers = timers
        self._settings = settings or CallSettings()
        self._admission = Admission(limits, timers.time())
        self._new_id = new_id
        self._on_preference = on_preference
        self.transfers: Transfers | None = None
        if rights is not None:
            wait = self._settings.park_timeout
            self.transfers = Transfers(
                engine, router, dialer, rights, self, timers, toll.check, wait, passed_on, new_id
            )
        self.features = Features(
            engine,
            self.rules,
            self,
            rights.may_pick_up if rights is not None else lambda by, of: False,
            router,
        )
        self._calls: dict[str, Call] = {}
        self._callers: dict[str, Caller] = {}
        """Who has a place for the call of that id. It is free before the far ends hear that the call is over."""
        self._observers: list[Callable[[Call], None]] = []
        self._closing, self._draining = False, 0
        self._emptied = asyncio.Event()
        self.announcer: Announcer | None = None
        self.keep: Callable[[Call, Caller, Sequence[Leg] | None, bool], None] | None = None
        """Writes a call down (`Journal.write`); None: calls end with the process."""
        self.pressed: Callable[[Call, Leg, str], None] = lambda *_: None  # told of every digit, whichever way it comes
        self.ended: deque[CallRecord] = deque(maxlen=limits.history)
        """Records of the calls that are over, oldest first."""
        self.refused: Counter[Cause] = Counter()
        engine.subscribe(self._media_event)

    def __len__(self) -> int:
        return len(self._calls)

    def change(self, settings: CallSettings, limits: CallLimits) -> None:
        """Go by these from now on; calls that are up end by the settings that they began with."""
        self._settings = settings
        self._admission.limits = self.toll.limits = limits
        self.ended = deque(self.ended, maxlen=limits.history)
        if self.transfers is not None:
            self.transfers.parking.timeout = settings.park_timeout

    def __iter__(self) -> Iterator[Call]:
        return iter(list(self._calls.values()))

    @property
    def draining(self) -> bool:
        """Whether new calls are refused because the gateway is about to end."""
        return self._draining > 0 or self._closing

    def addressed(self, uri: str, caller: Caller) -> str:
        """Return the Request-URI of what `caller` sent here, as `Router.addressed` reads it."""
        return self._router.addressed(uri, caller)

    def is_emergency(self, dialled: str) -> bool:
        """Whether that is an emergency number, however it is written: no limit counts for a call to it."""
        return self._router.is_emergency(dialled)

    def of(self, caller: str) -> int:
        """How many calls the caller of that id (`Caller.id`) has made that are not over, here and elsewhere."""
        return self._admission.of(caller)

    def counts(self) -> dict[str, float]:
        """What counts here for limits, by names that other gateways have as well."""
        return self._admission.counts() | self.toll.counts()

    def count_others(self, others: Callable[[str], float]) -> None:
        """Have what other gateways count under such a name count here, too."""
        self._admission.others = self.toll.others = others

    def get(self, call_id: str) -> Call | None:
        return self._calls.get(call_id)

    async def statistics(self, call_id: str) -> CallStatistics:
        """Figures of a call's media now; none where it has no media."""
        try:
            return await self._engine.query(call_id)
        except MediaError:
            return CallStatistics()

    def observe(self, observer: Callable[[Call], None]) -> None:
        """Have `observer` called at every change of state of every call."""
        self._observers.append(observer)

    async def place(
        self,
        leg: CallerLeg,
        caller: Caller,
        dialled: str,
        offer: str | None,
        max_calls: int | None = None,
    ) -> Call:
        """Route what `caller` dialled and start the call; `offer` None: the caller wants ours.

        Raises RouteError whose cause is what the front end answers; `leg` is then untouched. Where the caller is to
        hear of that cause, the call begins, and fails once it has.
        """
        admit: Callable[[float], None] = partial(self._admission.admit, caller, max_calls)
        try:
            target, settings = self._admit(caller, dialled, max_calls), self._settings
            # Its place is its own again; another would count against the rate of new calls once more.
            admit = lambda now: self._admission.restore(caller)  # noqa: E731
            if isinstance(target, FeatureTarget):
                taken = self._use(target, leg, caller, offer)
                if taken is not None:
                    return taken
                # A tone says that it was done.
                target, settings = ServiceTarget("tone"), replace(settings, service_max_duration=_CONFIRMATION)
            call_id = self._new_id()
            journey = Journey(call_id, caller, self._settings.max_diversions, dialled)
            try:
                callees = await self._branching.first(target, journey)
                if self._closing:
                    raise RouteError(Cause.OUT_OF_SERVICE, "the gateway is closing")
            except BaseException:
                self._admission.release(caller)
                raise
        except RouteError as error:
            log.info(
                "call refused",
                caller=caller.id,
                dialled=dialled[:80],
                cause=error.cause.word,
                reason=str(error),
                sip_call_id=",".join(leg.references) or None,
            )
            told = self._told(leg, caller, dialled, offer, admit, error.cause)
            if told is not None:
                return told
            self.refused[error.cause] += 1
            raise
        call = self._make(call_id, leg, callees, offer, dialled, settings, caller, journey)
        references = ",".join(leg.references) or None
        log.info("call", call_id=call_id, state="new", caller=caller.id, dialled=dialled[:80], sip_call_id=references)
        call.start()
        return call

    def _told(
        self,
        leg: CallerLeg,
        caller: Caller,
        dialled: str,
        offer: str | None,
        admit: Callable[[float], None],
        cause: Cause,
    ) -> Call | None:
        """A call that nobody is asked to take, so that its caller hears why; None where there is nothing to hear."""
        announcer = self.announcer
        if announcer is None or offer is None or self.draining or not announcer.announces(cause, leg):
            return None
        try:
            admit(self._timers.time())
        except RouteError:
            return None
        call_id, nobody = self._new_id(), Branch([], refusals=[cause])
        journey = Journey(call_id, caller, 0, dialled)
        call = self._make(call_id, leg, nobody, offer, dialled, self._settings, caller, journey)
        call.start()
        return call

    def _make(
        self,
        call_id: str,
        leg: CallerLeg,
        callees: Branch,
        offer: str | None,
        dialled: str,
        settings: CallSettings,
        caller: Caller,
        journey: Journey,
    ) -> Call:
        keep, announcer = self.keep, self.announcer
        self._callers[call_id] = caller
        call = self._calls[call_id] = Call(
            call_id,
            leg,
            callees,
            offer,
            dialled=dialled,
            engine=self._engine,
            timers=self._timers,
            settings=settings,
            on_change=self._changed,
            on_preference=self._on_preference,
            on_transfer=self.transfers.requested if self.transfers is not None else None,
            on_redirect=partial(self._branching.redirected, journey),
            keep=None if keep is None else lambda kept, changed, ending: keep(kept, caller, changed, ending),
            on_end=partial(self._give_back, call_id),
            announce=unsaid if announcer is None else lambda cause: announcer.leg(cause, leg, call_id),
        )
        call.when_pressed(partial(self._pressed, call))
        return call

    def resume(
        self, values: Mapping[str, Any], legs: tuple[Leg, Leg], away: Sequence[Leg], *, silent: bool = False
    ) -> Call:
        """Go on with a call that another process has written down (journal.py), whose media goes on already.

        `away` are the legs whose clients are to come back; `silent`: the media is gone, and its sides must be offered
        what the engine has made in its place (`MediaEngine.restore`). Raises LookupError, TypeError or ValueError for
        values that no process has written.
        """
        caller, dialled = caller_of(values["caller"]), values["dialled"]
        journey = Journey(values["id"], caller, self._settings.max_diversions, dialled)
        a, b = cast(CallerLeg, legs[0]), cast(CalleeLeg, legs[1])  # of two who talk nobody is rung
        call = self._make(values["id"], a, Branch([b]), None, dialled, self._settings, caller, journey)
        self._admission.restore(caller)
        record = call.record
        try:
            record.started_at -= values["age"]
            record.ringing_after_ms, record.answered_after_ms, record.media_after_ms = values["times"]
            record.longest = values.get("longest") or call.longest
            record.parked = parked_of(values)
            talked = values["age"] - (record.answered_after_ms or 0.0) / 1000
            left = max(record.longest - talked, 1.0)
            call.resume(a, b, away=away, holding=values["holding"], left=left, silent=silent)
        except BaseException:
            del self._calls[call.id]
            self._give_back(call.id)
            raise
        if self.transfers is not None:
            self.transfers.parking.resume(call)
        return call

    async def drain(self, timeout: float) -> bool:
        """Refuse new calls, and wait for the last to end.

        Not refused are those to emergency numbers, those that take one over, and those that other gateways send on.
        At most `timeout` seconds, which refused callers are told to wait; whether no call is left.
        """
        self._draining = max(1, math.ceil(timeout))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._calls:
                    self._emptied.clear()
                    await self._emptied.wait()
        return not self._calls

    async def close(self, timeout: float = 5.0) -> None:
        """Refuse new calls and end every live one, waiting at most `timeout` seconds."""
        self._closing = True
        live = list(self._calls.values())
        for call in live:
            call.stop(Cause.NORMAL)
        if live:
            waits = [asyncio.ensure_future(call.finished()) for call in live]
            _, pending = await asyncio.wait(waits, timeout=timeout)
            for wait in pending:
                wait.cancel()

    def _admit(self, caller: Caller, dialled: str, max_calls: int | None) -> Target:
        target = self._router.route(dialled, caller)
        if self._closing:
            raise RouteError(Cause.OUT_OF_SERVICE, "the gateway is closing")
        emergency = caller.transit and self._router.is_emergency(dialled)
        takes = isinstance(target, FeatureTarget) and target.feature in TAKING
        is_here = caller.is_sent_on and isinstance(target, UserTarget)  # nobody else can ring that phone
        if self._draining and not (emergency or takes or is_here):
            reason = "draining: the gateway takes no new calls"
            raise RouteError(Cause.OUT_OF_SERVICE, reason, retry_after=self._draining)
        self._admission.admit(caller, max_calls, self._timers.time(), emergency=emergency)
        try:
            self.toll.check(caller, target)
        except RouteError:
            self._admission.withdraw(caller)
            raise
        return target

    def _use(self, target: FeatureTarget, leg: CallerLeg, caller: Caller, offer: str | None) -> Call | None:
        """Do what a number is for; the call that was taken, which has its place already. Raises RouteError."""
        try:
            taken = self.features.use(target, leg, caller, offer)
        except BaseException:
            self._admission.release(caller)
            raise
        if taken is not None:
            self._admission.release(caller)
        return taken

    def _give_back(self, call_id: str) -> None:
        caller = self._callers.pop(call_id, None)
        if caller is not None:
            self._admission.release(caller)

    def _changed(self, call: Call) -> None:
        if call.state is State.ENDED and self._calls.pop(call.id, None) is not None:
            self._give_back(call.id)
            self.ended.append(call.record)
            if not self._calls:
                self._emptied.set()
        for observer in self._observers:
            try:
                observer(call)
            except Exception:
                log.exception("observer of calls failed", call_id=call.id)

    def _pressed(self, call: Call, leg: Leg, digit: str) -> None:
        try:
            self.pressed(call, leg, digit)
        except Exception:
            log.exception("observer of digits failed", call_id=call.id)

    def _media_event(self, event: MediaEvent) -> None:
        call = self._calls.get(event.call_id)
        if call is not None:
            call.media_event(event)
