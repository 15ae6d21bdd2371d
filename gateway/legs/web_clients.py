"""Which web users have a page open, and what rings for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Protocol
from weakref import WeakSet

from gateway.people.presence import Presences
from gateway.web.facade import PageInbox, WebChannel


class RingingLeg(Protocol):
    """A call for a web user that a page which opens now may answer, too."""

    @property
    def rings(self) -> bool: ...

    def add(self, channel: WebChannel) -> None: ...


class Presence:
    """Channels by user id; a user with several pages has several, in order of arrival."""

    def __init__(self, limit: int = 20, presences: Presences | None = None) -> None:
        """`presences` is told whose page is open."""
        self.changed: Callable[[str, bool], None] = lambda user_id, is_open: None
        """Told of every user whose first page opens, or last one closes."""
        self._channels: dict[str, list[WebChannel]] = {}
        self._ringing: dict[str, WeakSet[RingingLeg]] = {}
        self._inboxes: dict[str, list[PageInbox]] = {}
        self._limit = limit
        self._draining: tuple[float, bool] | None = None
        self.presences = presences

    def ring(self, user_id: str, leg: RingingLeg) -> None:
        """Have every page that `user_id` opens while `leg` rings ring as well: the one that was reloaded, too."""
        self._ringing.setdefault(user_id, WeakSet()).add(leg)

    def connect(self, user_id: str, channel: WebChannel) -> None:
        """Make `user_id` reachable through `channel`; beyond the limit the oldest page stops ringing."""
        channels = self._channels.setdefault(user_id, [])
        if channel in channels:
            return
        channels.append(channel)
        if self._draining is not None:
            asyncio.get_running_loop().call_soon(channel.draining, *self._draining)
        self._show(user_id)
        del channels[: -self._limit]
        for leg in self._ringing.pop(user_id, ()):
            if leg.rings:
                self.ring(user_id, leg)
                # The page first hears that it is signed in.
                asyncio.get_running_loop().call_soon(leg.add, channel)

    def disconnect(self, user_id: str, channel: WebChannel) -> None:
        channels = self._channels.get(user_id, [])
        if channel in channels:
            channels.remove(channel)
        if not channels:
            self._channels.pop(user_id, None)
            self._show(user_id)

    def _show(self, user_id: str) -> None:
        self.changed(user_id, user_id in self._channels)
        if self.presences is not None:
            self.presences.page(user_id, user_id in self._channels)

    def attend(self, user_id: str, inbox: PageInbox) -> None:
        """A page of `user_id` takes messages; beyond the limit the oldest gets no more."""
        inboxes = self._inboxes.setdefault(user_id, [])
        inboxes.append(inbox)
        del inboxes[: -self._limit]

    def attending(self) -> Collection[str]:
        """Users with a page that takes messages."""
        return self._inboxes.keys()

    def leave(self, user_id: str, inbox: PageInbox) -> None:
        """It takes no more."""
        inboxes = self._inboxes.get(user_id, [])
        if inbox in inboxes:
            inboxes.remove(inbox)
        if not inboxes:
            self._inboxes.pop(user_id, None)

    def inboxes(self, user_id: str) -> tuple[PageInbox, ...]:
        return tuple(self._inboxes.get(user_id, ()))

    def channels(self, user_id: str) -> tuple[WebChannel, ...]:
        return tuple(self._channels.get(user_id, ()))

    def drain(self, seconds: float, elsewhere: bool) -> None:
        """Tell every page that is open, and where there is another gateway those that come, too (`draining`)."""
        self._draining = (seconds, elsewhere) if elsewhere else None
        for channel in [channel for channels in self._channels.values() for channel in channels]:
            channel.draining(seconds, elsewhere)

    def __len__(self) -> int:
        return len(self._channels)
