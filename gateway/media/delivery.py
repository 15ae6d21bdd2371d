"""How engines tell their events: in order, from the event loop, never from within a request or a packet."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from gateway.media.engine import EventHandler, MediaEvent

logger = logging.getLogger(__name__)


class EventDelivery:
    """A queue between an engine and those who subscribed to it; a handler that fails hurts no other."""

    def __init__(self) -> None:
        self._handlers: list[EventHandler] = []
        self._events: deque[MediaEvent] = deque()
        self._scheduled: asyncio.Handle | None = None

    def subscribe(self, handler: EventHandler) -> None:
        """Have every event from now on delivered to `handler`."""
        self._handlers.append(handler)

    def emit(self, event: MediaEvent) -> None:
        """Deliver `event` in the loop's next round; nothing is kept where nobody listens."""
        if not self._handlers:
            return
        self._events.append(event)
        if self._scheduled is None:
            self._scheduled = asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        self._scheduled = None
        for _ in range(len(self._events)):
            event = self._events.popleft()
            for handler in tuple(self._handlers):
                try:
                    handler(event)
                except Exception:
                    logger.exception("a handler of media events failed")
