"""Users' rules for incoming calls: forwarding and do not disturb."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from gateway.call.status import Cause

NOT_REACHED = (
    Cause.NO_ANSWER,
    Cause.UNAVAILABLE,
    Cause.UNREACHABLE,
    Cause.OVERLOADED,
    Cause.LIMIT,
    Cause.OUT_OF_SERVICE,
    Cause.LOST,
    Cause.MEDIA_FAILED,
)
KINDS = ("always", "busy", "no-answer")
"""Kinds of forwarding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Rules of a user; numbers as the user would dial them, None for no forwarding."""

    always: str | None = None
    busy: str | None = None
    no_answer: str | None = None
    """Number for calls without answer, also while no phone and no page is reachable."""
    after: float = 20.0
    """Seconds of ringing before a call counts as unanswered."""
    do_not_disturb: bool = False

    def forward(self, cause: Cause) -> tuple[str, str] | None:
        """Return the forwarding number and the reason of RFC 5806 for a failed call; None for no forwarding."""
        if cause is Cause.BUSY and self.busy is not None:
            return self.busy, "do-not-disturb" if self.do_not_disturb else "user-busy"
        if cause in NOT_REACHED and self.no_answer is not None:
            return self.no_answer, "no-answer" if cause is Cause.NO_ANSWER else "unavailable"
        return None

    def with_forward(self, kind: str, number: str | None) -> Rules:
        """Return the rules with one of `KINDS` changed; raises ValueError for an unknown kind."""
        match kind:
            case "always":
                return replace(self, always=number)
            case "busy":
                return replace(self, busy=number)
            case "no-answer":
                return replace(self, no_answer=number)
        raise ValueError(f"{kind!r} is none of {', '.join(KINDS)}")


NO_RULES = Rules()


class RuleStore(Protocol):
    """Store of the rules of all users."""

    def of(self, user_id: str) -> Rules:
        """Return the rules of a user; NO_RULES by default."""

    def put(self, user_id: str, rules: Rules) -> None:
        """Store the rules of a user, durably if the store supports it."""


class MemoryRules:
    """Rules kept in memory only."""

    def __init__(self) -> None:
        self._rules: dict[str, Rules] = {}

    def of(self, user_id: str) -> Rules:
        return self._rules.get(user_id, NO_RULES)

    def put(self, user_id: str, rules: Rules) -> None:
        self._rules.pop(user_id, None)
        if rules != NO_RULES:
            self._rules[user_id] = rules
