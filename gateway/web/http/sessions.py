"""The calls of the HTTP front end: one session each, found by its id, never older than allowed."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

from gateway.call.status import Cause
from gateway.web.facade import PlacedChannel, WebCall
from gateway.web.settings import WebSettings

_REMEMBERED = 1_000
"""Sessions whose media failed, so that their clients are told 408."""


class SessionEnded(Exception):
    """The call ended before there was an answer."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause.sentence)
        self.cause = cause


class Session(PlacedChannel):
    """A WebChannel (see `facade`) for one call that a browser placed by HTTP; it can be told nothing later."""

    def __init__(
        self, session_id: str, owner: str | None, to: str, metadata: Any, forget: Callable[[Session, Cause], None]
    ) -> None:
        self.id = session_id
        self.to = to
        self.metadata = metadata
        self.state = "calling"
        self.created_at = time.time()
        self.owner = owner
        """User id that placed the call with a password; None for guests."""
        self.call: WebCall | None = None
        self.candidates = 0
        self._forget = forget
        self._answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._over = False

    def live(self, call: WebCall, lifetime: float) -> None:
        """The gateway took the call; it ends after `lifetime` seconds at the latest."""
        self.call = call
        if self._over:
            call.hangup(Cause.CANCELLED)
            return
        self._timer = asyncio.get_running_loop().call_later(lifetime, self.close, Cause.NORMAL)

    async def answer(self) -> str:
        """Wait for the early answer or the real one. Raises SessionEnded."""
        return await self._answer

    def close(self, cause: Cause) -> None:
        """End the call, if there is one, and forget the session; idempotent."""
        call = self.call
        if self._end(cause) and call is not None:
            call.hangup(cause)

    def _end(self, cause: Cause) -> bool:
        if self._over:
            return False
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        if not self._answer.done():
            self._answer.set_exception(SessionEnded(cause))
            self._answer.exception()  # whoever waits gets it; nobody waiting is no mistake
        self._forget(self, cause)
        return True

    def _take(self, sdp: str | None) -> None:
        if sdp is not None and not self._answer.done():
            self._answer.set_result(sdp)

    def early_answer(self, call: WebCall, sdp: str) -> None:
        self._take(sdp)

    def ringing(self, call: WebCall, sdp: str | None) -> None:
        self.state = "ringing"
        self._take(sdp)

    def answered(self, call: WebCall, sdp: str | None) -> None:
        self.state = "answered"
        self._take(sdp)

    def info(self) -> dict[str, Any]:
        """How it is listed."""
        return {
            "session_id": self.id,
            "to": self.to,
            "user": self.owner,
            "state": self.state,
            "created_at": self.created_at,
            "metadata": self.metadata,
        }

    def updated(self, call: WebCall, sdp: str | None, kind: str) -> None:
        if kind == "offer":
            call.update_answer(None)

    def ended(self, call: WebCall, cause: Cause) -> None:
        self._end(cause)


class SessionTable:
    """The live sessions by id."""

    def __init__(self, settings: WebSettings) -> None:
        self._limit = settings.max_sessions
        self._sessions: dict[str, Session] = {}
        self._never_connected: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def full(self) -> bool:
        """Whether no further session fits."""
        return len(self._sessions) >= self._limit

    def get(self, session_id: str) -> Session | None:
        """The live session of that id."""
        return self._sessions.get(session_id)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._sessions.values()))

    def open(self, session_id: str, owner: str | None, to: str, metadata: Any = None) -> Session:
        """A new session; the id must be free."""
        self._never_connected.pop(session_id, None)
        session = self._sessions[session_id] = Session(session_id, owner, to, metadata, self._forget)
        return session

    def never_connected(self, session_id: str) -> bool:
        """Whether a session of that id ended because its media never came through."""
        return session_id in self._never_connected

    def close_all(self) -> None:
        """End every session: the gateway stops."""
        for session in list(self._sessions.values()):
            session.close(Cause.NORMAL)

    def _forget(self, session: Session, cause: Cause) -> None:
        if cause is Cause.MEDIA_FAILED:
            self._never_connected[session.id] = None
            if len(self._never_connected) > _REMEMBERED:
                self._never_connected.popitem(last=False)
        if self._sessions.get(session.id) is session:
            del self._sessions[session.id]
