"""Whether a user is there, composed of pages, phones, what they publish and say, and their calls (RFC 3856, 4480)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from gateway.people.board import Board


class Activity(Enum):
    """What others see of a user; the values are the words of front ends."""

    AVAILABLE = "available"
    AWAY = "away"
    BUSY = "busy"
    ON_THE_PHONE = "on-the-phone"
    OFFLINE = "offline"


_BUSIEST = (Activity.ON_THE_PHONE, Activity.BUSY, Activity.AWAY, Activity.AVAILABLE)
SETTABLE = (Activity.AVAILABLE, Activity.AWAY, Activity.BUSY)
"""What a user may say of itself."""


@dataclass(frozen=True, slots=True)
class PresenceState:
    """What others see."""

    activity: Activity = Activity.OFFLINE
    note: str = ""
    """A few words of the user's own."""

    @property
    def is_open(self) -> bool:
        """Whether a call or a message would reach anybody (the basic status of RFC 3863)."""
        return self.activity is not Activity.OFFLINE


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sources:
    """What the state of one user is made of."""

    has_page: bool = False
    has_phone: bool = False
    in_call: bool = False
    wants_peace: bool = False
    said: PresenceState | None = None
    published: Mapping[str, PresenceState] = field(default_factory=dict)
    """By the name of the publication."""

    @property
    def state(self) -> PresenceState:
        published = tuple(self.published.values())
        # What a phone says of itself counts more than that it is registered.
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
    """The state of every user; `board` tells who watches."""

    def __init__(self) -> None:
        self.board: Board[PresenceState] = Board(PresenceState())
        self._sources: dict[str, _Sources] = {}
        self._elsewhere: dict[str, dict[str, PresenceState]] = {}
        """By user, what each other gateway says of whom."""
        self.watched_elsewhere: frozenset[str] = frozenset()
        """Users whom somebody watches at another gateway."""

    def is_watched(self, user: str) -> bool:
        """Whether anybody would be told of `user`, here or elsewhere."""
        return self.board.is_watched(user) or user in self.watched_elsewhere

    def here(self, user: str) -> PresenceState:
        """How `user` stands as far as this gateway knows by itself."""
        sources = self._sources.get(user)
        return _NOBODY if sources is None else sources.state

    def elsewhere(self, node: str, states: Mapping[str, PresenceState]) -> None:
        """What another gateway says now, of all whom it says anything of."""
        before = {user: said[node] for user, said in self._elsewhere.items() if node in said}
        for user in [one for one in before.keys() | states.keys() if before.get(one) != states.get(one)]:
            said = {one: state for one, state in self._elsewhere.get(user, {}).items() if one != node}
            if user in states:
                said[node] = states[user]
            if said:
                self._elsewhere[user] = said
            else:
                del self._elsewhere[user]
            self.board.set(user, self._composed(user))

    def page(self, user: str, has_page: bool) -> None:
        """Whether a page of `user` is open. What was said on it ends with the last one."""
        sources = self._of(user)
        self._set(user, replace(sources, has_page=has_page, said=sources.said if has_page else None))

    def phone(self, user: str, has_phone: bool) -> None:
        """Whether a phone of `user` is registered."""
        self._set(user, replace(self._of(user), has_phone=has_phone))

    def call(self, user: str, in_call: bool) -> None:
        """Whether `user` talks with somebody."""
        self._set(user, replace(self._of(user), in_call=in_call))

    def disturb(self, user: str, is_welcome: bool) -> None:
        """Whether calls for `user` are let through, or "do not disturb" is set."""
        self._set(user, replace(self._of(user), wants_peace=not is_welcome))

    def say(self, user: str, state: PresenceState | None) -> None:
        """What `user` wants others to see while a page is open; None: what is found out."""
        sources = self._of(user)
        if sources.has_page:
            self._set(user, replace(sources, said=state))

    def publish(self, user: str, name: str, state: PresenceState | None) -> None:
        """What a phone publishes under that name; None: it does no more."""
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
        """What all gateways say together: the busiest counts."""
        here = self.here(user)
        said = [one for one in (here, *self._elsewhere.get(user, {}).values()) if one.is_open]
        if not said:
            return here
        note = next((one.note for one in said if one.note), "")
        return PresenceState(min((one.activity for one in said), key=_BUSIEST.index), note)
