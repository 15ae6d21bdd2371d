"""Grants for replacing a leg, made by a REFER of the gateway: "sent by our own REFER" (RFC 3891 section 3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.call.call import Call
from gateway.call.leg import DialogName, Leg, LegName
from gateway.call.state import State
from gateway.call.status import Cause

LIFETIME = 60.0
"""Seconds between REFER and the resulting INVITE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Permission for one INVITE with Replaces."""

    call: Call
    leg: Leg
    """Leg to be replaced."""
    identity: str
    """Identity of the REFER's recipient, the only one allowed to send the INVITE ("trunk:NAME")."""
    target: str
    """User part of Refer-To, and of the INVITE's Request-URI."""
    until: float
    """End of validity, in seconds of the clock."""


class Grants:
    """Grants by unguessable names in the form of dialog names, which reveal no real dialog."""

    def __init__(self, new_id: Callable[[], str], now: Callable[[], float]) -> None:
        """`new_id` returns unguessable words."""
        self._new_id = new_id
        self._now = now
        self._by_name: dict[LegName, Grant] = {}
        self._outcomes: dict[LegName, bool | None] = {}
        """Outcome of used grants, None while unknown; kept until the REFER is decided."""
        self._waiting: dict[LegName, Callable[[bool], None]] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    def give(self, call: Call, leg: Leg, identity: str, target: str) -> DialogName:
        """Return the name of a new grant to replace `leg`, valid once and for one identity."""
        now = self._now()
        for name in [name for name, grant in self._by_name.items() if grant.until <= now]:
            del self._by_name[name]
        name = DialogName(self._new_id(), local_tag=self._new_id(), remote_tag=self._new_id())
        self._by_name[name] = Grant(call=call, leg=leg, identity=identity, target=target, until=now + LIFETIME)
        return name

    def use(self, name: LegName) -> Callable[[Cause], None]:
        """Consume a grant; return a function for its outcome, NORMAL after a replacement."""
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
        """Revoke the grant after its REFER; `then` gets True if the leg was replaced, as soon as known."""
        self._by_name.pop(name, None)
        outcome = self._outcomes.pop(name, False)
        if outcome is None:
            self._waiting[name] = then
        else:
            then(outcome)

    def of(self, name: LegName, identity: str | None, dialled: str) -> Grant | int | None:
        """Return the grant for an INVITE with Replaces, a rejecting status, or None for an unknown name.

        A late grant, or one whose leg has ended, gives 481; a wrong sender or Request-URI gives 403.
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
    """Return the user part of a SIP URI without parameters."""
    return uri.partition(":")[2].rpartition("@")[0].partition(";")[0]
