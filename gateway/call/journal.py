"""Journal of calls: records from which a new process continues calls after a crash.

A record is written before its content becomes visible: at placement, at each step, and for each change of a leg's
dialog. It is removed at the end.
"""

from __future__ import annotations

import contextlib
import marshal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from operator import attrgetter
from typing import Any, Protocol

import structlog

from gateway.call.call import Call
from gateway.call.leg import Address, Diversion, HistoryEntry, Leg
from gateway.call.record import Parked
from gateway.call.routing import Caller
from gateway.call.state import State
from gateway.call.timers import Timer
from gateway.errors import GatewayError
from gateway.media.engine import MediaEngine

log = structlog.get_logger(__name__)

VERSION = b"calls 2\n"
"""First line of a record.

Later versions only add fields with defaults, so that older records can be read; any different change raises the number.
The fields read by `_left_by_others` never change, so that calls of any version can be ended.
"""
_NAME = b"calls "
_FORMAT = 4
"""Version of the `marshal` format, readable by every Python since 3.4; marshal takes a tenth of the time of JSON."""
_PATIENCE = 35.0
"""Seconds to wait for answers to BYE and CANCEL: more than 64*T1 (RFC 3261 section 17.1.2.2)."""
SETTING_UP, UP, ENDING = "setting-up", "up", "ending"
"""Stages of a stored call. A new process continues calls in stage UP, and ends all others on both sides."""

Values = Mapping[str, Any]
_Leg = tuple[Address, bytes, bytes]
"""Address of a leg, its packed `name_values`, and its packed own values."""


class JournalError(GatewayError):
    """Raised for a record that cannot be stored or read; one sentence."""


class JournalStore(Protocol):
    """Store of opaque records by call id."""

    def put(self, call_id: str, record: bytes) -> None:
        """Store or replace a record durably across a crash of the process. Raises JournalError."""

    def remove(self, call_id: str) -> None:
        """Remove a record; if JournalError is raised, as soon as possible. An unknown id is no error."""

    def outdate(self, call_id: str) -> None:
        """Mark a record as outdated until the next `put`: a new process then ends the call. Raises as `remove`."""


@dataclass(slots=True)
class _Goodbyes:
    """Far ends of an ended call that still have to confirm the end."""

    waiting: int
    """Number of missing confirmations; negative while the total is unknown."""
    timer: Timer
    """Timer that removes the record without confirmations."""


