"""What was done to accounts and by whom: in the log, and the last entries for /api/audit."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import structlog

from gateway.plain import escaped

log = structlog.get_logger("gateway.audit")


class AuditLog:
    """Append only; the oldest entries of the memory give way, the log keeps all."""

    def __init__(self, limit: int = 1_000, clock: Callable[[], float] = time.time) -> None:
        self._entries: deque[dict[str, Any]] = deque(maxlen=limit)
        self._clock = clock

    def add(self, action: str, user: str, address: str, **details: Any) -> None:
        """`action` is a word such as "sign-in", "sign-in refused", "sign-out", "call ended"."""
        user = escaped(user)
        log.info("audit", action=action, user=user, address=address, **details)
        self._entries.append({"at": self._clock(), "action": action, "user": user, "address": address, **details})

    def latest(self, count: int = 100) -> list[dict[str, Any]]:
        """The newest first."""
        return list(self._entries)[-count:][::-1]
