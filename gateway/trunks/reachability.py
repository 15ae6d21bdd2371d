"""Whether the places of each trunk are there, as their answers to OPTIONS say (RFC 3261 section 11)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import chain

from gateway.trunks.answering import AnsweringPlaces


class State(Enum):
    """What is known of a place."""

    UNKNOWN = "unknown"
    """Not asked, or not answered yet."""
    REACHABLE = "reachable"
    UNREACHABLE = "unreachable"


_SILENCE = frozenset((408, 503))
"""Nobody answered, or who did is out of order; whatever else is answered, somebody is there."""


@dataclass(frozen=True, slots=True)
class Change:
    """A trunk that is there now and was not, or the other way round."""

    trunk: str
    state: State


class Reachability:
    """The places of all trunks by name and URI."""

    def __init__(self, answering: AnsweringPlaces | None = None) -> None:
        """`answering`: the places that have answered an OPTIONS of this process or of one before."""
        self._answering = answering or AnsweringPlaces()
        self._places: dict[str, dict[str, State]] = {}
        self._nameless: set[tuple[str, str]] = set()
        self._followers: list[Callable[[str, bool], None]] = []
        self._doubters: list[Callable[[str], None]] = []

    def follow(self, lost: Callable[[str, bool], None]) -> None:
        """Have `lost` called with a trunk's name: True once it was there and is not, False once it is back.

        A trunk that has never answered an OPTIONS, of no process, is not lost: some answer none.
        """
        self._followers.append(lost)

    def follow_doubts(self, doubted: Callable[[str], None]) -> None:
        """Have `doubted` called with the name of a trunk that answers OPTIONS, and did not answer a call."""
        self._doubters.append(doubted)

    def doubt(self, trunk: str) -> None:
        """A call has found the trunk silent, or its connection is gone."""
        if self.of(trunk) is State.REACHABLE:
            for doubted in self._doubters:
                doubted(trunk)

    def _tell(self, trunk: str, *, is_lost: bool) -> None:
        for follower in self._followers:
            follower(trunk, is_lost)

    def answered(self, trunk: str, uri: str, status: int) -> Change | None:
        """An OPTIONS had its outcome; what changes for the trunk as a whole, if anything."""
        before = self.of(trunk)
        places = self._places.setdefault(trunk, {})
        places[uri] = State.UNREACHABLE if status in _SILENCE else State.REACHABLE
        if places[uri] is State.REACHABLE:
            self._answering.add(uri)
        now = self.of(trunk)
        if now is before:
            return None
        is_lost = now is State.UNREACHABLE
        if before is not State.UNKNOWN or (is_lost and any(place in self._answering for place in places)):
            self._tell(trunk, is_lost=is_lost)
        return Change(trunk, now)

    def of(self, trunk: str) -> State:
        """A trunk is there while any place of it is."""
        states = set(self._places.get(trunk, {}).values())
        if State.REACHABLE in states:
            return State.REACHABLE
        return State.UNREACHABLE if states else State.UNKNOWN

    def named(self, trunk: str, uri: str, *, found: bool) -> None:
        """Whether there is an address for the name of a place that does not answer."""
        (self._nameless.discard if found else self._nameless.add)((trunk, uri))

    def is_nameless(self, trunk: str, uri: str) -> bool:
        """Whether DNS has no address for that place."""
        return (trunk, uri) in self._nameless

    def place(self, trunk: str, uri: str) -> State:
        """What is known of one place."""
        return self._places.get(trunk, {}).get(uri, State.UNKNOWN)

    def keep(self, places: Mapping[str, Collection[str]]) -> None:
        """Forget the trunks, and places of them, that are not in `places`."""
        for trunk in self._places:
            if trunk not in places and self.of(trunk) is State.UNREACHABLE:
                self._tell(trunk, is_lost=False)
        self._answering.keep(chain.from_iterable(places.values()))
        self._places = {
            trunk: {uri: state for uri, state in known.items() if uri in places[trunk]}
            for trunk, known in self._places.items()
            if trunk in places
        }
        self._nameless = {(trunk, uri) for trunk, uri in self._nameless if uri in places.get(trunk, ())}

    def in_order(self, trunk: str, uris: Iterable[str]) -> list[str]:
        """Places in the order in which a call asks them: those that do not answer come last, but they come."""
        return sorted(uris, key=lambda uri: self.place(trunk, uri) is State.UNREACHABLE)
