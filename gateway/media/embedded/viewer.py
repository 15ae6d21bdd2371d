"""Selection of the video that a peer receives; the previous video continues until the next video's key frame."""

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
    """Video stream as viewer of one other stream, and as source for any number of viewers."""

    def __init__(self, plane: Plane, flow: int) -> None:
        self.flow = flow
        self.agreement: MediaAgreement | None = None
        self.heard: Self | None = None
        """Source of the video that the peer receives, or will receive from the next key frame on."""
        self.watchers: list[Self] = []
        """Streams whose peers receive the video, including viewers about to switch to a different source."""
        self.waits = False
        """True until the key frame of a newly selected source arrives."""
        self._plane = plane
        self._sources: list[Self] = []
        """Sources that the plane may forward at present: previous sources, and last the selected source."""
        self._types: Mapping[int, Fed] = {}
        """Payload types of the selected source."""

    @property
    @abstractmethod
    def shows(self) -> bool:
        """True if the peer sends video in a conference."""

    @abstractmethod
    def ask_key_frame(self) -> None:
        """Request a key frame from the peer."""

    @abstractmethod
    def limit_rate(self) -> None:
        """Limit the peer's bit rate to the lowest limit among viewers."""

    @abstractmethod
    def have_upright(self) -> None:
        """Request an offer without the orientation extension if a viewer lacks support: the peer then rotates."""

    @property
    def is_turned_by_others(self) -> bool:
        """True if the peer signals its video's orientation for viewers to rotate (3GPP TS 26.114 section 7.4.5)."""
        return self.agreement is not None and ORIENTATION in self.agreement.extensions

    def is_shown(self, shown: Self) -> None:
        """Record `shown` as the only source, routed directly to the stream."""
        self.heard, self._sources, shown.watchers = shown, [shown], [self]

    def watch(self, shown: Self | None) -> None:
        """Switch the peer to the video of `shown` at its next key frame; None stops video at once."""
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
        """Stop all sources at once, including a source that waits for a key frame."""
        self._plane.feed(self.flow, None, {})
        for each in self._sources:
            each.watchers = [watcher for watcher in each.watchers if watcher is not self]
        self._sources.clear()

    def lose(self, gone: Viewer) -> None:
        """Stop receiving from a source that is gone."""
        if gone is self.heard:
            self.watch(None)
        elif gone in self._sources:
            shown, self.heard = self.heard, None
            self._see_nobody()
            self.watch(shown)

    def fed(self, source: int, now: float) -> None:
        """Drop all earlier sources, because the key frame of `source`, a flow, has arrived."""
        if not any(each.flow == source for each in self._sources):
            return
        for each in [each for each in self._sources if each.flow != source and each is not self.heard]:
            self._sources.remove(each)
            each.watchers = [watcher for watcher in each.watchers if watcher is not self]
        if self.heard is not None and self.heard.flow == source:
            self.waits = False

    @property
    def visible(self) -> Self | None:
        """Source whose packets the peer receives at present; None without a source or before the first key frame."""
        return self._sources[0] if self._sources and (not self.waits or len(self._sources) > 1) else None
