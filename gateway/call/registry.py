"""Registry of all calls of this gateway: creation, counting, shutdown."""

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
"""Seconds of the tone that confirms a feature number."""


class Announcer(Protocol):
    """Announcements for callers of failed calls, played before the rejection."""

    def announces(self, cause: Cause, caller: CallerLeg) -> bool:
        """Return True if the caller can hear an announcement for the cause."""

    def leg(self, cause: Cause, caller: CallerLeg, call_id: str) -> CalleeLeg | None:
        """Return a leg that plays early media and then rejects with the cause; None for no announcement."""


class Calls:
    """Registry of calls; `place` makes a call from a caller's leg and a dialled string."""

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
        """`payers` are the rights for diverted calls; without `rights` no transfer is allowed. `passed_on` selects
        transfers left to the far end.
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
        """Callers by id of a call with a place, which is released before the far ends hear of the end."""
        self._observers: list[Callable[[Call], None]] = []
        self._closing, self._draining = False, 0
        self._emptied = asyncio.Event()
        self.announcer: Announcer | None = None
        self.keep: Callable[[Call, Caller, Sequence[Leg] | None, bool], None] | None = None
        """Stores a call (`Journal.write`); None if calls end with the process."""
        # called for every digit from media or signalling
        self.pressed: Callable[[Call, Leg, str], None] = lambda *_: None
        self.ended: deque[CallRecord] = deque(maxlen=limits.history)
        """Records of ended calls, oldest first."""
        self.refused: Counter[Cause] = Counter()
        engine.subscribe(self._media_event)

    def __len__(self) -> int:
        return len(self._calls)

    def change(self, settings: CallSettings, limits: CallLimits) -> None:
        """Adopt new settings for new calls; current calls keep their own."""
        self._settings = settings
        self._admission.limits = self.toll.limits = limits
        self.ended = deque(self.ended, maxlen=limits.history)
        if self.transfers is not None:
            self.transfers.parking.timeout = settings.park_timeout

    def __iter__(self) -> Iterator[Call]:
        return iter(list(self._calls.values()))

    @property
    def draining(self) -> bool:
        """True while new calls are rejected for a shutdown."""
        return self._draining > 0 or self._closing

    def addressed(self, uri: str, caller: Caller) -> str:
        """Return the Request-URI of a caller's request as `Router.addressed` reads it."""
        return self._router.addressed(uri, caller)

    def is_emergency(self, dialled: str) -> bool:
        """Return True for an emergency number in any notation; such calls are exempt from limits."""
        return self._router.is_emergency(dialled)

    def of(self, caller: str) -> int:
        """Return the number of a caller's current calls (`Caller.id`), remote gateways included."""
        return self._admission.of(caller)

    def counts(self) -> dict[str, float]:
        """Return local counts under names shared by all gateways."""
        return self._admission.counts() | self.toll.counts()

    def count_others(self, others: Callable[[str], float]) -> None:
        """Add the counts of remote gateways, by name, to the limits."""
        self._admission.others = self.toll.others = others

    def get(self, call_id: str) -> Call | None:
        return self._calls.get(call_id)

    async def statistics(self, call_id: str) -> CallStatistics:
        """Return a call's current media statistics; empty without media."""
        try:
            return await self._engine.query(call_id)
        except MediaError:
            return CallStatistics()

    def observe(self, observer: Callable[[Call], None]) -> None:
        """Call `observer` at every change of state of every call."""
        self._observers.append(observer)

    async def place(
        self,
        leg: CallerLeg,
        caller: Caller,
        dialled: str,
        offer: str | None,
        max_calls: int | None = None,
    ) -> Call:
        """Route a dialled string and start the call; `offer` is None for an INVITE without SDP.

        Raises RouteError with the cause for the caller; `leg` is then untouched. With an announcement, a call is
        returned that plays it and fails.
        """
        admit: Callable[[float], None] = partial(self._admission.admit, caller, max_calls)
        try:
            target, settings = self._admit(caller, dialled, max_calls), self._settings
            # The announcement reuses the call's own place: a second admission would count twice against the rate.
            admit = lambda now: self._admission.restore(caller)  # noqa: E731
            if isinstance(target, FeatureTarget):
                taken = self._use(target, leg, caller, offer)
                if taken is not None:
                    return taken
                # A tone confirms the feature.
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
            announced = self._announced(leg, caller, dialled, offer, admit, error.cause)
            if announced is not None:
                return announced
            self.refused[error.cause] += 1
            raise
        call = self._make(call_id, leg, callees, offer, dialled, settings, caller, journey)
        references = ",".join(leg.references) or None
        log.info("call", call_id=call_id, state="new", caller=caller.id, dialled=dialled[:80], sip_call_id=references)
        call.start()
        return call

    def _announced(
        self,
        leg: CallerLeg,
        caller: Caller,
        dialled: str,
        offer: str | None,
        admit: Callable[[float], None],
        cause: Cause,
    ) -> Call | None:
        """Return a call without callees that announces `cause` to its caller; None without an announcement."""
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
        """Continue a stored call (journal.py) whose media still flows.

        `away` lists legs with clients about to return; `silent` means lost media, to be replaced by offers from
        `MediaEngine.restore`. Raises LookupError, TypeError or ValueError for damaged values.
        """
        caller, dialled = caller_of(values["caller"]), values["dialled"]
        journey = Journey(values["id"], caller, self._settings.max_diversions, dialled)
        # an answered call uses neither caller nor callee methods
        a, b = cast(CallerLeg, legs[0]), cast(CalleeLeg, legs[1])
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
        """Reject new calls and wait for the last call to end; return True if none is left after `timeout` seconds.

        Emergency calls, retrievals and pickups, and calls forwarded by remote gateways are still admitted. Rejections
        carry the time-out as Retry-After.
        """
        self._draining = max(1, math.ceil(timeout))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._calls:
                    self._emptied.clear()
                    await self._emptied.wait()
        return not self._calls

    async def close(self, timeout: float = 5.0) -> None:
        """Reject new calls and end all current ones, within `timeout` seconds."""
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
        is_here = caller.is_sent_on and isinstance(target, UserTarget)  # only this gateway can reach the phone
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
        """Execute a feature number; return the joined call, which already has its own place. Raises RouteError."""
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
