"""Brings messages to every device of a user, or keeps them until there is one: in order, each once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from gateway.people.messages import InstantMessage, MessageStore, MessageStoreError, Outcome

log = structlog.get_logger(__name__)

CLAIMED = 60.0
"""Seconds for which a message is this gateway's to deliver."""
PATIENCE = 30.0
"""Seconds that a device has, by all its ways: well within a claim, and before who sent the message gives up."""


class Device(Protocol):
    """One way to a user: an open page, a registered contact."""

    async def deliver(self, message: InstantMessage) -> Outcome:
        """Hand it over: DELIVERED, UNAVAILABLE where the device is not there, else REFUSED. Never raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """What is kept for somebody who is away."""

    store: MessageStore
    limit: int = 100
    """Messages of one recipient."""


class Courier:
    """One for all users. Without `keeping` a message to somebody who is away is refused."""

    def __init__(
        self,
        devices: Callable[[str], Awaitable[Sequence[Device]]],
        now: Callable[[], float],
        keeping: Keeping | None = None,
        changed: Callable[[str], None] = lambda user: None,
        here: Callable[[], Collection[str]] = tuple,
    ) -> None:
        """`devices` are those of a user id now, `now` is Unix time in seconds.

        `changed` is told whose kept messages have become more or fewer; `here` are users with devices that only this
        gateway knows of.
        """
        self._here = here
        self._devices = devices
        self._now = now
        self._keeping = keeping
        self._changed = changed
        self._emptying: dict[str, asyncio.Task[None]] = {}
        self._waiting: set[str] = set()
        """Users for whom something may be kept; of all others a store of our own need not be asked."""
        self._arrivals: Counter[str] = Counter()
        self._again: set[str] = set()
        """Users who arrived once more while their messages were being delivered."""

    async def open(self) -> None:
        """Open the store, and learn who has messages there; raises MessageStoreError."""
        if self._keeping is not None:
            await self._keeping.store.open()
            self._waiting = await self._keeping.store.recipients()

    async def send(self, message: InstantMessage, *, keep: bool = True) -> Outcome:
        """Deliver it to every device of its recipient, or keep it (unless `keep` is False: it is of the moment)."""
        keeping = self._keeping if keep else None
        try:
            if keeping is not None and await self.kept(message.recipient):
                # What waits goes first.
                outcome = await self._keep(keeping, message)
                self.arrived(message.recipient)
                return outcome
            arrivals = self._arrivals[message.recipient]
            outcome = await self._deliver(message)
            if outcome is not Outcome.UNAVAILABLE or keeping is None:
                return outcome
            outcome = await self._keep(keeping, message)
            if self._arrivals[message.recipient] != arrivals:
                # Who came while it was put away has missed it.
                self.arrived(message.recipient)
            return outcome
        except MessageStoreError as error:
            log.error("messages cannot be kept", reason=str(error))
            return Outcome.TOO_MANY

    def arrived(self, user: str) -> None:
        """A device of `user` is there: it gets what was kept, in order."""
        if self._keeping is None:
            return
        self._arrivals[user] += 1
        if not self._may_wait(self._keeping, user):
            return
        if user in self._emptying:
            self._again.add(user)
            return
        task = asyncio.get_running_loop().create_task(self._empty(self._keeping.store, user))
        self._emptying[user] = task
        task.add_done_callback(lambda _: self._emptied(user))

    async def kept(self, user: str) -> int:
        """How many messages wait for `user`; raises MessageStoreError."""
        if self._keeping is None or not self._may_wait(self._keeping, user):
            return 0
        kept = len(await self._keeping.store.pending(user, self._now()))
        if not kept:
            self._waiting.discard(user)
        return kept

    async def forget(self, user: str) -> None:
        """Drop what is kept for `user`, who is no more; raises MessageStoreError."""
        if self._keeping is not None:
            for message in await self._keeping.store.pending(user, self._now()):
                await self._keeping.store.remove(message.id)
            self._waiting.discard(user)

    def _may_wait(self, keeping: Keeping, user: str) -> bool:
        return keeping.store.is_shared or user in self._waiting

    async def expire(self, now: float) -> int:
        """Drop what nobody is to have any more; how many. What other gateways have kept meanwhile is delivered."""
        if self._keeping is None:
            return 0
        store = self._keeping.store
        dropped = await store.expire(now)
        if store.is_shared:
            for user in (await store.recipients()).intersection(self._here()):
                self.arrived(user)
        return dropped

    async def close(self) -> None:
        """Stop delivering, and close the store; what is not delivered stays there."""
        tasks, keeping = tuple(self._emptying.values()), self._keeping
        self._keeping = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if keeping is not None:
            await keeping.store.close()

    def _emptied(self, user: str) -> None:
        del self._emptying[user]
        if user in self._again:
            self._again.discard(user)
            self.arrived(user)

    async def _keep(self, keeping: Keeping, message: InstantMessage) -> Outcome:
        if message.expires_at <= self._now():
            return Outcome.UNAVAILABLE
        if not await keeping.store.put(replace(message, kept=True), keeping.limit):
            return Outcome.UNAVAILABLE
        self._waiting.add(message.recipient)
        self._changed(message.recipient)
        return Outcome.STORED

    async def _deliver(self, message: InstantMessage) -> Outcome:
        devices = await self._devices(message.recipient)
        outcomes = await asyncio.gather(*(_in_time(device, message) for device in devices))
        for telling in (Outcome.DELIVERED, Outcome.REFUSED):
            if telling in outcomes:
                return telling
        return Outcome.UNAVAILABLE

    async def _empty(self, store: MessageStore, user: str) -> None:
        tried: set[str] = set()
        try:
            while fresh := [one for one in await store.pending(user, self._now()) if one.id not in tried]:
                for message in fresh:
                    tried.add(message.id)
                    if not await self._delivered(store, message):
                        return
        except MessageStoreError as error:
            log.error("kept messages cannot be delivered", user=user, reason=str(error))

    async def _delivered(self, store: MessageStore, message: InstantMessage) -> bool:
        """Whether the next one may be delivered: not where nobody is there, or another gateway is at this one."""
        if not await store.claim(message.id, CLAIMED):
            return False
        outcome = await self._deliver(message)
        if outcome is Outcome.DELIVERED:
            await store.remove(message.id)
            self._changed(message.recipient)
        else:
            await store.release(message.id)
        return outcome is not Outcome.UNAVAILABLE


async def _in_time(device: Device, message: InstantMessage) -> Outcome:
    try:
        async with asyncio.timeout(PATIENCE):
            return await device.deliver(message)
    except TimeoutError:
        return Outcome.UNAVAILABLE
