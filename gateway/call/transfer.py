"""Call transfer: permissions, targets, and the merging of two calls (RFC 5589).

Blind: the target is called with the transferor's rights while the two legs may talk on. Attended: the peer of the
transferor's second call joins. The transferor pays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from itertools import count
from typing import Any, Protocol

import structlog

from gateway.call.call import Call
from gateway.call.dialer import Dialer
from gateway.call.features import PARK, is_engaged
from gateway.call.grants import Grants
from gateway.call.leg import CallerLeg, DialogName, Leg, LegName, TransferReport, TransferRequested, only_secure
from gateway.call.parking import Parking, ParkReport
from gateway.call.routing import Caller, FeatureTarget, RouteError, Router, ServiceTarget, Target, UserTarget
from gateway.call.state import Transfer
from gateway.call.status import Cause
from gateway.call.timers import Timers
from gateway.media.engine import Kind, MediaEngine

log = structlog.get_logger(__name__)


class Rights(Protocol):
    """Identity and permissions of legs."""

    def caller_of(self, leg: Leg) -> Caller | None:
        """Return the caller behind a leg; None for an unknown one without rights."""

    def may_pick_up(self, by: str, of: str) -> bool:
        """Return True if `by` may take over calls of `of`; both are identities (`Leg.identity`)."""


class PassedOn(Protocol):
    """Transfers left to the far end of a leg."""

    def passed_on(self, leg: Leg, target: Target) -> str | None:
        """Return the URI for the far end to call by itself; None if the gateway connects the call."""

    def called_back(self, leg: Leg, user: str) -> str | None:
        """Return the URI at which the far end reaches the consulted user here, in an attended transfer; None if the
        gateway connects the legs.
        """


class NobodyElse:
    """Every transfer is carried out by the gateway."""

    def passed_on(self, leg: Leg, target: Target) -> str | None:
        return None

    def called_back(self, leg: Leg, user: str) -> str | None:
        return None


class Transfers:
    """Executes the transfers requested by the legs of all calls."""

    def __init__(
        self,
        engine: MediaEngine,
        router: Router,
        dialer: Dialer,
        rights: Rights,
        calls: Iterable[Call],
        timers: Timers,
        toll: Callable[[Caller, Target], None],
        park_timeout: float = 0.0,
        passed_on: PassedOn | None = None,
        new_id: Callable[[], str] = lambda: "",
    ) -> None:
        """`toll` raises RouteError if the transferor has called similar numbers too often; `new_id` returns unguessable
        words.

        `park_timeout` is the parking time in seconds before the recall, 0 for no limit.
        """
        self._toll = toll
        self._engine = engine
        self._router = router
        self._dialer = dialer
        self._passed_on = passed_on or NobodyElse()
        self.grants = Grants(new_id, timers.time)
        self._rights = rights
        self._calls = calls
        self.parking = Parking(router, dialer, timers, park_timeout, calls, self.find)
        self._numbers = count(1)
        self._asking: set[asyncio.Task[None]] = set()
        self._passing: set[str] = set()
        """Ids of calls with a pending transfer at the far end."""

    def requested(self, call: Call, leg: Leg, request: TransferRequested) -> None:
        """Handle the request of a leg to be replaced."""
        self._begin(self._carry_out(call, leg, request))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _carry_out(self, call: Call, leg: Leg, request: TransferRequested, *, passed_on: bool = False) -> None:
        """Execute a transfer; `passed_on` means that the far end was asked and refused."""
        try:
            if not (self._engine.capabilities.join and self._engine.capabilities.create_offer):
                raise RouteError(Cause.NOT_ACCEPTABLE, "the media engine cannot move parties")
            if request.consultation is not None:
                self._attended(call, leg, request, passed_on=passed_on)
            else:
                await self._blind(call, leg, request, passed_on=passed_on)
        except RouteError as error:
            log.info("transfer refused", call_id=call.id, leg=leg.party.tag, to=request.to[:80], reason=str(error))
            request.report.ended(error.cause)
        except Exception:
            log.exception("transfer failed", call_id=call.id)
            request.report.ended(Cause.ERROR)

    async def _blind(self, call: Call, leg: Leg, request: TransferRequested, *, passed_on: bool) -> None:
        caller = request.caller or self._rights.caller_of(leg)
        if caller is None:
            raise RouteError(Cause.FORBIDDEN, "nobody knows who asks")
        await self._router.learn(request.to)
        target = self._router.route(request.to, caller)
        if not passed_on:
            self._toll(caller, target)
        staying = call.bridge.other(leg) if call.bridge is not None else None
        elsewhere = self._passed_on.passed_on(staying, target) if staying is not None else None
        if staying is not None and elsewhere is not None and not passed_on:
            self._pass_on(call, leg, staying, elsewhere, request)
            return
        is_served = staying is not None and staying.party.kind is Kind.SERVICE
        if is_served and isinstance(target, ServiceTarget | FeatureTarget):
            raise RouteError(Cause.NOT_ACCEPTABLE, "nobody would be left in the call")
        if isinstance(target, UserTarget) and is_engaged(target.user, self._calls):
            raise RouteError(Cause.BUSY, f"{target.user.id} has a call, and wants no other")
        report: TransferReport = request.report
        if isinstance(target, FeatureTarget) and target.feature == PARK:
            report = self.parking.begin(call, caller, target.argument, report)
        try:
            legs = await self._dialer.legs(target, call.id, f"{call.id}-{next(self._numbers)}")
            targets = only_secure(legs, request.to)
            if not targets:
                raise RouteError(Cause.UNAVAILABLE, f"{request.to} is not reachable at the moment")
        except BaseException:
            if isinstance(report, ParkReport):
                report.give_up()
            raise
        log.info("transfer", call_id=call.id, leg=leg.party.tag, to=request.to[:80])
        call.transfer(Transfer(transferor=leg, targets=targets, report=report))

    def _pass_on(
        self,
        call: Call,
        leg: Leg,
        staying: Leg,
        uri: str,
        request: TransferRequested,
        grant: DialogName | None = None,
    ) -> None:
        """Ask the far end of the staying leg to call the target; if it refuses, the gateway does.

        With a grant, only the granted replacement counts as success: neither a positive report nor a hang-up suffices.
        """
        self._require_alone(call)
        self._passing.add(call.id)

        def over(cause: Cause, accepted: bool) -> None:
            if grant is None:
                decided(cause, accepted, cause is Cause.NORMAL)
            else:
                is_no_refusal = cause in (Cause.NORMAL, Cause.CANCELLED)
                self.grants.decide(grant, lambda taken: decided(cause, accepted, taken and is_no_refusal))

        def decided(cause: Cause, accepted: bool, is_done: bool) -> None:
            self._passing.discard(call.id)
            if is_done:
                request.report.ended(Cause.NORMAL)
                call.stop()
            elif accepted:
                request.report.ended(Cause.UNAVAILABLE if cause is Cause.NORMAL else cause)
            else:
                self._begin(self._carry_out(call, leg, request, passed_on=True))

        log.info("transfer passed on", call_id=call.id, leg=leg.party.tag, to=request.to[:80])
        staying.refer(uri, _Relay(request.report, over), grant)

    def _require_alone(self, call: Call) -> None:
        if call.id in self._passing:
            raise RouteError(Cause.GLARE, "a transfer of this call is under way")

    def _attended(self, call: Call, leg: Leg, request: TransferRequested, *, passed_on: bool) -> None:
        assert request.consultation is not None
        found = self.find(request.consultation)
        if found is None:
            raise RouteError(Cause.NOT_FOUND, "there is no call of that name")
        other, consulting = found
        if leg.identity is None or consulting.identity != leg.identity:
            raise RouteError(Cause.FORBIDDEN, "the other call is somebody else's")
        comes = other.bridge.other(consulting) if other.bridge is not None else None
        if comes is None or other is call:
            raise RouteError(Cause.UNAVAILABLE, "the other call is not answered")
        if not passed_on and self._call_back(call, leg, other, consulting, comes, request):
            return
        log.info("attended transfer", call_id=call.id, leg=leg.party.tag, other=other.id)
        request.report.accepted()
        stays = call.bridge.other(leg) if call.bridge is not None else None

        def tried(cause: Cause) -> None:
            if cause is Cause.NORMAL or stays is None or comes not in other.legs:
                request.report.ended(cause)
            else:
                # Media that cannot move to the first call stays in its own; the staying leg then moves to the second
                # call.
                merge(other, consulting, call, stays, request.report.ended)

        merge(call, leg, other, comes, tried)

    def _call_back(
        self, call: Call, leg: Leg, other: Call, consulting: Leg, comes: Leg, request: TransferRequested
    ) -> bool:
        """Ask the staying leg's far end to call the consulted user and replace the transferor; return False if
        impossible.

        Legs behind one trunk are joined here: a second path through the gateway has no benefit.
        """
        staying = call.bridge.other(leg) if call.bridge is not None else None
        if staying is None or staying.identity is None or staying.identity == comes.identity:
            return False
        user = comes.address.user
        if not (user.isascii() and user.isalnum()) or comes.address.asserted:
            user = "transfer"  # a caller with privacy is not named to the trunk
        uri = self._passed_on.called_back(staying, user)
        if uri is None:
            return False
        self._require_alone(call)
        name = self.grants.give(other, consulting, staying.identity, user)
        self._pass_on(call, leg, staying, uri, request, name)
        return True

    def replace(
        self, name: LegName, newcomer: CallerLeg, offer: str | None, *, early_only: bool, dialled: str = ""
    ) -> int:
        """Let `newcomer`, who dialled `dialled`, replace the named leg; return 0 or a rejecting status.

        Allowed for the same user, its pickup group, or a granted REFER (RFC 3891 section 3). Pickup by the group fails
        once the leg has answered.
        """
        granted = self.grants.of(name, newcomer.identity, dialled)
        if isinstance(granted, int):
            log.warning("replacing refused", by=newcomer.identity, status=granted)
            return granted
        found = (granted.call, granted.leg) if granted is not None else self.find(name)
        if found is None:
            return 481
        call, leg = found
        rings = call.bridge is None
        if granted is None and not self._may_replace(newcomer, leg):
            log.warning("replacing refused", call_id=call.id, leg=leg.party.tag, by=newcomer.identity)
            return 403
        if rings and leg is call.caller:
            return 481  # an early dialog not initiated by the gateway (RFC 3891 section 3)
        if early_only and not rings:
            return 486
        capabilities = self._engine.capabilities
        if offer is None or not (capabilities.join and capabilities.early_answer):
            return 488
        log.info("leg replaced", call_id=call.id, leg=leg.party.tag, by=newcomer.party.tag)
        done = self.grants.use(name) if granted is not None else None
        is_own = granted is not None or leg.identity == newcomer.identity
        call.take_place(leg, newcomer, offer, done, only_ringing=rings and (early_only or not is_own))
        return 0

    def _may_replace(self, newcomer: Leg, leg: Leg) -> bool:
        by, of = newcomer.identity, leg.identity
        if by is None or of is None:
            return False
        return by == of or self._rights.may_pick_up(by, of)

    def find(self, name: LegName) -> tuple[Call, Leg] | None:
        """Return the call and leg with a given name."""
        return next(((call, leg) for call in self._calls for leg in call.legs if leg.is_named(name)), None)


class _Relay:
    """Passes the far end's progress reports of a transfer to the requester."""

    def __init__(self, report: TransferReport, over: Callable[[Cause, bool], None]) -> None:
        """`over` gets the final cause, and True if the transfer was accepted before."""
        self._report = report
        self._over = over
        self._is_accepted = self._is_over = False

    def accepted(self) -> None:
        self._is_accepted = True
        self._report.accepted()

    def ringing(self) -> None:
        self._report.ringing()

    def ended(self, cause: Cause) -> None:
        if not self._is_over:
            self._is_over = True
            self._over(cause, self._is_accepted)


def merge(stays: Call, leaves: Leg, other: Call, comes: Leg, done: Callable[[Cause], None]) -> None:
    """Let `comes`, a leg of `other`, replace `leaves` in `stays`; the rest of `other` ends.

    `done` gets NORMAL after success, else a cause; both calls then stay unchanged unless ended meanwhile.
    """
    consulting = other.bridge.other(comes) if other.bridge is not None else None
    held = other.bridge is not None and consulting is not None and consulting.party.tag in other.bridge.holding

    def moved(cause: Cause) -> None:
        if cause is Cause.NORMAL:
            stays.replace(leaves, comes, done, held=held)
        else:
            done(cause)

    if stays is other:
        done(Cause.UNAVAILABLE)
    else:
        other.give_away(comes, stays.id, moved)
