"""Forwarding rules as others see them: who does not want to be disturbed is busy."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.call.rules import Rules, RuleStore
from gateway.identity.model import User
from gateway.people.presence import Presences


class ShownRules:
    """The RuleStore contract over another store, told to the presence of each user."""

    def __init__(self, store: RuleStore, presences: Presences, users: Iterable[User]) -> None:
        """`users` are those whose rules may have been kept before."""
        self._store = store
        self._presences = presences
        for user in users:
            self._show(user.id, store.of(user.id))

    def of(self, user_id: str) -> Rules:
        return self._store.of(user_id)

    def put(self, user_id: str, rules: Rules) -> None:
        self._store.put(user_id, rules)
        self._show(user_id, rules)

    def _show(self, user_id: str, rules: Rules) -> None:
        self._presences.disturb(user_id, not rules.do_not_disturb)
