"""Calls as values, kept so that the process which follows one that died finds them.

A record is written before anybody can see what it tells: when a call is placed, at each of its steps, and where a leg
says that its own protocol has gone on. It is removed at the end of the call.
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
"""What a record begins with.

Fields are only ever added, and missing ones have a default: so records of older gateways are read. Where that cannot
be, the number is raised. What `_left_by_others` reads stays as it is in every version, so that a call can be ended.
"""
_NAME = b"calls "
_FORMAT = 4
"""Of `marshal`, which takes a tenth of the time of JSON: every Python since 3.4 reads and writes it."""
_PATIENCE = 35.0
"""Seconds after which nobody answers a goodbye any more: more than 64 T1 (RFC 3261 section 17.1.2.2)."""
SETTING_UP, UP, ENDING = "setting-up", "up", "ending"
"""How far a call was. Whoever finds it goes on with one that is up, and ends the others on both sides."""

Values = Mapping[str, Any]
_Leg = tuple[Address, bytes, bytes]
"""The address that a leg had, its `name_values`, and its own values."""


class JournalError(GatewayError):
    """A record that cannot be kept; one sentence."""


class JournalStore(Protocol):
    """Where records are kept: opaque octets by the id of the call."""

    def put(self, call_id: str, record: bytes) -> None:
        """Keep this in place of what was there; the death of the process does not undo it. Raises JournalError."""

    def remove(self, call_id: str) -> None:
        """Forget it, now or, where JournalError is raised, as soon as it can be; an unknown one is no error."""

    def outdate(self, call_id: str) -> None:
        """Whoever finds what was kept ends the call, for it has changed since. As `remove`, until the next `put`."""


@dataclass(slots=True)
class _Goodbyes:
    """What a call that has ended waits for before it is forgotten."""

    waiting: int
    """Far ends that have not answered; fewer than none where some have before it is known how many there are."""
    timer: Timer
    """Forgets it all the same."""


class Journal:
    """Writes down what becomes of every call."""

    def __init__(
        self,
        store: JournalStore,
        engine: MediaEngine,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        later: Callable[[float, Callable[[], None]], Timer] | None = None,
        boot: Callable[[], tuple[str, float]] = lambda: ("", 0.0),
    ) -> None:
        """`clock` is that of the calls (seconds), `wall_clock` gives seconds since 1970; `later` calls after seconds.

        `boot` names the start of the machine, "" where it has no name, and gives the seconds since then. Without
        `later` a call is forgotten at its end, though its goodbyes may be lost with the process.
        """
        self._store = store
        self._engine = engine
        self._clock = clock
        self._wall_clock = wall_clock
        self._boot = boot
        self._said = False
        self._unkept: dict[str, None] = {}
        """Calls whose last record the store did not take."""
        self._legs: dict[str, dict[Leg, _Leg]] = {}
        """By the id of the call, each of its legs as it was written last."""
        self._later = later
        self._unheard: set[str] = set()
        """Calls that would be ended by whoever finds them: their last record says so."""
        self._goodbyes: dict[str, _Goodbyes] = {}
        """Of calls that have ended."""

    def write(self, call: Call, caller: Caller, changed: Sequence[Leg] | None = None, ending: bool = False) -> None:
        """Keep the call as it stands. Never raises: the call goes on without.

        Only the legs in `changed` have (None: any may have); `ending`: one of them has left the call.
        """
        try:
            if call.state is State.ENDED:
                self._unkept.pop(call.id, None)
                self._let_go(call, caller)
                return
            self._put(call.id, self._values(call, caller, changed, ending))
            self._said = False
            self._unkept.pop(call.id, None)
            (self._unheard.add if ending or call.bridge is None else self._unheard.discard)(call.id)
        except JournalError as error:
            self._unkept.pop(call.id, None)
            self._unkept[call.id] = None
            self._outdate(call.id)
            if not self._said:
                self._said = True
                log.error("calls are not written down, and would be lost with this process", reason=str(error))
        except Exception:
            self._unkept.pop(call.id, None)
            self._outdate(call.id)
            log.exception("call not written down", call_id=call.id)

    def _put(self, call_id: str, values: dict[str, Any]) -> None:
        self._store.put(call_id, VERSION + marshal.dumps(values, _FORMAT))

    @property
    def unkept(self) -> int:
        """Calls that would be lost with this process, since the store did not take them."""
        return len(self._unkept)

    def again(self, find: Callable[[str], Call | None]) -> None:
        """Write those down, until one is not taken again: that one is the last to be tried next time."""
        for call_id in tuple(self._unkept):
            call = find(call_id)
            if call is None:
                del self._unkept[call_id]
                continue
            call.keep()
            if call_id in self._unkept:
                return

    def _let_go(self, call: Call, caller: Caller) -> None:
        """A call has ended: once its far ends have answered that, whose goodbyes may be lost with this process."""
        if call.id in self._goodbyes:
            return
        told, waiting = partial(self._left, call.id), 0
        if call.id in self._unheard and not call.record.elsewhere and self._later is not None:
            waiting = sum(leg.when_left(told) for leg in {*call.legs, *call.leaving})
        if self._later is None or not waiting:
            self._forget(call.id)
        else:
            if call.bridge is None:  # who has heard it is not told once more: a caller has its 487
                with contextlib.suppress(JournalError):  # as it stands it is ended by whoever finds it, too
                    self._put(call.id, self._values(call, caller, None, True))
            self._legs.pop(call.id, None)
            self._goodbyes[call.id] = _Goodbyes(waiting, self._later(_PATIENCE, partial(self._forget, call.id)))

    def end(self, call_id: str, values: Values, say: Callable[[Callable[[], None]], int]) -> None:
        """End a call of another process, of which `read` gave these: that it ends is written down before it is said.

        `say` gets what each far end's answer is to call, and returns how many will. Without `later`, or where the
        store does not take it, nobody is waited for.
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
        said = say(lambda: self._left(call_id) if self._goodbyes.get(call_id) is goodbyes else None)
        goodbyes.waiting += said
        if not goodbyes.waiting:
            self._forget(call_id)

    def end_changed(self, call_id: str, values: Values) -> None:
        """Those of a call that is being ended are others now."""
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
        """A far end has answered that its call is over."""
        goodbyes = self._goodbyes.get(call_id)
        if goodbyes is not None:
            goodbyes.waiting -= 1
            if not goodbyes.waiting:
                self._forget(call_id)

    def close(self) -> None:
        """Whoever comes next says the goodbyes that nobody has answered; of calls that end from now on none is kept."""
        self._later = None
        for goodbyes in self._goodbyes.values():
            goodbyes.timer.cancel()
        self._goodbyes.clear()

    def _outdate(self, call_id: str) -> None:
        """An older record tells of legs that may have gone on, or to somebody else: it is good for goodbyes alone."""
        self._unheard.add(call_id)
        self._legs.pop(call_id, None)
        with contextlib.suppress(JournalError):
            self._store.outdate(call_id)

    def _forget(self, call_id: str) -> None:
        """Keep nothing of it."""
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
        # Whoever finds the call ends those as well who are leaving it.
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
    """Nobody waits for an answer."""


