"""Destinations of a callee that have accepted, while the call judges their descriptions."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from gateway.call.leg import Answered
from gateway.legs.sip_sessions import CalleeSession
from gateway.sip.invite import events

_KEPT_EVENTS = 32
"""Events of one session while its description is judged."""


@dataclass(slots=True, eq=False)
class Answer:
    """A destination that has accepted."""

    number: int
    session: CalleeSession
    event: Answered
    later: list[events.SessionEvent] = field(default_factory=list)
    """Events of the session since, for the call that it may get."""


class Previews:
    """Early descriptions of destinations, by number: the call has one of them, the others wait."""

    def __init__(self) -> None:
        self._said: dict[int, str] = {}
        self._given: int | None = None

    def add(self, number: int, sdp: str) -> bool:
        """Keep the description of a destination; return whether the call is to have it now."""
        self._said[number] = sdp
        if self._given is None:
            self._given = number
        return self._given == number

    def waiting(self, number: int) -> str | None:
        """Return the description of a destination that the call does not have."""
        return None if number == self._given else self._said.get(number)

    def next(self) -> str | None:
        """Return the description that the call is to have in the place of the present one; None: there is no other."""
        numbers = list(self._said)
        place = numbers.index(self._given) + 1 if self._given in self._said else 0
        others = [each for each in (*numbers[place:], *numbers[:place]) if each != self._given]
        if not others:
            return None
        self._given = others[0]
        return self._said[others[0]]

    def drop(self, number: int) -> str | None:
        """Forget a destination; return the description that comes in its place, where the call had its own."""
        self._said.pop(number, None)
        if number != self._given:
            return None
        following = self.next()
        if following is None:
            self._given = None
        return following

    def clear(self) -> None:
        """Forget all."""
        self._said.clear()
        self._given = None


class Answers:
    """Answers in the order of their coming; the call judges the first."""

    def __init__(self) -> None:
        self._waiting: deque[Answer] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def sessions(self) -> list[CalleeSession]:
        """Sessions of all of them."""
        return [each.session for each in self._waiting]

    def add(self, answer: Answer) -> bool:
        """Keep one more; return whether the call judges it next."""
        self._waiting.append(answer)
        return len(self._waiting) == 1

    def hears(self, session: CalleeSession, event: events.SessionEvent) -> bool:
        """Keep an event, of too many only the last, if its session is one of these; return whether it is."""
        for each in self._waiting:
            if each.session is session:
                if len(each.later) < _KEPT_EVENTS or isinstance(event, events.Ended):
                    each.later.append(event)
                return True
        return False

    def take(self) -> Answer | None:
        """Return the first and forget it; None where there is none."""
        return self._waiting.popleft() if self._waiting else None

    def next(self) -> Answered | None:
        """Return the event of the first; None where there is none."""
        return self._waiting[0].event if self._waiting else None

    def clear(self) -> list[CalleeSession]:
        """Forget all and return their sessions."""
        sessions = self.sessions
        self._waiting.clear()
        return sessions
