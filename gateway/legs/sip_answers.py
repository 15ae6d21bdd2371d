"""Answers of a callee's destinations while the call judges their descriptions."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from gateway.call.leg import Answered
from gateway.legs.sip_sessions import CalleeSession
from gateway.sip.invite import events

_KEPT_EVENTS = 32
"""Largest number of events kept for a session while its description is judged."""


@dataclass(slots=True, eq=False)
class Answer:
    """A 2xx of a destination."""

    number: int
    session: CalleeSession
    event: Answered
    later: list[events.SessionEvent] = field(default_factory=list)
    """Later events of the session, delivered if the session gets the call."""


class Previews:
    """Early descriptions of destinations, by number; the call uses one, the rest wait."""

    def __init__(self) -> None:
        self._descriptions: dict[int, str] = {}
        self._given: int | None = None

    def add(self, number: int, sdp: str) -> bool:
        """Keep a destination's description; return True if the call uses it now."""
        self._descriptions[number] = sdp
        if self._given is None:
            self._given = number
        return self._given == number

    def waiting(self, number: int) -> str | None:
        """Return the description of a destination; None if missing or already used by the call."""
        return None if number == self._given else self._descriptions.get(number)

    def next(self) -> str | None:
        """Return the next description in turn for the call; None if no further one exists."""
        numbers = list(self._descriptions)
        place = numbers.index(self._given) + 1 if self._given in self._descriptions else 0
        others = [each for each in (*numbers[place:], *numbers[:place]) if each != self._given]
        if not others:
            return None
        self._given = others[0]
        return self._descriptions[others[0]]

    def drop(self, number: int) -> str | None:
        """Forget a destination; return the replacement for its description if the call used it."""
        self._descriptions.pop(number, None)
        if number != self._given:
            return None
        following = self.next()
        if following is None:
            self._given = None
        return following

    def clear(self) -> None:
        """Forget all descriptions."""
        self._descriptions.clear()
        self._given = None


class Answers:
    """Answers in order of arrival; the call judges the first."""

    def __init__(self) -> None:
        self._waiting: deque[Answer] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def sessions(self) -> list[CalleeSession]:
        """Sessions of all answers."""
        return [each.session for each in self._waiting]

    def add(self, answer: Answer) -> bool:
        """Queue an answer; return True if the call judges it next."""
        self._waiting.append(answer)
        return len(self._waiting) == 1

    def hears(self, session: CalleeSession, event: events.SessionEvent) -> bool:
        """Keep an event for a session with a queued answer; return True if there is one. Beyond the limit only Ended is
        kept.
        """
        for each in self._waiting:
            if each.session is session:
                if len(each.later) < _KEPT_EVENTS or isinstance(event, events.Ended):
                    each.later.append(event)
                return True
        return False

    def take(self) -> Answer | None:
        """Remove and return the first answer; None if empty."""
        return self._waiting.popleft() if self._waiting else None

    def next(self) -> Answered | None:
        """Return the event of the first answer; None if empty."""
        return self._waiting[0].event if self._waiting else None

    def clear(self) -> list[CalleeSession]:
        """Remove all answers and return their sessions."""
        sessions = self.sessions
        self._waiting.clear()
        return sessions
