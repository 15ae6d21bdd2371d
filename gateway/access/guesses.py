"""Wrong passwords: how often one source may send them, and how often all sources together for one user."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeVar

from gateway.access.sources import source_of
from gateway.sip.flow import Flow

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class LockOut:
    """Wrong passwords a source address may send before it has to wait, and those for one user before all others do."""

    failures: int = 10
    seconds: float = 60.0
    """Such a wait, since the last wrong password."""
    user_failures: int = 50
    """Wrong passwords for one user, from everywhere; then a source that never signed in as that user has to wait after
    its first wrong one."""
    remembered: int = 10_000
    """Entries kept of each kind; the oldest is forgotten first."""


class Guesses:
    """Counts wrong passwords within bounds, and remembers who has signed in from where.

    Who guesses at a user's password delays only those who never gave it: nobody can be locked out by others.
    """

    def __init__(self, policy: LockOut) -> None:
        self.policy = policy
        """May be another one in the course of things."""
        self._of_source: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._of_user: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._of_both: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def locked(self, source: Flow, user: str | None, now: float) -> bool:
        """Whether `source` has to wait; never the very flow on which `user` has signed in before.

        At an address that `user` has signed in from only wrong passwords for that user count: others may be behind it.
        """
        place = source_of(source.host)
        is_known = user is not None and (user, place) in self._known
        wrong = self._of_both.get((user or "", place)) if is_known else self._of_source.get(place)
        count, last = wrong or (0, 0.0)
        if count < self.policy.failures or not self._lasts(last, now):
            return False
        return user is None or (user, str(source)) not in self._known

    def slowed(self, source: Flow, user: str, now: float) -> bool:
        """Whether a try of `user`'s password from there has to come later, because too many were wrong.

        Sources that `user` has signed in from are let through, and those that have given no wrong password.
        """
        count, last = self._of_user.get(user, (0, 0.0))
        if count < self.policy.user_failures or not self._lasts(last, now):
            return False
        if (user, source_of(source.host)) in self._known:
            return False
        wrong, at = self._of_source.get(source_of(source.host), (0, 0.0))
        return wrong > 0 and self._lasts(at, now)

    def failed(self, source: Flow, user: str, now: float) -> None:
        """`source` gave a wrong password for `user`."""
        place = source_of(source.host)
        self._count(self._of_source, place, now)
        self._count(self._of_user, user, now)
        self._count(self._of_both, (user, place), now)

    def _count(self, table: OrderedDict[K, tuple[int, float]], key: K, now: float) -> None:
        count, last = table.get(key, (0, 0.0))
        self._keep(table, key, (count + 1 if self._lasts(last, now) else 1, now))

    def succeeded(self, source: Flow, user: str) -> None:
        """`user` has signed in from there; that forgives nothing, or an account of one's own would buy guesses."""
        for place in (str(source), source_of(source.host)):
            self._keep(self._known, (user, place), None)

    def _lasts(self, since: float, now: float) -> bool:
        """Whether a wait is not over; one that began later than now did so before the clock was set back."""
        return 0 <= now - since < self.policy.seconds

    def _keep(self, table: OrderedDict[K, V], key: K, value: V) -> None:
        table[key] = value
        table.move_to_end(key)
        if len(table) > self.policy.remembered:
            table.popitem(last=False)
