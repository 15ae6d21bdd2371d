"""Who hears what is published under a name."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Protocol

_MAX_TOPICS = 1_000
_MAX_PER_PEER = 50


class Subscriber(Protocol):
    """One connection."""

    def tell(self, method: str, params: dict[str, Any]) -> None: ...


class Topics:
    """Subscribers by topic; a topic ends with its last one."""

    def __init__(self) -> None:
        self._topics: dict[str, dict[Subscriber, None]] = {}
        self._of: defaultdict[Subscriber, set[str]] = defaultdict(set)

    def subscribe(self, topic: str, subscriber: Subscriber) -> bool:
        """False when there are too many topics, of this peer or in all."""
        subscribers = self._topics.get(topic)
        if subscribers is not None and subscriber in subscribers:
            return True
        too_many = subscribers is None and len(self._topics) >= _MAX_TOPICS
        if too_many or len(self._of.get(subscriber, ())) >= _MAX_PER_PEER:
            return False
        self._topics.setdefault(topic, {})[subscriber] = None
        self._of[subscriber].add(topic)
        return True

    def unsubscribe(self, topic: str, subscriber: Subscriber) -> None:
        """Idempotent."""
        subscribers = self._topics.get(topic, {})
        if subscriber not in subscribers:
            return
        del subscribers[subscriber]
        if not subscribers:
            del self._topics[topic]
        self._of[subscriber].discard(topic)
        if not self._of[subscriber]:
            del self._of[subscriber]

    def forget(self, subscriber: Subscriber) -> None:
        """It has gone."""
        for topic in list(self._of.get(subscriber, ())):
            self.unsubscribe(topic, subscriber)

    def subscribers(self, topic: str) -> list[Subscriber]:
        """Who hears it now."""
        return list(self._topics.get(topic, ()))
