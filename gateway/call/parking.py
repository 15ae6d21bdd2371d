"""Call parking: one call at each place, called back to the parker after a time-out."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import count

import structlog

from gateway.call.call import Call
from gateway.call.dialer import Dialer
from gateway.call.features import is_engaged, parked_as
from gateway.call.leg import Leg, TransferReport
from gateway.call.record import Parked
from gateway.call.routing import Caller, RouteError, Router, UserTarget
from gateway.call.state import State, Transfer
from gateway.call.status import Cause
from gateway.call.timers import Timers

log = structlog.get_logger(__name__)

_ON_THEIR_WAY = 2.0
"""Seconds after a start during which pages, and phones without a connection, reconnect."""


class Parking:
    """Parking places of the gateway."""

    def __init__(
        self,
        router: Router,
        dialer: Dialer,
        timers: Timers,
        timeout: float,
        calls: Iterable[Call],
        find: Callable[[str], tuple[Call, Leg] | None],
    ) -> None:
        """`timeout` is in seconds, 0 for none; `find` returns the call and leg of a leg name."""
        self._calls = calls
        self._router = router
        self._dialer = dialer
        self._timers = timers
        self.timeout = timeout
        self._find = find
        self._taken: set[str] = set()
        """Places reserved for pending transfers."""
        self._numbers = count(1)
        self._asking: set[asyncio.Task[None]] = set()

    def begin(self, call: Call, parker: Caller, place: str, report: TransferReport) -> ParkReport:
        """Reserve a place for a transfer; raises RouteError if taken.

        The returned report receives the transfer's progress and passes it to `report`.
        """
        if place in self._taken or self._find(parked_as(place)) is not None:
            raise RouteError(Cause.BUSY, f"a call is parked at {place} already")
        self._taken.add(place)
        return ParkReport(self, call, parker, place, report)

    def arrived(self, call: Call, parker: Caller, place: str, cause: Cause) -> None:
        """Record the outcome of a transfer to a place."""
        self._taken.discard(place)
        leg = _leg_at(call, place)
        if cause is Cause.NORMAL and leg is not None:
            call.record.parked = None
            if not parker.id.startswith("trunk:"):
                # Weak references: a pending recall must not keep the call alive.
                self.wait(RingBack(self, weakref.ref(call), weakref.ref(leg), parker, place))

    def resume(self, call: Call) -> None:
        """Continue the time-out of a parked call from a previous process."""
        parked = call.record.parked
        leg = None if parked is None else _leg_at(call, parked.place)
        if parked is not None and leg is not None:
            left = parked.due - (self._timers.time() - call.record.started_at)
            back = RingBack(self, weakref.ref(call), weakref.ref(leg), parked.by, parked.place)
            self.wait(back, max(left, _ON_THEIR_WAY))

    def wait(self, back: RingBack, seconds: float | None = None) -> None:
        """Start the recall timer, if configured, and store it with the call for a restart."""
        call, wait = back.call(), self.timeout if seconds is None else seconds
        if call is None or call.state is State.ENDED or self.timeout <= 0:
            return
        due = self._timers.time() - call.record.started_at + wait
        call.record.parked = Parked(back.parker, back.place, due)
        call.keep()
        self._timers.call_later(wait, lambda: self._due(back))

    def _due(self, back: RingBack) -> None:
        task = asyncio.get_running_loop().create_task(self._ring_back(back))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _ring_back(self, back: RingBack) -> None:
        call, leg = back.call(), back.leg()
        if call is None or leg is None or call.state is State.ENDED or leg not in call.legs:
            return
        try:
            target = self._router.route(back.parker.id, replace(back.parker, calls=back.parker.id))
            if isinstance(target, UserTarget) and is_engaged(target.user, self._calls):
                raise RouteError(Cause.BUSY, f"{target.user.id} has a call, and wants no other")
            targets = list(await self._dialer.legs(target, call.id, f"{call.id}-p{next(self._numbers)}"))
        except RouteError as error:
            log.info("parked call stays", call_id=call.id, reason=str(error))
            targets = []
        if targets:
            log.info("parked call goes back", call_id=call.id, to=back.parker.id)
            call.transfer(Transfer(transferor=leg, targets=targets, report=back))
        else:
            self.wait(back)


def _leg_at(call: Call, place: str) -> Leg | None:
    """Return the leg of the parking place."""
    return next((leg for leg in call.legs if leg.is_named(parked_as(place))), None)


class ParkReport:
    """Watches a transfer to a parking place and passes its progress on."""

    def __init__(self, parking: Parking, call: Call, parker: Caller, place: str, report: TransferReport) -> None:
        self._parking = parking
        self._call = call
        self._parker = parker
        self._place = place
        self._report = report
        self._is_over = False

    def give_up(self) -> None:
        """Release the place of a transfer that did not start."""
        self._is_over = True
        self._parking.arrived(self._call, self._parker, self._place, Cause.UNAVAILABLE)

    def accepted(self) -> None:
        self._report.accepted()

    def ringing(self) -> None:
        self._report.ringing()

    def ended(self, cause: Cause) -> None:
        if not self._is_over:
            self._is_over = True
            self._parking.arrived(self._call, self._parker, self._place, cause)
            self._report.ended(cause)


class RingBack:
    """A parked call and its parker; watches the recall."""

    def __init__(
        self, parking: Parking, call: weakref.ref[Call], leg: weakref.ref[Leg], parker: Caller, place: str
    ) -> None:
        self.call = call
        self.leg = leg
        """Leg of the parking place."""
        self.parker = parker
        self.place = place
        self._parking = parking

    def accepted(self) -> None:
        """Do nothing: the recall has no requester."""

    def ringing(self) -> None:
        """Do nothing: the recall has no requester."""

    def ended(self, cause: Cause) -> None:
        """Wait for the next recall after a failure, while the call is still parked."""
        if cause is not Cause.NORMAL:
            self._parking.wait(self)
