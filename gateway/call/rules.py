"""What users want done with calls for them: forwarding, do not disturb."""

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
"""When a call is forwarded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """One user's; numbers are what that user would dial, None for none."""

    always: str | None = None
    busy: str | None = None
    no_answer: str | None = None
    """Also where none of the user's phones and pages is there."""
    after: float = 20.0
    """Seconds until nobody has answered."""
    do_not_disturb: bool = False

    def forward(self, cause: Cause) -> tuple[str, str] | None:
        """Where a call goes that has failed so, and the reason in the words of RFC 5806; None: nowhere."""
        if cause is Cause.BUSY and self.busy is not None:
            return self.busy, "do-not-disturb" if self.do_not_disturb else "user-busy"
        if cause in NOT_REACHED and self.no_answer is not None:
            return self.no_answer, "no-answer" if cause is Cause.NO_ANSWER else "unavailable"
        return None

    def with_forward(self, kind: str, number: str | None) -> Rules:
        """The same with one of `KINDS` changed; raises ValueError for another."""
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
    """Keeps the rules of every user."""

    def of(self, user_id: str) -> Rules:
        """NO_RULES for who has none."""

    def put(self, user_id: str, rules: Rules) -> None:
        """Keep them from now on, over a restart as well where that is what the store does."""


class MemoryRules:
    """Rules that end with the process."""

    def __init__(self) -> None:
        self._rules: dict[str, Rules] = {}

    def of(self, user_id: str) -> Rules:
        return self._rules.get(user_id, NO_RULES)

    def put(self, user_id: str, rules: Rules) -> None:
        self._rules.pop(user_id, None)
        if rules != NO_RULES:
            self._rules[user_id] = rules
