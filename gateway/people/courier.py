"""Delivery of messages to all devices of a user, or storage until a device is there: in order, each once."""

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
"""Seconds of a delivery claim on a stored message."""
PATIENCE = 30.0
"""Seconds for a device to accept a message: less than a claim, and less than the sender's own time-out."""


class Device(Protocol):
    """Path to a user: an open page or a registered contact."""

    async def deliver(self, message: InstantMessage) -> Outcome:
        """Deliver a message; return DELIVERED, UNAVAILABLE for an absent device, else REFUSED. Never raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """Storage of messages for absent users."""

    store: MessageStore
    limit: int = 100
    """Largest number of stored messages of a recipient."""


class Courier:
    """Courier for all users. Without `keeping`, messages to absent users are rejected."""

    def __init__(
        self,
        devices: Callable[[str], Awaitable[Sequence[Device]]],
        now: Callable[[], float],
        keeping: Keeping | None = None,
        changed: Callable[[str], None] = lambda user: None,
        here: Callable[[], Collection[str]] = tuple,
    ) -> None:
        """`devices` returns a user's current devices, `now` Unix time in seconds.

        `changed` is called with a user whose number of stored messages has changed; `here` are users with devices known
        to this gateway only.
        """
        self._here = here
        self._devices = devices
        self._now = now
        self._keeping = keeping
        self._changed = changed
        self._emptying: dict[str, asyncio.Task[None]] = {}
        self._waiting: set[str] = set()
        """Users with possibly stored messages; an unshared store need not be asked about the rest."""
        self._arrivals: Counter[str] = Counter()
        self._again: set[str] = set()
        """Users with a new device during the delivery of stored messages."""

    async def open(self) -> None:
        """Open the store and read the recipients; raises MessageStoreError."""
        if self._keeping is not None:
            await self._keeping.store.open()
            self._waiting = await self._keeping.store.recipients()

    async def send(self, message: InstantMessage, *, keep: bool = True) -> Outcome:
        """Deliver a message to every device of its recipient, or store it; `keep` False disables storage."""
        keeping = self._keeping if keep else None
        try:
            if keeping is not None and await self.kept(message.recipient):
                # Stored messages go first.
                outcome = await self._keep(keeping, message)
                self.arrived(message.recipient)
                return outcome
            arrivals = self._arrivals[message.recipient]
            outcome = await self._deliver(message)
            if outcome is not Outcome.UNAVAILABLE or keeping is None:
                return outcome
            outcome = await self._keep(keeping, message)
            if self._arrivals[message.recipient] != arrivals:
                # A device that arrived during storage has missed the message.
                self.arrived(message.recipient)
            return outcome
        except MessageStoreError as error:
            log.error("messages cannot be kept", reason=str(error))
            return Outcome.TOO_MANY

    def arrived(self, user: str) -> None:
        """Deliver stored messages, in order, to a user with a new device."""
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
        """Return the number of stored messages of `user`; raises MessageStoreError."""
        if self._keeping is None or not self._may_wait(self._keeping, user):
            return 0
        kept = len(await self._keeping.store.pending(user, self._now()))
        if not kept:
            self._waiting.discard(user)
        return kept

    async def forget(self, user: str) -> None:
        """Drop the stored messages of a deleted user; raises MessageStoreError."""
        if self._keeping is not None:
            for message in await self._keeping.store.pending(user, self._now()):
                await self._keeping.store.remove(message.id)
            self._waiting.discard(user)

    def _may_wait(self, keeping: Keeping, user: str) -> bool:
        return keeping.store.is_shared or user in self._waiting

    async def expire(self, now: float) -> int:
        """Drop expired messages and return their number; deliver messages stored by remote gateways."""
        if self._keeping is None:
            return 0
        store = self._keeping.store
        dropped = await store.expire(now)
        if store.is_shared:
            for user in (await store.recipients()).intersection(self._here()):
                self.arrived(user)
        return dropped

    async def close(self) -> None:
        """Stop delivery and close the store, which keeps undelivered messages."""
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
        """Deliver a stored message; return True if the next may follow: a device was there, and no second gateway had a
        claim.
        """
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
