"""The calls of the HTTP front end: one session each, found by its id, never older than allowed."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gateway.call.status import Cause
from gateway.web.facade import LeftCall, PlacedChannel, WebCall
from gateway.web.settings import WebSettings

_REMEMBERED = 1_000
"""Sessions that have ended, so that their clients are told why."""


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
        self.cause: Cause | None = None
        """Why it has ended."""
        self.changed = asyncio.Event()
        """Set when the state is another one, and then replaced."""
        self._forget = forget
        self._answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._has_had_media = False
        self._over = False

    @property
    def session(self) -> Mapping[str, Any]:
        return {"id": self.id, "owner": self.owner, "created_at": self.created_at}

    def live(self, call: WebCall, lifetime: float) -> None:
        """The gateway took the call; it ends after `lifetime` seconds at the latest."""
        self.call = call
        if self._over:
            call.hangup(Cause.CANCELLED)
            return
        self._timer = asyncio.get_running_loop().call_later(lifetime, self.close, Cause.NORMAL)

    def limit_of(self, cause: Cause) -> tuple[str, int | None]:
        """Return what `WebCall.limit_of` says of the call."""
        return ("", None) if self.call is None else self.call.limit_of(cause)

    async def answer(self) -> str:
        """Wait for the early answer or the real one. Raises SessionEnded."""
        return await self._answer

    def close(self, cause: Cause) -> None:
        """End the call, if there is one, and forget the session; idempotent."""
        call = self.call
        if self._end(cause) and call is not None:
            call.hangup(cause)

    def _to(self, state: str) -> None:
        self.state = state
        self.changed.set()
        self.changed = asyncio.Event()

    def _end(self, cause: Cause) -> bool:
        if self._over:
            return False
        self._over = True
        if cause is Cause.MEDIA_FAILED and self._has_had_media:
            cause = Cause.MEDIA_TIMEOUT
        self.cause = cause
        self._to("ended")
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
        self._to("ringing")
        self._take(sdp)

    def answered(self, call: WebCall, sdp: str | None) -> None:
        self._to("answered")
        self._take(sdp)

    def connected(self, call: WebCall) -> None:
        self._has_had_media = True

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
        self._ended: OrderedDict[str, tuple[str | None, Cause]] = OrderedDict()
        """Whose they were, and why they ended, by id."""

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
        self._ended.pop(session_id, None)
        session = self._sessions[session_id] = Session(session_id, owner, to, metadata, self._forget)
        return session

    def resume(self, left: LeftCall, lifetime: float) -> None:
        """Resume a session of the previous process or of a lost gateway, without its metadata.

        An id that a live session has stays with that session. Raises LookupError or TypeError for other values.
        """
        assert left.session is not None
        session_id, owner, began = (left.session[name] for name in ("id", "owner", "created_at"))
        is_taken = session_id in self._sessions
        if left.cause is not None:
            if not is_taken:
                self._remember(session_id, owner, left.cause)
            return
        session = Session(session_id, owner, left.peer_id, None, self._forget)
        if not is_taken:
            self._ended.pop(session_id, None)
            self._sessions[session_id] = session
        session.state, session.created_at = "answered", began
        session.connected(left.call)
        session.live(left.call, max(0.0, lifetime - left.age))
        left.call.returned(session, None)

    def ended(self, session_id: str) -> tuple[str | None, Cause] | None:
        """Whose a session was that ended lately, and why."""
        return self._ended.get(session_id)

    def close_all(self) -> None:
        """End every session: the gateway stops."""
        for session in list(self._sessions.values()):
            session.close(Cause.NORMAL)

    def _forget(self, session: Session, cause: Cause) -> None:
        if self._sessions.get(session.id) is not session:
            return
        del self._sessions[session.id]
        self._remember(session.id, session.owner, cause)

    def _remember(self, session_id: str, owner: str | None, cause: Cause) -> None:
        self._ended[session_id] = owner, cause
        if len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)
