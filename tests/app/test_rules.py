"""Forwarding rules are kept where they were, and shown to others."""

from __future__ import annotations

from gateway.call.rules import NO_RULES, MemoryRules, Rules
from gateway.identity.model import User
from gateway.people.presence import Activity, Presences
from gateway.people.rules import ShownRules


def test_who_does_not_want_to_be_disturbed_is_shown_as_busy() -> None:
    """From the start, where that was kept, and at every change."""
    presences, store = Presences(), MemoryRules()
    for user in ("alice", "bob"):
        presences.phone(user, True)
    store.put("alice", Rules(do_not_disturb=True))
    rules = ShownRules(store, presences, [User("alice"), User("bob")])
    assert [presences.board.of(user).activity for user in ("alice", "bob")] == [Activity.BUSY, Activity.AVAILABLE]
    rules.put("bob", Rules(do_not_disturb=True))
    rules.put("alice", NO_RULES)
    assert [presences.board.of(user).activity for user in ("alice", "bob")] == [Activity.AVAILABLE, Activity.BUSY]
    assert (rules.of("bob"), store.of("bob")) == (Rules(do_not_disturb=True),) * 2
