"""Calls as values, kept so that the process which follows one that died finds them.

A record is written before anybody can see what it tells: when a call is placed, at each of its steps, and where a leg
says that its own protocol has gone on. It is removed at the end of the call.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import structlog

from gateway.call.call import Call
from gateway.call.leg import Address, Diversion, HistoryEntry, Leg
from gateway.call.routing import Caller
from gateway.call.state import State
from gateway.media.engine import MediaEngine

log = structlog.get_logger(__name__)

VERSION = 1
"""Of the records; one of another version is not read."""
SETTING_UP, UP, ENDING = "setting-up", "up", "ending"
"""How far a call was. Whoever finds it goes on with one that is up, and ends the others on both sides."""

Values = Mapping[str, Any]


class JournalError(Exception):
    """A record that cannot be kept; one sentence."""


class JournalStore(Protocol):
    """Where records are kept: opaque octets by the id of the call."""

    def put(self, call_id: str, record: bytes) -> None:
        """Keep this in place of what was there; the death of the process does not undo it. Raises JournalError."""

    def remove(self, call_id: str) -> None:
        """Forget it; an unknown one is no error. Raises JournalError."""


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
        self.written = 0
        """Records."""

    def write(self, call: Call, caller: Caller, *, ending: bool = False) -> None:
        """Keep the call as it stands; `ending`: one side has left it. Never raises: the call goes on without."""
        try:
            if call.state is State.ENDED:
                self._store.remove(call.id)
                return
            record = json.dumps(self._values(call, caller, ending), ensure_ascii=True, separators=(",", ":"))
            self._store.put(call.id, record.encode())
            self.written += 1
            self._said = False
        except JournalError as error:
            if not self._said:
                self._said = True
                log.error("calls are not written down, and would be lost with this process", reason=str(error))
        except Exception:
            log.exception("call not written down", call_id=call.id)

    def _values(self, call: Call, caller: Caller, ending: bool) -> dict[str, Any]:
        bridge, record = call.bridge, call.record
        targets = bridge.transfer.targets if bridge is not None and bridge.transfer is not None else ()
        return {
            "version": VERSION,
            "stage": ENDING if ending else SETTING_UP if bridge is None else UP,
            "written_at": self._wall_clock(),
            "id": call.id,
            "caller": flat(caller),
            "dialled": record.dialled,
            "age": self._clock() - record.started_at,
            "times": [record.ringing_after_ms, record.answered_after_ms, record.media_after_ms],
            "legs": [leg.values() for leg in call.legs],
            "targets": [leg.values() for leg in targets],
            "holding": sorted(bridge.holding) if bridge is not None else [],
            "media": self._engine.values(call.id) if bridge is not None else None,
        }


def read(record: bytes) -> dict[str, Any]:
    """The values of a record; raises JournalError for one that this version has not written."""
    try:
        values = json.loads(record)
        if not isinstance(values, dict) or values["version"] != VERSION:
            raise JournalError("the record is of another version")
    except (ValueError, KeyError, RecursionError):
        raise JournalError("the record cannot be read") from None
    return values


def caller_of(values: Values) -> Caller:
    """Of which `flat` gave these."""
    return Caller(**{**values, "may_call": tuple(values["may_call"])})


def address_of(values: Values) -> Address:
    """Of which `leg_values` keeps these."""
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
    return {name: getattr(value, name) for name in value.__slots__}


def leg_values(leg: Leg, kind: str, **own: Any) -> dict[str, Any]:
    """What every leg keeps of itself beside its `own`."""
    return {
        "kind": kind,
        "party": flat(leg.party),
        "address": flat_address(leg.address),
        "identity": leg.identity,
        **own,
    }
