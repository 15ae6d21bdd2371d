"""A brake on toll fraud, its callers and their numbers, for tests."""

from __future__ import annotations

import contextlib

from gateway.call.routing import Caller, RouteError, SipTarget, Target
from gateway.call.toll import TollBrake

ALICE, BOB = Caller("alice", ("*",)), Caller("bob", ("*",))


class Clock:
    """Turned by hand."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def number(text: str, trunk: str | None = "office", *, emergency: bool = False) -> SipTarget:
    return SipTarget(text if trunk is not None else f"sip:{text}@pbx.test", trunk, emergency)


def passed(brake: TollBrake, caller: Caller, target: Target, count: int = 100) -> int:
    """How many of so many calls are let through."""
    through = 0
    for _ in range(count):
        with contextlib.suppress(RouteError):
            brake.check(caller, target)
            through += 1
    return through
