"""Call detail records: one for each call, as plain values for external programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from gateway.call.call import Call
from gateway.call.journal import UP
from gateway.call.state import State

Detail = dict[str, Any]
"""Record: `id`, `caller`, `caller_name`, `dialled`, `parties` (SIP URIs of the last talkers), `started_at`,
`answered_at`, `ended_at` (UTC, RFC 3339, milliseconds), `seconds` (between the last two), `cause` (a word),
`sip_status`, `q850`, `sip_call_ids`, `media` (statistics of each party). Unknown values are null.
"""


LOST = {"cause": "gateway-lost", "sip_status": 500, "q850": 41}
"""Fields of the record of a call lost in a crash."""


class Ledger(Protocol):
    """Store of records before delivery. Methods return at once and never raise."""

    def begin(self, detail: Detail) -> None:
        """Store the provisional record of an answered call, which counts after a crash."""

    def end(self, detail: Detail, at: float) -> None:
        """Store the final record of a call ended at `at` (Unix seconds)."""

    def forget(self, call_id: str) -> None:
        """Drop the record of a call now kept by a remote gateway."""


class CallDetails:
    """Observer of calls: stores a provisional record at the answer and the final one at the end."""

    def __init__(self, ledger: Ledger, clock: Callable[[], float], wall_clock: Callable[[], float]) -> None:
        """`clock` is the calls' clock in seconds, `wall_clock` returns Unix seconds."""
        self._ledger = ledger
        self._clock = clock
        self._wall_clock = wall_clock
        self._parties: dict[str, tuple[str, ...]] = {}

    def call_changed(self, call: Call) -> None:
        """Take a change of state of a call."""
        if call.record.elsewhere:
            self._parties.pop(call.id, None)
            self._ledger.forget(call.id)
        elif call.state is State.ENDED:
            self._ledger.end(self._detail(call, self._parties.pop(call.id, ())), self._wall_clock())
        elif call.bridge is not None:
            parties = tuple(leg.address.uri for leg in call.legs)
            known = self._parties.get(call.id)
            if known != parties:
                self._parties[call.id] = parties
                self._ledger.begin(self._detail(call, parties))

    def _detail(self, call: Call, parties: tuple[str, ...]) -> Detail:
        record = call.record
        began = self._wall_clock() - (self._clock() - record.started_at)

        def moment(after_ms: float | None) -> str | None:
            return None if after_ms is None else stamp(began + after_ms / 1000)

        talked = None
        if record.answered_after_ms is not None and record.ended_after_ms is not None:
            talked = round((record.ended_after_ms - record.answered_after_ms) / 1000, 3)
        cause = record.cause
        return {
            "id": record.id,
            "caller": record.caller.uri,
            "caller_name": record.caller.display_name,
            "dialled": record.dialled,
            "parties": list(parties),
            "started_at": stamp(began),
            "answered_at": moment(record.answered_after_ms),
            "ended_at": moment(record.ended_after_ms),
            "seconds": talked,
            "cause": None if cause is None else cause.word,
            "sip_status": None if cause is None else cause.status,
            "q850": None if cause is None else cause.q850,
            "sip_call_ids": sorted({name for names in record.references.values() for name in names}),
            "media": {tag: dataclasses.asdict(statistics) for tag, statistics in record.statistics.parties.items()},
        }


def lost(values: Mapping[str, Any]) -> Detail:
    """Return the record of a call lost in a crash, from its journal values (call/journal.py)."""
    legs, is_up = [leg for leg in values["legs"] if leg is not None], values["stage"] == UP
    first = values["legs"][0] if values["legs"] else None
    caller: Mapping[str, Any] = {} if first is None else first["address"]
    began = values["taken_at"] - values["age"] if is_up else None
    answered = values["times"][1] if is_up else None
    return {
        "id": values["id"],
        "caller": caller.get("uri"),
        "caller_name": caller.get("display_name"),
        "dialled": values["dialled"],
        "parties": [leg["address"]["uri"] for leg in legs] if is_up else [],
        "started_at": None if began is None else stamp(began),
        "answered_at": None if began is None or answered is None else stamp(began + answered / 1000),
        "ended_at": None,
        "seconds": None,
        **LOST,
        "sip_call_ids": [],
        "media": {},
    }


def stamp(seconds: float) -> str:
    """Return Unix seconds as RFC 3339 in UTC, "2026-05-01T12:00:00.250Z"."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
