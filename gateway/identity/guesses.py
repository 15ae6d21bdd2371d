"""Wrong passwords: how often one source may send them, and how often all sources together for one user."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TypeVar

from gateway.errors import GatewayError
from gateway.identity.turns import Room, Turns
from gateway.sources import source_of

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class LockOut:
    """Wrong passwords before a wait: of one source, and for one user from all sources together. Times in seconds."""

    failures: int = 10
    """Wrong passwords of one source before it has to wait."""
    seconds: float = 60.0
    """Wait of such a source, since its last wrong password."""
    user_failures: int = 10
    """Wrong passwords for one user before sources that never signed in as that user have to wait; 0: no number."""
    delay: float = 1.0
    """First wait for that user, doubled with each further wrong password."""
    longest_delay: float = 300.0
    """Longest wait for that user."""
    memory: float = 3_600.0
    """Wrong passwords for a user are forgotten once none has come for so long."""
    remembered: int = 10_000
    """Entries kept of each kind; the oldest is forgotten first."""
    places: int = 64
    """Sources and flows kept of each user who has signed in."""


class TooManyGuesses(GatewayError):
    """No password may be tried now; for `wait` seconds where the user is why, 0 where the source is."""

    def __init__(self, wait: float = 0.0) -> None:
        super().__init__("too many wrong passwords")
        self.wait = wait


class Guesses:
    """Counts of wrong passwords, bounded, and the sources that each user has signed in from.

    Guesses at a user's password delay only sources from which that user has never signed in.
    """

    def __init__(self, policy: LockOut, is_user: Callable[[str], bool] = bool) -> None:
        """`is_user` says of a name whether there is such a user; by default every name but "" is one."""
        self.policy = policy
        """Replaced at a reload."""
        self._is_user = is_user
        self._of_source: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._of_user: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._of_nobody: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """Counts of names that are no user's: alike to a guesser, and forgotten for one another alone."""
        self._of_both: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()
        self._known: OrderedDict[str, OrderedDict[str, None]] = OrderedDict()
        """Sources and flows of each user who has signed in."""
        self._turns = Turns()

    def turn(
        self, host: str, user: str, clock: Callable[[], float], flow: str = ""
    ) -> AbstractAsyncContextManager[None]:
        """Hold a guess at the password of `user` while it is checked: it counts from its beginning.

        One too many waits for the outcome of those before it. Entering raises TooManyGuesses once none may be made.
        """
        return self._turns.turn(lambda: self._room(host, user, clock(), flow))

    def _room(self, host: str, user: str, now: float, flow: str) -> Room:
        """Return how many further wrong passwords there may be, by source and by user; raises TooManyGuesses."""
        if self.locked(host, user, now, flow):
            raise TooManyGuesses
        wait = self.wait(host, user, now)
        if wait > 0:
            raise TooManyGuesses(wait)
        policy, place = self.policy, source_of(host)
        if self._knows(user, place):
            return {(user, place): policy.failures - _lasting(self._of_both.get((user, place)), now, policy.seconds)}
        of_source = policy.failures - _lasting(self._of_source.get(place), now, policy.seconds)
        if not policy.user_failures:
            return {place: of_source}
        # The key of a user stands in a tuple: a user may be called as a source is.
        of_user = policy.user_failures - _lasting(self._named(user).get(user), now, policy.memory)
        return {place: of_source, (user,): of_user}

    def locked(self, host: str, user: str | None, now: float, flow: str = "") -> bool:
        """Return whether the source of `host` has to wait; never the very `flow` on which `user` has signed in before.

        At a known source of `user` only wrong passwords for that user count.
        """
        place = source_of(host)
        is_known = user is not None and self._knows(user, place)
        wrong = self._of_both.get((user or "", place)) if is_known else self._of_source.get(place)
        count, last = wrong or (0, 0.0)
        if count < self.policy.failures or not _lasts(last, now, self.policy.seconds):
            return False
        return user is None or not flow or not self._knows(user, flow)

    def wait(self, host: str, user: str, now: float) -> float:
        """Return the seconds until a password of `user` may be tried from `host`, 0 for now.

        Each wrong password beyond `user_failures` doubles the wait. Sources that `user` has signed in from never wait.
        """
        policy = self.policy
        count, last = self._named(user).get(user, (0, 0.0))
        beyond = count - policy.user_failures
        if not policy.user_failures or beyond < 0 or self._knows(user, source_of(host)):
            return 0.0
        delay = min(policy.delay * 2.0 ** min(beyond, 32), policy.longest_delay)
        return last + delay - now if _lasts(last, now, delay) else 0.0

    def failed(self, host: str, user: str, now: float) -> None:
        """Count a wrong password for `user` from `host`."""
        place = source_of(host)
        self._count(self._of_source, place, now, self.policy.seconds)
        self._count(self._named(user), user, now, self.policy.memory)
        self._count(self._of_both, (user, place), now, self.policy.seconds)

    def _knows(self, user: str, place: str) -> bool:
        return place in self._known.get(user, ())

    def _named(self, user: str) -> OrderedDict[str, tuple[int, float]]:
        return self._of_user if self._is_user(user) else self._of_nobody

    def _count(self, table: OrderedDict[K, tuple[int, float]], key: K, now: float, memory: float) -> None:
        count, last = table.get(key, (0, 0.0))
        self._keep(table, key, (count + 1 if _lasts(last, now, memory) else 1, now))

    def succeeded(self, host: str, user: str, flow: str = "") -> None:
        """Remember that `user` has signed in from there.

        That forgives nothing, or an account of one's own would buy guesses.
        """
        places = self._known.get(user, OrderedDict())
        self._keep(self._known, user, places)
        for place in (flow, source_of(host)):
            if place:
                places[place] = None
                places.move_to_end(place)
        while len(places) > self.policy.places:
            places.popitem(last=False)

    def _keep(self, table: OrderedDict[K, V], key: K, value: V) -> None:
        table[key] = value
        table.move_to_end(key)
        if len(table) > self.policy.remembered:
            table.popitem(last=False)


def _lasting(counted: tuple[int, float] | None, now: float, seconds: float) -> int:
    """Return a count of wrong passwords, 0 once none has come for so long."""
    count, last = counted or (0, 0.0)
    return count if _lasts(last, now, seconds) else 0


def _lasts(since: float, now: float, seconds: float) -> bool:
    """Return whether a time is not over; one that began later than now did so before the clock was set back."""
    return 0 <= now - since < seconds
