"""Whom the peer of a stream sees: one at a time, and who was seen before until that one's key frame has come."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Self

from gateway.media.embedded.plane.protocol import Plane
from gateway.media.embedded.plane.values import Fed
from gateway.media.embedded.routing import fed_types
from sdp import MediaAgreement
from sdp.extensions import ORIENTATION


class Viewer(ABC):
    """One stream as what it is to the others: seen by them, and what its peer sees them by."""

    def __init__(self, plane: Plane, flow: int) -> None:
        self.flow = flow
        self.agreement: MediaAgreement | None = None
        self.heard: Self | None = None
        """Whose picture the peer sees, or is to see from the next key frame on."""
        self.watchers: list[Self] = []
        """Who sees the peer's, those among them who see it until another one's key frame has come."""
        self.waits = False
        """Whether a key frame of who is to be seen has not come yet."""
        self._plane = plane
        self._sources: list[Self] = []
        """Who may be seen now: who was before, and who is to be seen, the last one."""
        self._types: Mapping[int, Fed] = {}
        """How the picture that is fed comes."""

    @property
    @abstractmethod
    def shows(self) -> bool:
        """Whether the peer sends a picture to many."""

    @abstractmethod
    def ask_key_frame(self) -> None:
        """Have the peer send a whole picture."""

    @abstractmethod
    def limit_rate(self) -> None:
        """Tell the peer how much it may send."""

    @abstractmethod
    def have_upright(self) -> None:
        """Have the peer turn its pictures itself where not all who see them do: by an offer without that."""

    @property
    def is_turned_by_others(self) -> bool:
        """Whether the peer says how its pictures lie, for those who see them to turn (3GPP TS 26.114 section 7.4.5)."""
        return self.agreement is not None and ORIENTATION in self.agreement.extensions

    def is_shown(self, shown: Self) -> None:
        """The peer sees the picture of this one alone, which is routed to it."""
        self.heard, self._sources, shown.watchers = shown, [shown], [self]

    def watch(self, shown: Self | None) -> None:
        """Have the peer see this one from its next key frame on, and who was seen until then; None: nobody."""
        mine, theirs = self.agreement, shown.agreement if shown is not None else None
        types = fed_types(theirs, mine) if mine is not None and theirs is not None else {}
        if self.heard is shown and self._types == types:
            return
        if shown is None or any(each is not shown and not each.shows for each in self._sources):
            self._see_nobody()
        self.heard, self._types, self.waits = shown, types, shown is not None
        if shown is not None:
            if shown not in self._sources:
                self._sources.append(shown)
                shown.watchers.append(self)
            self._plane.feed(self.flow, shown.flow, types)
            shown.ask_key_frame()
            shown.limit_rate()
            shown.have_upright()

    def _see_nobody(self) -> None:
        """At once, whoever was waited for."""
        self._plane.feed(self.flow, None, {})
        for each in self._sources:
            each.watchers = [watcher for watcher in each.watchers if watcher is not self]
        self._sources.clear()

    def lose(self, gone: Viewer) -> None:
        """Who may be seen now is gone."""
        if gone is self.heard:
            self.watch(None)
        elif gone in self._sources:
            shown, self.heard = self.heard, None
            self._see_nobody()
            self.watch(shown)

    def fed(self, source: int, now: float) -> None:
        """The key frame of somebody has come: nobody else is seen."""
        if not any(each.flow == source for each in self._sources):
            return
        for each in [each for each in self._sources if each.flow != source and each is not self.heard]:
            self._sources.remove(each)
            each.watchers = [watcher for watcher in each.watchers if watcher is not self]
        if self.heard is not None and self.heard.flow == source:
            self.waits = False

    @property
    def visible(self) -> Self | None:
        """Whose packets the peer gets."""
        return self._sources[0] if self._sources and (not self.waits or len(self._sources) > 1) else None
