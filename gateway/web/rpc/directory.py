"""Which device of a user has which call, so that another connection of the same user can take it."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from gateway.web.rpc.calls import Calls
from gateway.web.rpc.entry import Entry, State

_ENDED_REMEMBERED = 1_000


@dataclass(slots=True, eq=False, kw_only=True)
class Held:
    """One call of one user."""

    user: str
    calls: Calls
    """The connection that has it, or had it when its socket went."""
    entry: Entry


class CallDirectory:
    """Calls by their id; an ended one is remembered for a while, to tell a client that was away why."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, Held] = OrderedDict()
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

    def of_user(self, user: str) -> list[Held]:
        """The user's calls that have not ended."""
        found = self._of_user.get(user, {})
        for call_id, held in list(found.items()):
            if held.entry.state is State.ENDED:
                del found[call_id]
        if not found:
            self._of_user.pop(user, None)
        return list(found.values())

    def _prune(self) -> None:
        """Forget the oldest that have ended, so many at once that each call costs the same, however many there are."""
        ended = [call_id for call_id, held in self._held.items() if held.entry.state is State.ENDED]
        for call_id in ended[: max(0, len(ended) - _ENDED_REMEMBERED)]:
            del self._held[call_id]
        for user in list(self._of_user):
            self.of_user(user)
        self._prune_at = max(2 * len(self._held), 2 * _ENDED_REMEMBERED)
