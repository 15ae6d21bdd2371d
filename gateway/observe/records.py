"""Call detail records: one for every call, as values that a program elsewhere can read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from gateway.call.call import Call
from gateway.call.state import State

Detail = dict[str, Any]
"""One record: `id`, `caller`, `caller_name`, `dialled`, `parties` (SIP URIs of who talked last), `started_at`,
`answered_at`, `ended_at` (UTC, RFC 3339, milliseconds), `seconds` (between the last two), `cause` (a word),
`sip_status`, `q850`, `sip_call_ids`, `media` (statistics of each party). What is not known is null."""


class Ledger(Protocol):
    """Where records are kept before anybody is sent one. Both methods return at once and never raise."""

    def begin(self, detail: Detail) -> None:
        """A call was answered; should the process die, this is what its record will say."""

    def end(self, detail: Detail, at: float) -> None:
        """The call is over at `at` (seconds since 1970), and this is its record."""


class CallDetails:
    """An observer of the calls: each has an open record once it is answered, and its final one at its end."""

    def __init__(self, ledger: Ledger, clock: Callable[[], float], wall_clock: Callable[[], float]) -> None:
        """`clock` is that of the calls (seconds), `wall_clock` gives seconds since 1970."""
        self._ledger = ledger
        self._clock = clock
        self._wall_clock = wall_clock
        self._parties: dict[str, tuple[str, ...]] = {}

    def call_changed(self, call: Call) -> None:
        """See one change of state of one call."""
        if call.state is State.ENDED:
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


def stamp(seconds: float) -> str:
    """Seconds since 1970 as RFC 3339 in UTC, "2026-05-01T12:00:00.250Z"."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
