"""In-process message store, lost at exit."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.people.messages import InstantMessage


class MemoryMessages:
    """MessageStore over a dictionary."""

    is_shared = False

    def __init__(self) -> None:
        self._kept: dict[str, InstantMessage] = {}

    async def open(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing; the content stays as long as the object."""

    async def put(self, message: InstantMessage, limit: int) -> bool:
        if sum(one.recipient == message.recipient for one in self._kept.values()) >= limit:
            return False
        self._kept[message.id] = message
        return True

    async def pending(self, user: str, now: float) -> Sequence[InstantMessage]:
        return [one for one in self._kept.values() if one.recipient == user and one.expires_at > now]

    async def recipients(self) -> set[str]:
        return {one.recipient for one in self._kept.values()}

    async def remove(self, message_id: str) -> None:
        self._kept.pop(message_id, None)

    async def expire(self, now: float) -> int:
        old = [one.id for one in self._kept.values() if one.expires_at <= now]
        for message_id in old:
            del self._kept[message_id]
        return len(old)

    async def claim(self, message_id: str, seconds: float) -> bool:
        """Succeed, as no other gateway shares the store."""
        return True

    async def release(self, message_id: str) -> None:
        """Do nothing, as no other gateway shares the store."""
