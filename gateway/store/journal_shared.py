"""Journal kept twice: at once in our file, and a moment later in the store of the cluster."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from gateway.call.journal import JournalError, JournalStore, read
from gateway.repeated import Repeated

log = structlog.get_logger(__name__)

_AT_ONCE = 100
"""Records per command."""
_PAUSE = 1.0
"""Seconds between a failure and the next attempt."""
_LAST = 2.0
"""Seconds to wait at the end for outstanding writes."""


@dataclass(frozen=True, slots=True)
class Begun:
    """Findings of a gateway at its start."""

    taken: frozenset[str]
    """Ids of calls of the previous process, resumed by another gateway."""
    ids: frozenset[str]
    """Ids of records under our name, available from `records`."""
    claimed: frozenset[str]
    """Ids among `ids` taken from others by the previous process, and perhaps not resumed."""
    seconds: float
    """Seconds for which our calls are reserved."""


class Writes(Protocol):
    """Writer of call records; raises JournalError on failure."""

    async def write(self, changes: Mapping[str, tuple[bytes, Sequence[str]] | None]) -> None:
        """Store the records, each with the names of its web legs; None for an ended call."""


class SharedStore(Writes, Protocol):
    """Store of the cluster's records. Every method raises JournalError if the store is unreachable."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def begin(self, seconds: float) -> Begun:
        """Reserve our calls for `seconds`, even if we fail, unless the gateway has started too often lately."""

    async def hold(self, seconds: float) -> None:
        """Reserve our calls for `seconds`."""

    async def renew(self, seconds: float, let_go: Collection[str], *, is_up: bool) -> frozenset[str]:
        """Renew our lease for `seconds`; the reservation by `begin` ends.

        Return some ids of records taken from us, repeated until acknowledged in `let_go`; an empty set means all were
        reported. `is_up`: the start is long over.
        """

    async def nodes(self) -> frozenset[str]:
        """Return gateways that have ever stored records here and were not taken over since."""

    async def node_of(self, tag: str) -> str | None:
        """Return the gateway with the call of a web leg; None if unknown."""

    async def take(self, node: str) -> int:
        """Move some records of another gateway to us; return their number, 0 if not allowed or none are left."""

    async def claimed(self) -> frozenset[str]:
        """Return ids of calls taken by us and not written or removed since, even by the previous process."""

    async def elsewhere(self, call_ids: Sequence[str]) -> frozenset[str]:
        """Return the calls held by other gateways, or `claimed`."""

    async def records(self, call_ids: Sequence[str]) -> dict[str, tuple[bytes, int]]:
        """Return our readable records among the calls, with the count of reads since they were written."""


class SharedRecords:
    """`JournalStore` over the authoritative file, and the cluster's store with the latest record of each call."""

    def __init__(self, file: JournalStore, shared: Writes) -> None:
        self._file = file
        self._shared = shared
        self._waiting: OrderedDict[str, bytes | None] = OrderedDict()
        self._recorded: set[str] = set()
        """Calls possibly recorded in the cluster under our name."""
        self._news = asyncio.Event()
        self._written = asyncio.Event()
        self._written.set()

    def put(self, call_id: str, record: bytes) -> None:
        self._file.put(call_id, record)
        self._tell(call_id, record)

    def remove(self, call_id: str) -> None:
        self._tell(call_id, None)
        self._file.remove(call_id)

    def outdate(self, call_id: str) -> None:
        self._tell(call_id, None)  # only its own gateway may still find the parties to notify of its end
        self._file.outdate(call_id)

    def told(self, call_ids: Iterable[str]) -> None:
        """Record that the cluster has records of the calls under our name, written elsewhere."""
        self._recorded.update(call_ids)

    def _tell(self, call_id: str, record: bytes | None) -> None:
        if record is None and call_id not in self._recorded:
            # Calls that start and end during an outage leave nothing waiting.
            self._waiting.pop(call_id, None)
            return
        self._waiting[call_id] = record
        self._news.set()
        self._written.clear()

    async def run(self) -> None:
        """Write waiting records until cancelled."""
        away, failed = "other gateways do not see the calls of this one", "telling other gateways of calls failed"
        write = Repeated(self._write, JournalError, away=away, failed=failed)
        while True:
            await self._news.wait()
            if not await write.once():
                await asyncio.sleep(_PAUSE)

    async def _write(self) -> None:
        """Write some of the waiting records. Raise JournalError."""
        batch = {call_id: self._waiting.pop(call_id) for call_id in list(self._waiting)[:_AT_ONCE]}
        if not self._waiting:
            self._news.clear()
        self._recorded.update(batch)
        try:
            await self._shared.write({call_id: _with_legs(record) for call_id, record in batch.items()})
        except Exception:
            # Records queued meanwhile are newer.
            self._waiting = OrderedDict({**batch, **self._waiting})
            self._news.set()
            raise
        self._recorded.difference_update(call_id for call_id, record in batch.items() if record is None)
        if not self._waiting:
            self._written.set()

    async def written(self) -> None:
        """Wait until the cluster has all records, at most `_LAST` seconds."""
        try:
            async with asyncio.timeout(_LAST):
                await self._written.wait()
        except TimeoutError:
            log.warning("other gateways may take calls of this one for calls that go on", calls=len(self._waiting))


def _with_legs(record: bytes | None) -> tuple[bytes, Sequence[str]] | None:
    if record is None:
        return None
    legs = [leg for leg in read(record)["legs"] if leg is not None]
    # A record of another version, kept until its farewells are answered, may name legs differently.
    return record, [leg["party"]["tag"] for leg in legs if leg["kind"] == "web" and "party" in leg]