class Journal:
    """Writer of the records of all calls."""

    def __init__(
        self,
        store: JournalStore,
        engine: MediaEngine,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        later: Callable[[float, Callable[[], None]], Timer] | None = None,
        boot: Callable[[], tuple[str, float]] = lambda: ("", 0.0),
    ) -> None:
        """`clock` is the calls' clock in seconds, `wall_clock` returns Unix seconds.

        `boot` returns an id of the machine's start ("" if unknown) and the seconds since. Without `later`, ended calls
        are removed without confirmation.
        """
        self._store = store
        self._engine = engine
        self._clock = clock
        self._wall_clock = wall_clock
        self._boot = boot
        self._is_logged = False
        self._unkept: dict[str, None] = {}
        """Ids of calls whose last record was not stored."""
        self._legs: dict[str, dict[Leg, _Leg]] = {}
        """Last written state of each leg, by call id."""
        self._later = later
        self._unheard: set[str] = set()
        """Ids of calls whose record tells a new process to end the call."""
        self._goodbyes: dict[str, _Goodbyes] = {}
        """Pending confirmations of ended calls, by call id."""

    def write(self, call: Call, caller: Caller, changed: Sequence[Leg] | None = None, ending: bool = False) -> None:
        """Store a call. Never raises: the call continues without a record.

        `changed` lists changed legs (None for any); `ending` is True while a leg is ending.
        """
        try:
            if call.state is State.ENDED:
                self._unkept.pop(call.id, None)
                self._let_go(call, caller)
                return
            self._put(call.id, self._values(call, caller, changed, ending))
            self._is_logged = False
            self._unkept.pop(call.id, None)
            (self._unheard.add if ending or call.bridge is None else self._unheard.discard)(call.id)
        except JournalError as error:
            self._unkept.pop(call.id, None)
            self._unkept[call.id] = None
            self._outdate(call.id)
            if not self._is_logged:
                self._is_logged = True
                log.error("calls are not written down, and would be lost with this process", reason=str(error))
        except Exception:
            self._unkept.pop(call.id, None)
            self._outdate(call.id)
            log.exception("call not written down", call_id=call.id)

    def _put(self, call_id: str, values: dict[str, Any]) -> None:
        self._store.put(call_id, VERSION + marshal.dumps(values, _FORMAT))

    @property
    def unkept(self) -> int:
        """Number of calls without an up-to-date record."""
        return len(self._unkept)

    def again(self, find: Callable[[str], Call | None]) -> None:
        """Store the missing records, up to the first failure."""
        for call_id in tuple(self._unkept):
            call = find(call_id)
            if call is None:
                del self._unkept[call_id]
                continue
            call.keep()
            if call_id in self._unkept:
                return

    def _let_go(self, call: Call, caller: Caller) -> None:
        """Remove the record of an ended call once its far ends have confirmed the end."""
        if call.id in self._goodbyes:
            return
        confirmed, waiting = partial(self._left, call.id), 0
        if call.id in self._unheard and not call.record.elsewhere and self._later is not None:
            waiting = sum(leg.when_left(confirmed) for leg in {*call.legs, *call.leaving})
        if self._later is None or not waiting:
            self._forget(call.id)
        else:
            if call.bridge is None:  # a caller with its 487 must not be answered again
                with contextlib.suppress(JournalError):  # the old record ends the call as well
                    self._put(call.id, self._values(call, caller, None, True))
            self._legs.pop(call.id, None)
            self._goodbyes[call.id] = _Goodbyes(waiting, self._later(_PATIENCE, partial(self._forget, call.id)))

    def end(self, call_id: str, values: Values, say: Callable[[Callable[[], None]], int]) -> None:
        """End a call of a previous process, given its stored values; the intention is stored first.

        `say` gets a callback for each confirmation and returns their number. Without `later` or storage, confirmations
        are not awaited.
        """
        if not self._put_ending(call_id, values) or self._later is None:
            say(_nothing)
            self._forget(call_id)
            return
        before = self._goodbyes.get(call_id)
        if before is not None:
            before.timer.cancel()
        goodbyes = _Goodbyes(0, self._later(_PATIENCE, partial(self._forget, call_id)))
        self._goodbyes[call_id] = goodbyes
        expected = say(lambda: self._left(call_id) if self._goodbyes.get(call_id) is goodbyes else None)
        goodbyes.waiting += expected
        if not goodbyes.waiting:
            self._forget(call_id)

    def end_changed(self, call_id: str, values: Values) -> None:
        """Update the record of a call being ended."""
        if call_id in self._goodbyes:
            self._put_ending(call_id, values)

    def _put_ending(self, call_id: str, values: Values) -> bool:
        try:
            self._put(call_id, _ending(values))
        except JournalError as error:
            log.error("the end of a call is not written down", call_id=call_id, reason=str(error))
            self._forget(call_id)
            return False
        return True

    def _left(self, call_id: str) -> None:
        """Count a confirmation of a far end."""
        goodbyes = self._goodbyes.get(call_id)
        if goodbyes is not None:
            goodbyes.waiting -= 1
            if not goodbyes.waiting:
                self._forget(call_id)

    def close(self) -> None:
        """Leave unconfirmed ends to the next process; later ends are removed at once."""
        self._later = None
        for goodbyes in self._goodbyes.values():
            goodbyes.timer.cancel()
        self._goodbyes.clear()

    def _outdate(self, call_id: str) -> None:
        """Mark the record as outdated: its legs may have changed, so that it only serves to end the call."""
        self._unheard.add(call_id)
        self._legs.pop(call_id, None)
        with contextlib.suppress(JournalError):
            self._store.outdate(call_id)

    def _forget(self, call_id: str) -> None:
        """Remove the record and all state of a call."""
        self._unheard.discard(call_id)
        self._legs.pop(call_id, None)
        goodbyes = self._goodbyes.pop(call_id, None)
        if goodbyes is not None:
            goodbyes.timer.cancel()
        with contextlib.suppress(JournalError):
            self._store.remove(call_id)

    def _values(self, call: Call, caller: Caller, changed: Sequence[Leg] | None, ending: bool) -> dict[str, Any]:
        bridge, legs = call.bridge, call.legs
        now = {"taken_at": self._wall_clock(), "on_boot": self._boot()}
        asked = bridge.transfer.targets if bridge is not None and bridge.transfer is not None else ()
        # Legs that are leaving the call are stored, too, so that a new process can end them.
        targets = [*asked, *(leg for leg in call.leaving if leg not in (*legs, *asked))]
        before = self._legs.get(call.id, {})
        kept = self._legs[call.id] = {
            leg: self._leg(leg, before.get(leg), changed is None or leg in changed, now) for leg in (*legs, *targets)
        }
        values: dict[str, Any] = {
            "stage": SETTING_UP,
            "id": call.id,
            "dialled": call.record.dialled,
            "legs": [kept[leg][1:] for leg in legs],
            "targets": [kept[leg][1:] for leg in targets],
        }
        if ending:
            values["stage"] = ENDING
        elif bridge is not None:
            record, parked = call.record, call.record.parked
            values |= now | {
                "stage": UP,
                "caller": flat(caller),
                "age": self._clock() - record.started_at,
                "longest": record.longest,
                "parked": parked and flat(parked) | {"by": flat(parked.by)},
                "times": (record.ringing_after_ms, record.answered_after_ms, record.media_after_ms),
                "holding": sorted(bridge.holding),
                "media": self._engine.values(call.id),
            }
        return values

    def _leg(self, leg: Leg, before: _Leg | None, changed: bool, now: Values) -> _Leg:
        address = leg.address
        if before is not None and not changed and before[0] is address:
            return before
        named = before[1] if before is not None and before[0] is address else marshal.dumps(name_values(leg), _FORMAT)
        own = leg.values()
        return address, named, marshal.dumps(own and {**own, **now, "identity": leg.identity}, _FORMAT)


