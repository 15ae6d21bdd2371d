"""Whether the calls of this gateway are still its own: others take them only once its lease in the store has run out.

One that was suspended, or cut off, learns that its calls were taken at its first word with the store. Until then it
changes none of them, and for a moment it sends nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from itertools import chain

import structlog

from gateway.call.call import Call
from gateway.call.journal import JournalError
from gateway.call.registry import Calls
from gateway.legs.web import BrowserLeg
from gateway.media.engine import MediaHandover
from gateway.net.user_agent import UserAgent
from gateway.repeated import Repeated
from gateway.store.journal_shared import SharedStore
from gateway.uptime import clock

log = structlog.get_logger(__name__)

LEASE = 3
"""Intervals that it lasts: for so long one that is not seen is not gone either."""
_SILENT = 2.0
"""Seconds after the end of a lease during which nothing is sent, for the store is about to say whose the calls are."""
_UP = 60.0
"""Seconds after which a start is long over."""


class Lease:
    """Until when nobody can have taken our calls, by our own clock."""

    def __init__(self, clock: Callable[[], float], until: float) -> None:
        self._clock = clock
        self._until = until
        self._missed_at: float | None = None

    def renewed(self, until: float) -> None:
        """It lasts until then at least."""
        self._until = max(self._until, until)

    def is_ours(self) -> bool:
        """Whether it lasts."""
        if self._clock() < self._until:
            self._missed_at = None
            return True
        return False

    def waits(self) -> bool:
        """Whether it has run out a moment ago, as we have noticed it."""
        if self.is_ours():
            return False
        if self._missed_at is None:
            self._missed_at = self._clock()
        return self._clock() < self._missed_at + _SILENT


class LeaseKeeper:
    """Renews the lease, and lets calls go that others have taken."""

    def __init__(
        self,
        lease: Lease,
        journal: SharedStore,
        interval: float,
        let_go: Callable[[Collection[str]], None],
        go_on: Callable[[], None],
        others_answer: Callable[[], Iterable[Awaitable[bool]]],
        known: Collection[str],
        now: Callable[[], float] = clock,
    ) -> None:
        """`let_go` ends calls without a word; `go_on` says that what has waited may be sent. `others_answer` asks each
        gateway that was there last; `known` are calls that were taken and are not here.
        """
        self._lease = lease
        self._journal = journal
        self._interval = interval
        self._let_go = let_go
        self._go_on = go_on
        self._others_answer = others_answer
        self._gone: Collection[str] = known
        self._now = now
        self._began = now()

    async def run(self) -> None:
        """Until cancelled."""
        away, failed = "whether calls were taken over cannot be seen", "renewing the lease on our calls failed"
        renew = Repeated(self.renew, JournalError, away=away, failed=failed)
        while True:
            if not await renew.once() and renew.is_away:
                await self._ask_others()
            if self._lease.is_ours():
                # A store that does not answer takes its time to say so, and the lease is to last meanwhile.
                await asyncio.sleep(self._interval / 4 if renew.is_away else self._interval)
            else:
                # A moment later what has waited is sent, whatever the store says.
                await asyncio.sleep(min(self._interval, 0.1))
                self._go_on()

    async def renew(self) -> None:
        """One word with the store. Raises JournalError."""
        at = self._now()
        while True:
            is_up = at - self._began > _UP
            taken = await self._journal.renew(LEASE * self._interval, self._gone, is_up=is_up)
            if taken:
                log.warning("another gateway has taken calls of this one over", calls=len(taken))
                self._let_go(taken)
            self._gone = taken
            if not taken:
                break
        self._lease.renewed(at + LEASE * self._interval)
        self._go_on()

    async def _ask_others(self) -> None:
        """Nobody who finds us there takes a call: where all do, it does not matter that the store is away."""
        at = self._now()
        if not self._lease.is_ours():
            return
        answers = await asyncio.gather(*self._others_answer(), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, Exception):
                log.error("another gateway could not be asked", exc_info=answer)
        if all(answer is True for answer in answers):
            self._lease.renewed(at + LEASE * self._interval)


def let_go(calls: Calls, user_agent: UserAgent, media: MediaHandover | None, call_ids: Collection[str]) -> None:
    """End calls that another gateway goes on with: nothing is sent to phones, and pages are to go there."""
    if media is not None:
        media.leave(call_ids)
    names: set[str] = set()
    for call_id in call_ids:
        call = calls.get(call_id)
        if call is None:
            continue
        try:
            names |= _left(call)
        except Exception:
            log.exception("a call that another gateway has could not be let go", call_id=call_id)
    # What has ended here since says goodbye to those who talk on there.
    ended = [record for record in calls.ended if record.id in call_ids]
    names.update(chain.from_iterable(chain.from_iterable(record.references.values() for record in ended)))
    user_agent.leave(names)


def _left(call: Call) -> set[str]:
    """End a call here; the SIP Call-IDs of its legs, which are others' from now on."""
    bridge = call.bridge
    targets = bridge.transfer.targets if bridge is not None and bridge.transfer is not None else ()
    names = set(chain.from_iterable(leg.references for leg in (*call.legs, *targets)))
    call.leave()
    for leg in call.legs:
        if isinstance(leg, BrowserLeg):
            leg.leave()
    return names
