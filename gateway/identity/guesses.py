"""Limits on wrong passwords: per source, and per user from all sources together."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from heapq import nlargest
from itertools import islice
from pathlib import Path
from typing import TypeVar

from gateway.errors import GatewayError
from gateway.identity.kept_guesses import Count, Counted, GuessFile
from gateway.identity.turns import Room, Turns
from gateway.sources import source_of

_KEPT, _KEPT_PLACES = 2_000, 8
"""Counts of each kind, those with the most wrong passwords, and sources of each user that a restart leaves."""
_CONNECTIONS = ("tcp:", "tls:", "ws:", "wss:")
"""Flows that end with their process."""

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class LockOut:
    """Limits on wrong passwords of one source, and for one user from all sources. Times in seconds."""

    failures: int = 10
    """Wrong passwords of one source before a wait."""
    seconds: float = 60.0
    """Wait of the source after its last wrong password."""
    user_failures: int = 10
    """Wrong passwords for one user before sources without an earlier sign-in of the user must wait; 0 for no limit."""
    delay: float = 1.0
    """First wait for the user, doubled with each further wrong password."""
    longest_delay: float = 300.0
    """Longest wait for the user."""
    memory: float = 3_600.0
    """Time without wrong passwords after which those for a user are forgotten."""
    remembered: int = 10_000
    """Entries kept of each kind; the oldest is dropped first."""
    places: int = 64
    """Sources and flows kept per signed-in user."""


class TooManyGuesses(GatewayError):
    """Password attempt rejected; `wait`: seconds if limited by user, 0 if limited by source."""

    def __init__(self, wait: float = 0.0) -> None:
        super().__init__("too many wrong passwords")
        self.wait = wait


class Guesses:
    """Bounded counts of wrong passwords, and the known sources of each user.

    Guesses of a user's password delay only sources without an earlier sign-in of the user.
    """

    def __init__(self, policy: LockOut, is_user: Callable[[str], bool] = bool) -> None:
        """`is_user`: returns True for names of users; by default every name except ""."""
        self.policy = policy
        """Limits in force, replaced at a reload."""
        self._is_user = is_user
        self._of_source: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._of_user: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._of_nobody: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """Counts of unknown names: treated alike toward a guesser, but kept apart so that they only displace each
        other."""
        self._of_both: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()
        self._known: OrderedDict[str, OrderedDict[str, None]] = OrderedDict()
        """Sources and flows of each signed-in user."""
        self._turns = Turns()
        self._file: GuessFile | None = None

    def keep_in(self, path: Path, clock: Callable[[], float], wall_clock: Callable[[], float]) -> None:
        """Continue the counts of the previous process, and keep them in its file.

        `clock` is the clock of the counts; `wall_clock` gives Unix seconds.
        """
        file = GuessFile(path, clock, wall_clock)
        found = file.read()
        for one in sorted(found.counts, key=lambda one: one.last):
            counted = (one.wrong, one.last)
            if not one.source:
                self._keep(self._of_user, one.user, counted)
            elif one.user:
                self._keep(self._of_both, (one.user, one.source), counted)
            else:
                self._keep(self._of_source, one.source, counted)
        for user, places in (found.sources or {}).items():
            self._keep(self._known, user, OrderedDict.fromkeys(places[-_KEPT_PLACES:]))
        file.begin(self._counted)
        self._file = file

    async def written(self) -> None:
        """Wait until the latest count is in its file."""
        if self._file is not None:
            await self._file.written()

    def _changed(self) -> None:
        if self._file is not None:
            self._file.changed()

    def _counted(self) -> Counted:
        known_pairs = {key: value for key, value in self._of_both.items() if self._knows(*key)}
        counts = (
            *(Count("", place, *value) for place, value in _most(self._of_source)),
            *(Count(user, "", *value) for user, value in _most(self._of_user)),
            *(Count(user, place, *value) for (user, place), value in _most(known_pairs)),
        )
        return Counted(counts, {user: tuple(_latest(places)) for user, places in self._known.items()})

    def turn(
        self, host: str, user: str, clock: Callable[[], float], flow: str = ""
    ) -> AbstractAsyncContextManager[None]:
        """Hold a password attempt for `user` during its check; the attempt counts from its start.

        An attempt beyond the limit waits for the outcomes of earlier ones. Entering raises TooManyGuesses if none is
        allowed.
        """
        return self._turns.turn(lambda: self._room(host, user, clock(), flow))

    def _room(self, host: str, user: str, now: float, flow: str) -> Room:
        """Return the wrong passwords still allowed, by source and by user; raise TooManyGuesses."""
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
        # The key of a user is a tuple, as a user may be named like a source.
        of_user = policy.user_failures - _lasting(self._named(user).get(user), now, policy.memory)
        return {place: of_source, (user,): of_user}

    def locked(self, host: str, user: str | None, now: float, flow: str = "") -> bool:
        """Return True if the source of `host` must wait; never for a `flow` on which `user` has signed in.

        At a known source of `user` only wrong passwords for the user count.
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

        Each wrong password beyond `user_failures` doubles the wait. Known sources of `user` never wait.
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
        self._changed()

    def _knows(self, user: str, place: str) -> bool:
        return place in self._known.get(user, ())

    def _named(self, user: str) -> OrderedDict[str, tuple[int, float]]:
        return self._of_user if self._is_user(user) else self._of_nobody

    def _count(self, table: OrderedDict[K, tuple[int, float]], key: K, now: float, memory: float) -> None:
        count, last = table.get(key, (0, 0.0))
        self._keep(table, key, (count + 1 if _lasts(last, now, memory) else 1, now))

    def succeeded(self, host: str, user: str, flow: str = "") -> None:
        """Record a sign-in of `user` as a known source.

        Failures are not reset, or an attacker's own account would buy further guesses.
        """
        places = self._known.get(user, OrderedDict())
        self._keep(self._known, user, places)
        for place in (flow, source_of(host)):
            if place:
                if place not in places and not place.startswith(_CONNECTIONS):
                    self._changed()
                places[place] = None
                places.move_to_end(place)
        while len(places) > self.policy.places:
            places.popitem(last=False)

    def _keep(self, table: OrderedDict[K, V], key: K, value: V) -> None:
        table[key] = value
        table.move_to_end(key)
        if len(table) > self.policy.remembered:
            table.popitem(last=False)


def _most(table: Mapping[K, tuple[int, float]]) -> list[tuple[K, tuple[int, float]]]:
    return nlargest(_KEPT, table.items(), key=lambda item: item[1])


def _latest(places: OrderedDict[str, None]) -> list[str]:
    lasting = (place for place in reversed(places) if not place.startswith(_CONNECTIONS))
    return list(islice(lasting, _KEPT_PLACES))[::-1]


def _lasting(counted: tuple[int, float] | None, now: float, seconds: float) -> int:
    """Return the count of wrong passwords, 0 once older than `seconds`."""
    count, last = counted or (0, 0.0)
    return count if _lasts(last, now, seconds) else 0


def _lasts(since: float, now: float, seconds: float) -> bool:
    """Return True within `seconds` of `since`; a future `since` is from before the clock was set back, and is over."""
    return 0 <= now - since < seconds
