"""Work with a store that may be away: tried again and again, and said once that it is away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger(__name__)


class Repeated:
    """One piece of such work; whoever has it says when it is done again."""

    def __init__(
        self, work: Callable[[], Awaitable[object]], error: type[Exception], *, away: str, failed: str
    ) -> None:
        """`error` is what `work` raises while the store is away. The other two are what the log says of that, and of
        any other exception."""
        self._work = work
        self._error = error
        self._told = away
        self._failed = failed
        self.is_away = False
        """Whether the store was away when it was asked last."""

    async def once(self) -> bool:
        """Do it once more; whether it was done. Raises nothing that `work` does."""
        try:
            await self._work()
        except self._error as error:
            if not self.is_away:
                log.warning(self._told, reason=str(error))
            self.is_away = True
            return False
        except Exception:
            log.exception(self._failed)
            return False
        self.is_away = False
        return True
