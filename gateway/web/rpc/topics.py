"""Who hears what is published under a name."""

from __future__ import annotations

from typing import Any, Protocol

_MAX_TOPICS = 1_000
_MAX_PER_PEER = 50


class Subscriber(Protocol):
    """One connection."""

    def tell(self, method: str, params: dict[str, Any]) -> None: ...


class Topics:
    """Subscribers by topic; a topic ends with its last one."""

    def __init__(self) -> None:
        self._topics: dict[str, list[Subscriber]] = {}

    def subscribe(self, topic: str, subscriber: Subscriber) -> bool:
        """False when there are too many topics, of this peer or in all."""
        subscribers = self._topics.get(topic)
        if subscribers is not None and subscriber in subscribers:
            return True
        mine = sum(subscriber in others for others in self._topics.values())
        if mine >= _MAX_PER_PEER or (subscribers is None and len(self._topics) >= _MAX_TOPICS):
            return False
        self._topics.setdefault(topic, []).append(subscriber)
        return True

    def unsubscribe(self, topic: str, subscriber: Subscriber) -> None:
        """Idempotent."""
        subscribers = self._topics.get(topic, [])
        if subscriber in subscribers:
            subscribers.remove(subscriber)
            if not subscribers:
                del self._topics[topic]

    def forget(self, subscriber: Subscriber) -> None:
        """It has gone."""
        for topic in list(self._topics):
            self.unsubscribe(topic, subscriber)

    def subscribers(self, topic: str) -> list[Subscriber]:
        """Who hears it now."""
        return list(self._topics.get(topic, ()))
