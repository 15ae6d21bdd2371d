"""A journal that is kept twice: in this gateway's file at once, and a moment later where the whole cluster sees it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from gateway.call.journal import JournalError, JournalStore, read
from gateway.identity.repeated import Repeated

log = structlog.get_logger(__name__)

_AT_ONCE = 100
"""Records of one command."""
_PAUSE = 1.0
"""Seconds after a failure before it is tried again."""
_LAST = 2.0
"""Seconds that the end waits for what is still to be written."""


@dataclass(frozen=True, slots=True)
class Begun:
    """What a gateway finds at its start."""

    taken: frozenset[str]
    """Ids of calls of the process before that another gateway goes on with."""
    ids: frozenset[str]
    """Those under our name, whose records `records` gives."""
    claimed: frozenset[str]
    """Of these, those which the process before has taken from others, and has perhaps not gone on with."""
    seconds: float
    """For so long nobody takes our calls."""


class Writes(Protocol):
    """What is told of calls. Raises JournalError where it cannot be."""

    async def write(self, changes: Mapping[str, tuple[bytes, Sequence[str]] | None]) -> None:
        """Keep these records, each with the names of its web legs; None for a call that is over."""


class SharedStore(Writes, Protocol):
    """Where the cluster sees the records. All of it raises JournalError where it cannot be reached."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def begin(self, seconds: float) -> Begun:
        """Whatever becomes of us, nobody takes our calls for so long, unless we have started too often of late."""

    async def hold(self, seconds: float) -> None:
        """Nobody takes our calls for so long."""

    async def renew(self, seconds: float, let_go: Collection[str], *, is_up: bool) -> frozenset[str]:
        """Nobody takes our calls for so long from now on; what `begin` said of us holds no more.

        Some of those that were taken, which are told until they come in `let_go`: without any, all of them were told.
        `is_up`: our start is long over.
        """

    async def nodes(self) -> frozenset[str]:
        """Who has ever kept records here, and has not been taken over since."""

    async def node_of(self, tag: str) -> str | None:
        """The gateway that has the call of a web leg; None where there is none."""

    async def take(self, node: str) -> int:
        """Have some records of another gateway be ours from now on; how many, 0 where that is not so, or were none."""

    async def claimed(self) -> frozenset[str]:
        """Ids of calls that we have taken and not written or removed since, be it in the process before."""

    async def elsewhere(self, call_ids: Sequence[str]) -> frozenset[str]:
        """Those of these calls that other gateways have, or that are `claimed`."""

    async def records(self, call_ids: Sequence[str]) -> dict[str, tuple[bytes, int]]:
        """Those of these calls that are ours and can be read, and the how manieth time since they were written."""


class SharedRecords:
    """`JournalStore` over a file, which counts, and what the cluster sees: of each call the latest record only."""

    def __init__(self, file: JournalStore, shared: Writes) -> None:
        self._file = file
        self._shared = shared
        self._waiting: OrderedDict[str, bytes | None] = OrderedDict()
        self._told: set[str] = set()
        """Calls that the cluster may have a record of under our name."""
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
        self._tell(call_id, None)  # only its own gateway may still find who is to hear of its end
        self._file.outdate(call_id)

    def told(self, call_ids: Iterable[str]) -> None:
        """The cluster has records of these under our name, though not from here."""
        self._told.update(call_ids)

    def _tell(self, call_id: str, record: bytes | None) -> None:
        if record is None and call_id not in self._told:
            # However many come and go while it is away, none of them is left here.
            self._waiting.pop(call_id, None)
            return
        self._waiting[call_id] = record
        self._news.set()
        self._written.clear()

    async def run(self) -> None:
        """Write what waits, until cancelled."""
        away, failed = "other gateways do not see the calls of this one", "telling other gateways of calls failed"
        write = Repeated(self._write, JournalError, away=away, failed=failed)
        while True:
            await self._news.wait()
            if not await write.once():
                await asyncio.sleep(_PAUSE)

    async def _write(self) -> None:
        """Some of what waits. Raises JournalError."""
        batch = {call_id: self._waiting.pop(call_id) for call_id in list(self._waiting)[:_AT_ONCE]}
        if not self._waiting:
            self._news.clear()
        self._told.update(batch)
        try:
            await self._shared.write({call_id: _with_legs(record) for call_id, record in batch.items()})
        except Exception:
            # What has come meanwhile is newer.
            self._waiting = OrderedDict({**batch, **self._waiting})
            self._news.set()
            raise
        self._told.difference_update(call_id for call_id, record in batch.items() if record is None)
        if not self._waiting:
            self._written.set()

    async def written(self) -> None:
        """Wait until the cluster sees all, or for a short while."""
        try:
            async with asyncio.timeout(_LAST):
                await self._written.wait()
        except TimeoutError:
            log.warning("other gateways may take calls of this one for calls that go on", calls=len(self._waiting))


def _with_legs(record: bytes | None) -> tuple[bytes, Sequence[str]] | None:
    if record is None:
        return None
    legs = [leg for leg in read(record)["legs"] if leg is not None]
    # A record of another version, kept until its goodbyes are answered, may name them otherwise.
    return record, [leg["party"]["tag"] for leg in legs if leg["kind"] == "web" and "party" in leg]
