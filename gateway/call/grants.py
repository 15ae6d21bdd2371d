"""Who may take the place of a leg because we have asked for that: "sent by our own REFER" (RFC 3891 section 3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.call.call import Call
from gateway.call.leg import DialogName, Leg, LegName
from gateway.call.state import State
from gateway.call.status import Cause

LIFETIME = 60.0
"""Seconds after its REFER in which the INVITE has to come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The place of a leg, for one INVITE with Replaces."""

    call: Call
    leg: Leg
    """Who leaves its place."""
    identity: str
    """Who was sent the REFER, and nobody else, may come ("trunk:NAME")."""
    target: str
    """User part of its Refer-To, and of the INVITE's Request-URI."""
    until: float
    """Seconds of the clock."""


class Grants:
    """Each under a name that nobody can guess; it is written as a dialog's, and names none, so it tells nothing."""

    def __init__(self, new_id: Callable[[], str], now: Callable[[], float]) -> None:
        """`new_id` gives words that nobody can guess."""
        self._new_id = new_id
        self._now = now
        self._by_name: dict[LegName, Grant] = {}
        self._outcomes: dict[LegName, bool | None] = {}
        """Of those that were used: whether the place was taken, None while nobody knows; until the REFER is decided."""
        self._waiting: dict[LegName, Callable[[bool], None]] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    def give(self, call: Call, leg: Leg, identity: str, target: str) -> DialogName:
        """Let who was identified so, once, take the place of that leg; the name to be told."""
        now = self._now()
        for name in [name for name, grant in self._by_name.items() if grant.until <= now]:
            del self._by_name[name]
        name = DialogName(self._new_id(), local_tag=self._new_id(), remote_tag=self._new_id())
        self._by_name[name] = Grant(call=call, leg=leg, identity=identity, target=target, until=now + LIFETIME)
        return name

    def use(self, name: LegName) -> Callable[[Cause], None]:
        """Somebody comes, and nobody else can; to be told once: NORMAL where it then had the place."""
        del self._by_name[name]
        self._outcomes[name] = None

        def done(cause: Cause) -> None:
            taken = cause is Cause.NORMAL
            waiting = self._waiting.pop(name, None)
            if waiting is not None:
                waiting(taken)
            else:
                self._outcomes[name] = taken

        return done

    def decide(self, name: DialogName, then: Callable[[bool], None]) -> None:
        """Its REFER is over, so it is not to be used any more; `then` hears, once that is known, whether the place was
        taken."""
        self._by_name.pop(name, None)
        outcome = self._outcomes.pop(name, False)
        if outcome is None:
            self._waiting[name] = then
        else:
            then(outcome)

    def of(self, name: LegName, identity: str | None, dialled: str) -> Grant | int | None:
        """What an INVITE with that Replaces may do; the status that refuses it; None: it was never granted.

        One that is used up, too late, or whose leg has gone is 481, one from elsewhere or to somebody else 403.
        """
        grant = self._by_name.get(name)
        if grant is None:
            return None
        is_there = grant.call.state is not State.ENDED and grant.leg in grant.call.legs
        if grant.until <= self._now() or not is_there:
            del self._by_name[name]
            return 481
        if identity != grant.identity or _user_of(dialled) != grant.target:
            return 403
        return grant


def _user_of(uri: str) -> str:
    """The user part of a SIP URI, without its parameters."""
    return uri.partition(":")[2].rpartition("@")[0].partition(";")[0]
