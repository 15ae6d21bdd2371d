"""Calls at a daemon that another gateway may go on with: none is changed until that is known, and none that it has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

from gateway.media.engine import Elsewhere, MediaError
from gateway.media.rtpengine.ng import Request

_CHANGE_NOTHING = frozenset(("ping", "list", "query"))


def _never() -> bool:
    return False


async def _nowhere(call_ids: Sequence[str]) -> Collection[str]:
    return ()


class Handover:
    """`gateway.media.engine.MediaHandover`, and what of our requests may go to the daemons."""

    def __init__(self, name_of: Callable[[str], str | None]) -> None:
        """`name_of` gives what the daemon calls a call, None for one that we do not have."""
        self.waits: Callable[[], bool] = _never
        self.elsewhere: Elsewhere = _nowhere
        self._name_of = name_of
        self._left: set[str] = set()
        """Names of calls that others have, and that are ending here."""
        self._news = asyncio.Event()

    def go_on(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    def leave(self, call_ids: Collection[str]) -> None:
        names = [self._name_of(call_id) for call_id in call_ids]
        self._left.update(name for name in names if name is not None)

    def over(self, name: str) -> None:
        """The call has ended here: it may come back."""
        self._left.discard(name)

    async def passed(self, request: Request) -> None:
        """Wait until that may be asked; raises MediaError 481 where another gateway has the call."""
        if request["command"] in _CHANGE_NOTHING:
            return
        while self.waits():
            await self._news.wait()
        if request.get("call-id") in self._left:
            raise MediaError("another gateway goes on with the call", 481)
