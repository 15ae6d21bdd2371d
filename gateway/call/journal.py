"""Calls as values, kept so that the process which follows one that died finds them.

A record is written before anybody can see what it tells: when a call is placed, at each of its steps, and where a leg
says that its own protocol has gone on. It is removed at the end of the call.
"""

from __future__ import annotations

import contextlib
import marshal
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from operator import attrgetter
from typing import Any, Protocol

import structlog

from gateway.call.call import Call
from gateway.call.leg import Address, Diversion, HistoryEntry, Leg
from gateway.call.routing import Caller
from gateway.call.state import State
from gateway.errors import GatewayError
from gateway.media.engine import MediaEngine

log = structlog.get_logger(__name__)

VERSION = b"calls 2\n"
"""What a record begins with; one of another version is not read."""
_FORMAT = 4
"""Of `marshal`, which takes a tenth of the time of JSON: every Python since 3.4 reads and writes it."""
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


class Journal:
    """Writes down what becomes of every call."""

    def __init__(
        self,
        store: JournalStore,
        engine: MediaEngine,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        """`clock` is that of the calls (seconds), `wall_clock` gives seconds since 1970."""
        self._store = store
        self._engine = engine
        self._clock = clock
        self._wall_clock = wall_clock
        self._said = False
        self._unkept: dict[str, None] = {}
        """Calls whose last record the store did not take."""
        self._legs: dict[str, dict[Leg, _Leg]] = {}
        """By the id of the call, each of its legs as it was written last."""

    def write(self, call: Call, caller: Caller, changed: Sequence[Leg] | None = None, ending: bool = False) -> None:
        """Keep the call as it stands. Never raises: the call goes on without.

        Only the legs in `changed` have (None: any may have); `ending`: one of them has left the call.
        """
        try:
            if call.state is State.ENDED:
                self._unkept.pop(call.id, None)
                self._forget(call.id)
                return
            record = VERSION + marshal.dumps(self._values(call, caller, changed, ending), _FORMAT)
            self._store.put(call.id, record)
            self._said = False
            self._unkept.pop(call.id, None)
        except JournalError as error:
            self._unkept.pop(call.id, None)
            self._unkept[call.id] = None
            self._forget(call.id)
            if not self._said:
                self._said = True
                log.error("calls are not written down, and would be lost with this process", reason=str(error))
        except Exception:
            self._unkept.pop(call.id, None)
            self._forget(call.id)
            log.exception("call not written down", call_id=call.id)

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

    def _forget(self, call_id: str) -> None:
        """Keep nothing of it: an older record tells of legs that may have gone on, or to somebody else."""
        self._legs.pop(call_id, None)
        with contextlib.suppress(JournalError):
            self._store.remove(call_id)

    def _values(self, call: Call, caller: Caller, changed: Sequence[Leg] | None, ending: bool) -> dict[str, Any]:
        bridge, legs, now = call.bridge, call.legs, self._wall_clock()
        targets = bridge.transfer.targets if bridge is not None and bridge.transfer is not None else ()
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
            record = call.record
            values |= {
                "stage": UP,
                "taken_at": now,
                "caller": flat(caller),
                "age": self._clock() - record.started_at,
                "times": (record.ringing_after_ms, record.answered_after_ms, record.media_after_ms),
                "holding": sorted(bridge.holding),
                "media": self._engine.values(call.id),
            }
        return values

    def _leg(self, leg: Leg, before: _Leg | None, changed: bool, now: float) -> _Leg:
        address = leg.address
        if before is not None and not changed and before[0] is address:
            return before
        named = before[1] if before is not None and before[0] is address else marshal.dumps(name_values(leg), _FORMAT)
        own = leg.values()
        return address, named, marshal.dumps(own and {**own, "identity": leg.identity, "taken_at": now}, _FORMAT)


def read(record: bytes) -> dict[str, Any]:
    """The values of a record; raises JournalError for one that this version has not written."""
    if not record.startswith(VERSION):
        raise JournalError("the record is of another version")
    try:
        values: dict[str, Any] = marshal.loads(record[len(VERSION) :])
        legs = {name: [_read_leg(*leg) for leg in values[name]] for name in ("legs", "targets")}
    except (EOFError, ValueError, TypeError, LookupError):
        raise JournalError("the record cannot be read") from None
    return {**values, **legs}


def _read_leg(named: bytes, own: bytes) -> dict[str, Any] | None:
    values = marshal.loads(own)
    return values and {**marshal.loads(named), **values}


def caller_of(values: Values) -> Caller:
    """Of which `flat` gave these."""
    return Caller(**{**values, "may_call": tuple(values["may_call"])})


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