def _nothing() -> None:
    """Ignore a confirmation."""


def _ending(values: Values) -> dict[str, Any]:
    """Return the record for a call of a previous process that is being ended."""
    named = marshal.dumps({}, _FORMAT)
    legs = {name: [(named, marshal.dumps(leg, _FORMAT)) for leg in values[name]] for name in ("legs", "targets")}
    return {**values, **legs, "stage": ENDING}


def read(record: bytes) -> dict[str, Any]:
    """Return the values of a record. Raises JournalError for damaged data.

    For a different version only the fields for ending the call are returned.
    """
    number, newline, body = record.partition(b"\n")
    if not newline or not number.startswith(_NAME):
        raise JournalError("the record is of no version that is known")
    try:
        values: dict[str, Any] = marshal.loads(body)
        legs = {name: [_read_leg(*leg) for leg in values[name]] for name in ("legs", "targets")}
        if number + newline != VERSION:
            return _left_by_others(values, legs)
        return {**values, **legs, **_answered(values)} if values.get("stage") == UP else {**values, **legs}
    except (EOFError, ValueError, TypeError, LookupError, AttributeError):
        raise JournalError("the record cannot be read") from None


def _answered(values: Values) -> dict[str, Any]:
    """Return the times of an answered call; older gateways stored None for the time of the answer."""
    ringing, answered, media = values["times"]
    return {"times": (ringing, values["age"] * 1000 if answered is None else answered, media)}


def _left_by_others(values: Values, legs: Mapping[str, Sequence[Values | None]]) -> dict[str, Any]:
    """Return the fields for ending a call stored by a different version."""
    known = {name: [leg and {"sessions": (), **leg, "kind": leg.get("kind")} for leg in legs[name]] for name in legs}
    kept = {"id": values["id"], "dialled": values["dialled"], "is_rest": values.get("is_rest", False)}
    return {"stage": ENDING, "is_foreign": True, **kept, **known}


def _read_leg(named: bytes, own: bytes) -> dict[str, Any] | None:
    values = marshal.loads(own)
    return values and {**marshal.loads(named), **values}


def caller_of(values: Values) -> Caller:
    """Return a Caller from values of `flat`."""
    return Caller(**{**values, "may_call": tuple(values["may_call"])})


def parked_of(values: Values) -> Parked | None:
    """Return the parking state from stored values, None if not parked."""
    parked: Values | None = values.get("parked")
    return None if parked is None else Parked(**{**parked, "by": caller_of(parked["by"])})


def address_of(values: Values) -> Address:
    """Return an Address from values of `flat_address`."""
    lists = {
        "diversions": tuple(Diversion(**each) for each in values["diversions"]),
        "history": tuple(HistoryEntry(**each) for each in values["history"]),
        "signed": tuple((name, value) for name, value in values["signed"]),
    }
    return Address(**{**values, **lists})


def flat_address(address: Address) -> dict[str, Any]:
    """Return an Address as values for `address_of`."""
    lists = {name: [flat(each) for each in getattr(address, name)] for name in ("diversions", "history")}
    return flat(address) | lists


def flat(value: Any) -> dict[str, Any]:
    """Return the fields of a slotted dataclass by name; `dataclasses.asdict` would copy nested values."""
    kind: Any = type(value)
    names, read_all = _fields(kind)
    return dict(zip(names, read_all(value), strict=True))


@cache
def _fields(kind: Any) -> tuple[Sequence[str], Callable[[Any], tuple[Any, ...]]]:
    return kind.__slots__, attrgetter(*kind.__slots__)


def name_values(leg: Leg) -> dict[str, Any]:
    """Return the stored values common to all legs: party and address."""
    return {"party": leg.party.values(), "address": flat_address(leg.address)}
