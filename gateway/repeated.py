"""Repeated work with a possibly unreachable store: retried, with an outage logged once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger(__name__)


class Repeated:
    """Repeated piece of work; the owner decides when to repeat."""

    def __init__(
        self, work: Callable[[], Awaitable[object]], error: type[Exception], *, away: str, failed: str
    ) -> None:
        """`error`: exception of `work` during a store outage. `away` and `failed`: log messages for the outage, and
        for any other exception."""
        self._work = work
        self._error = error
        self._away = away
        self._failed = failed
        self.is_away = False
        """True if the store was unreachable at the last attempt."""

    async def once(self) -> bool:
        """Run the work once; return True on success. Exceptions of `work` are logged, not raised."""
        try:
            await self._work()
        except self._error as error:
            if not self.is_away:
                log.warning(self._away, reason=str(error))
            self.is_away = True
            return False
        except Exception:
            log.exception(self._failed)
            return False
        self.is_away = False
        return True
