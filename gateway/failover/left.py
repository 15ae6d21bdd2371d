"""Calls of pages that other processes and gateways have left."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from gateway.call.call import Call
from gateway.call.state import State
from gateway.web.facade import LeftCall

_REMEMBERED = 100_000
"""Calls."""


class LeftCalls:
    """Calls of pages that are to come back, and how those of the gateway before ended, for a while."""

    def __init__(self) -> None:
        self._calls: OrderedDict[str, LeftCall] = OrderedDict()
        self._untold: list[LeftCall] = []
        """Sessions of the HTTP API that its front end does not know yet."""
        self._take: Callable[[LeftCall], None] | None = None

    def add(self, tag: str, left: LeftCall) -> None:
        """A page may ask for this one; the oldest is forgotten where there are too many."""
        self._calls[tag] = left
        if left.session is not None:
            self._untold.append(left)
        if len(self._calls) > _REMEMBERED:
            self._calls.popitem(last=False)

    def of(self, user: str, tag: str) -> LeftCall | None:
        """The call of that id, if it is this user's."""
        left = self._calls.get(tag)
        return left if left is not None and left.user == user else None

    def watch_sessions(self, take: Callable[[LeftCall], None]) -> None:
        """Hand `take` each session of the HTTP API: those there are, and those that are taken over later."""
        self._take = take
        self.hand_over_sessions()

    def hand_over_sessions(self) -> None:
        """Give sessions whose calls go on, or have ended, to the HTTP API."""
        if self._take is not None:
            untold, self._untold = self._untold, []
            for left in untold:
                self._take(left)

    def call_changed(self, call: Call) -> None:
        """Keep why a call ended before its page came back (an observer of the calls)."""
        if call.state is State.ENDED and self._calls:
            for leg in call.legs:
                left = self._calls.get(leg.party.tag)
                if left is not None:
                    left.cause = call.cause
