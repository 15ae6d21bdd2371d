"""Calls of pages that other processes and gateways have left."""

from __future__ import annotations

from collections import OrderedDict

from gateway.call.call import Call
from gateway.call.state import State
from gateway.web.facade import LeftCall

_REMEMBERED = 100_000
"""Calls."""


class LeftCalls:
    """Calls of pages that are to come back, and how those of the gateway before ended, for a while."""

    def __init__(self) -> None:
        self._calls: OrderedDict[str, LeftCall] = OrderedDict()

    def add(self, tag: str, left: LeftCall) -> None:
        """A page may ask for this one; the oldest is forgotten where there are too many."""
        self._calls[tag] = left
        if len(self._calls) > _REMEMBERED:
            self._calls.popitem(last=False)

    def of(self, user: str, tag: str) -> LeftCall | None:
        """The call of that id, if it is this user's."""
        left = self._calls.get(tag)
        return left if left is not None and left.user == user else None

    def sessions(self) -> list[LeftCall]:
        """Those of the HTTP API."""
        return [left for left in self._calls.values() if left.session is not None]

    def call_changed(self, call: Call) -> None:
        """Keep why a call ended before its page came back (an observer of the calls)."""
        if call.state is State.ENDED and self._calls:
            for leg in call.legs:
                left = self._calls.get(leg.party.tag)
                if left is not None:
                    left.cause = call.cause
