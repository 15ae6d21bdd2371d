"""Presence of users, composed from pages, phones, publications, own settings and calls (RFC 3856, 4480)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from gateway.people.board import Board


class Activity(Enum):
    """Activity shown to watchers; values are the words of front ends."""

    AVAILABLE = "available"
    AWAY = "away"
    BUSY = "busy"
    ON_THE_PHONE = "on-the-phone"
    OFFLINE = "offline"


_BUSIEST = (Activity.ON_THE_PHONE, Activity.BUSY, Activity.AWAY, Activity.AVAILABLE)
SETTABLE = (Activity.AVAILABLE, Activity.AWAY, Activity.BUSY)
"""Activities a user may set."""


@dataclass(frozen=True, slots=True)
class PresenceState:
    """Presence as shown to watchers."""

    activity: Activity = Activity.OFFLINE
    note: str = ""
    """Free text of the user."""

    @property
    def is_open(self) -> bool:
        """True if calls or messages can reach the user (basic status, RFC 3863)."""
        return self.activity is not Activity.OFFLINE


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sources:
    """Inputs of a user's presence."""

    has_page: bool = False
    has_phone: bool = False
    in_call: bool = False
    wants_peace: bool = False
    said: PresenceState | None = None
    published: Mapping[str, PresenceState] = field(default_factory=dict)
    """Published states by publication name."""

    @property
    def state(self) -> PresenceState:
        published = tuple(self.published.values())
        # Published state takes precedence over mere registration.
        has_phone = any(one.is_open for one in published) if published else self.has_phone
        if not self.has_page and not has_phone and not self.in_call:
            return PresenceState()
        note = next((one.note for one in (self.said, *published) if one is not None and one.note), "")
        if self.in_call:
            return PresenceState(Activity.ON_THE_PHONE, note)
        if self.wants_peace:
            return PresenceState(Activity.BUSY, note)
        if self.said is not None:
            return PresenceState(self.said.activity, note)
        for activity in (Activity.ON_THE_PHONE, Activity.BUSY, Activity.AWAY):
            if any(one.activity is activity for one in published):
                return PresenceState(activity, note)
        return PresenceState(Activity.AVAILABLE, note)


_NOBODY = PresenceState()


class Presences:
    """Presence of every user; `board` has the watchers."""

    def __init__(self) -> None:
        self.board: Board[PresenceState] = Board(PresenceState())
        self._sources: dict[str, _Sources] = {}
        self._elsewhere: dict[str, dict[str, PresenceState]] = {}
        """States reported by remote gateways, by user and node."""
        self.watched_elsewhere: frozenset[str] = frozenset()
        """Users with watchers on remote gateways."""

    def is_watched(self, user: str) -> bool:
        """Return True if `user` has watchers on any gateway."""
        return self.board.is_watched(user) or user in self.watched_elsewhere

    def here(self, user: str) -> PresenceState:
        """Return the state of `user` from local inputs alone."""
        sources = self._sources.get(user)
        return _NOBODY if sources is None else sources.state

    def elsewhere(self, node: str, states: Mapping[str, PresenceState]) -> None:
        """Adopt all states reported by a remote gateway, in place of its earlier report."""
        before = {user: reports[node] for user, reports in self._elsewhere.items() if node in reports}
        for user in [one for one in before.keys() | states.keys() if before.get(one) != states.get(one)]:
            reports = {one: state for one, state in self._elsewhere.get(user, {}).items() if one != node}
            if user in states:
                reports[node] = states[user]
            if reports:
                self._elsewhere[user] = reports
            else:
                del self._elsewhere[user]
            self.board.set(user, self._composed(user))

    def page(self, user: str, has_page: bool) -> None:
        """Set the presence of open pages; the user's own setting ends with the last page."""
        sources = self._of(user)
        self._set(user, replace(sources, has_page=has_page, said=sources.said if has_page else None))

    def phone(self, user: str, has_phone: bool) -> None:
        """Set the registration state of the user's phones."""
        self._set(user, replace(self._of(user), has_phone=has_phone))

    def call(self, user: str, in_call: bool) -> None:
        """Set the user's call state."""
        self._set(user, replace(self._of(user), in_call=in_call))

    def disturb(self, user: str, is_welcome: bool) -> None:
        """Set do not disturb: `is_welcome` False turns it on."""
        self._set(user, replace(self._of(user), wants_peace=not is_welcome))

    def say(self, user: str, state: PresenceState | None) -> None:
        """Set the user's own state while a page is open; None returns to the automatic state."""
        sources = self._of(user)
        if sources.has_page:
            self._set(user, replace(sources, said=state))

    def publish(self, user: str, name: str, state: PresenceState | None) -> None:
        """Set a phone's published state by publication name; None removes it."""
        sources = self._of(user)
        published = {one: said for one, said in sources.published.items() if one != name}
        if state is not None:
            published[name] = state
        self._set(user, replace(sources, published=published))

    def _of(self, user: str) -> _Sources:
        return self._sources.get(user, _Sources())

    def _set(self, user: str, sources: _Sources) -> None:
        if sources == _Sources():
            self._sources.pop(user, None)
        else:
            self._sources[user] = sources
        self.board.set(user, self._composed(user))

    def _composed(self, user: str) -> PresenceState:
        """Return the state over all gateways: the busiest activity counts."""
        here = self.here(user)
        states = [one for one in (here, *self._elsewhere.get(user, {}).values()) if one.is_open]
        if not states:
            return here
        note = next((one.note for one in states if one.note), "")
        return PresenceState(min((one.activity for one in states), key=_BUSIEST.index), note)
