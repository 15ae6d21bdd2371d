"""Which device of a user has which call, so that another connection of the same user can take it."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from gateway.web.rpc.calls import Calls
from gateway.web.rpc.entry import Entry, State, outcome

_ENDED_REMEMBERED = 1_000


@dataclass(slots=True, eq=False, kw_only=True)
class Held:
    """One call of one user."""

    user: str
    calls: Calls
    """The connection that has it, or had it when its socket went."""
    entry: Entry


class CallDirectory:
    """Calls by their id; of an ended one it is remembered for a while why, to tell a client that was away."""

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}
        self._ended: OrderedDict[str, tuple[str, dict[str, Any]]] = OrderedDict()
        """User and what is told of it, by the id of the call: nothing of its connection and its media."""
        self._of_user: dict[str, dict[str, Held]] = {}
        self._prune_at = 2 * _ENDED_REMEMBERED

    def add(self, user: str, calls: Calls, entry: Entry) -> None:
        """`calls` has the call now."""
        held = self._held[entry.call.id] = Held(user=user, calls=calls, entry=entry)
        self._of_user.setdefault(user, {})[entry.call.id] = held
        if len(self._held) >= self._prune_at:
            self._prune()

    def find(self, user: str, call_id: str) -> Held | None:
        """The call of that id, if it is this user's."""
        held = self._held.get(call_id)
        return held if held is not None and held.user == user and not held.entry.is_others else None

    def ended(self, user: str, call_id: str) -> dict[str, Any] | None:
        """How the call of that id ended, if it was this user's and has."""
        whose, told = self._ended.get(call_id, ("", None))
        return told if whose == user else None

    def of_user(self, user: str) -> list[Held]:
        """The user's calls that have not ended."""
        found = self._of_user.get(user, {})
        for call_id, held in list(found.items()):
            if held.entry.state is State.ENDED:
                del found[call_id]
                self._forget(held)
        if not found:
            self._of_user.pop(user, None)
        return list(found.values())

    def _forget(self, held: Held) -> None:
        """But how it ended."""
        entry = held.entry
        if self._held.pop(entry.call.id, None) is not None and not entry.is_others:
            self._ended[entry.call.id] = held.user, outcome(entry)
            if len(self._ended) > _ENDED_REMEMBERED:
                self._ended.popitem(last=False)

    def _prune(self) -> None:
        """Forget what has ended, so many at once that each call costs the same, however many there are."""
        for user in list(self._of_user):
            self.of_user(user)
        self._prune_at = max(2 * len(self._held), 2 * _ENDED_REMEMBERED)