def _ending(values: Values) -> dict[str, Any]:
    """What is written of a call of another process that is being ended."""
    named = marshal.dumps({}, _FORMAT)
    legs = {name: [(named, marshal.dumps(leg, _FORMAT)) for leg in values[name]] for name in ("legs", "targets")}
    return {**values, **legs, "stage": ENDING}


def read(record: bytes) -> dict[str, Any]:
    """The values of a record. Raises JournalError for what is none.

    Of one of another version only what it takes to end the call on both sides, and so that it is to be ended.
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
    """When a call that was up rang, was answered, had its media; an older gateway wrote it as it was answered."""
    ringing, answered, media = values["times"]
    return {"times": (ringing, values["age"] * 1000 if answered is None else answered, media)}


def _left_by_others(values: Values, legs: Mapping[str, Sequence[Values | None]]) -> dict[str, Any]:
    """A call of another version: its ids, and its legs with what their own protocols need for a goodbye."""
    known = {name: [leg and {"sessions": (), **leg, "kind": leg.get("kind")} for leg in legs[name]] for name in legs}
    kept = {"id": values["id"], "dialled": values["dialled"], "is_rest": values.get("is_rest", False)}
    return {"stage": ENDING, "is_foreign": True, **kept, **known}


def _read_leg(named: bytes, own: bytes) -> dict[str, Any] | None:
    values = marshal.loads(own)
    return values and {**marshal.loads(named), **values}


def caller_of(values: Values) -> Caller:
    """Of which `flat` gave these."""
    return Caller(**{**values, "may_call": tuple(values["may_call"])})


def parked_of(values: Values) -> Parked | None:
    """Who has parked a call of which these were written, older gateways' too."""
    parked: Values | None = values.get("parked")
    return None if parked is None else Parked(**{**parked, "by": caller_of(parked["by"])})


def address_of(values: Values) -> Address:
    """Of which `name_values` keeps these."""
    lists = {
        "diversions": tuple(Diversion(**each) for each in values["diversions"]),
        "history": tuple(HistoryEntry(**each) for each in values["history"]),
        "signed": tuple((name, value) for name, value in values["signed"]),
    }
    return Address(**{**values, **lists})


def flat_address(address: Address) -> dict[str, Any]:
    """What `address_of` reads."""
    lists = {name: [flat(each) for each in getattr(address, name)] for name in ("diversions", "history")}
    return flat(address) | lists


def flat(value: Any) -> dict[str, Any]:
    """The fields of a dataclass with slots by their names; `dataclasses.asdict` copies all that is in them."""
    kind: Any = type(value)
    names, read_all = _fields(kind)
    return dict(zip(names, read_all(value), strict=True))


@cache
def _fields(kind: Any) -> tuple[Sequence[str], Callable[[Any], tuple[Any, ...]]]:
    return kind.__slots__, attrgetter(*kind.__slots__)


def name_values(leg: Leg) -> dict[str, Any]:
    """What is kept of every leg beside its `values` and its identity."""
    return {"party": leg.party.values(), "address": flat_address(leg.address)}
