"""How large a party may send its pictures: as large as whoever sees them takes, of a room the slowest."""

from __future__ import annotations

import operator
from collections.abc import Callable

from gateway.media.embedded.plane.values import NEVER
from gateway.media.embedded.wish import OfferWish
from sdp import Codec, MediaAgreement
from sdp.levels import Limit, Limits, all_take, limit_of, limited, limits_of
from sdp.negotiation import Side

_PATIENCE = 30.0
"""Seconds in which nobody slower has come, after which a party is told that it may send more again."""


class SendLevel:
    """Of one picture: what its peer takes, what its room does, and what it is told (RFC 6184 section 8.2.2)."""

    def __init__(self, have_offered: Callable[[], None]) -> None:
        """`have_offered` has the peer offered what is wanted now."""
        self.takes: Limits = {}
        """What the peer takes of whomever it sees, as far as it has said."""
        self.wanted: tuple[Codec, ...] = ()
        """What the peer is to be told that it may send: what it takes itself, or less."""
        self._told: tuple[Codec, ...] = ()
        self._room: Limits = {}
        self._viewer: object | None = None
        """Who alone sees it; None: nobody, or a room."""
        self.may_rise = False
        """Whether others have seen it before, also over a transport that is gone: what it was told was for them."""
        self._since = NEVER
        self._wish = OfferWish(have_offered)

    def agree(self, agreement: MediaAgreement, side: Side) -> None:
        """Take what was agreed."""
        said, told, before = limits_of(agreement.send), limits_of(agreement.receive), self.takes
        if side == "offerer":
            # An answer that repeats our offer takes nothing back: so does who allows no other level for what it sends,
            # and Asterisk, which answers the lesser of both for VP8 and copies H.264's parameters, asymmetry and all.
            # Two such sides, once offered less for a third, would each be told the other's echo for the rest of the
            # call. Whose bound has become the very one that it is offered is believed once it offers that itself.
            repeated = [key for key, limit in said.items() if limit == told.get(key) and _less(limit, before.get(key))]
            said = {**said, **{key: before[key] for key in repeated}}
        self.takes, self._told = said, agreement.receive
        self._decide()

    def room(self, takes: Limits, now: float) -> None:
        """What all take who see a picture in its room, as far as they have said."""
        self._see(None, takes, now)

    def beside(self, viewer: object, takes: Limits, now: float) -> None:
        """What `viewer` takes, who alone sees it now."""
        self._see(viewer, takes, now)

    def _see(self, viewer: object | None, takes: Limits, now: float) -> None:
        if viewer is not self._viewer or takes != self._room:
            self.may_rise = self.may_rise or viewer is None or viewer is not self._viewer is not None
            self._viewer, self._room, self._since = viewer, takes, now
            self._wish.had()
            self._decide()
        self.look(now)

    def _decide(self) -> None:
        # What it takes itself is told to it in a room, where all are told the same.
        limits = all_take((self.takes, self._room)) if self._viewer is None else self._room
        self.wanted = tuple([limited(codec, limits) for codec in self._told])

    def look(self, now: float) -> None:
        """Have the peer offered what is wanted where it was told something else: less at once."""
        if self.wanted == self._told:
            self._wish.had()
        elif self._is_less() or (self.may_rise and now - self._since >= _PATIENCE):
            self._wish.want(now)

    def _is_less(self) -> bool:
        """Whether less is wanted of anything."""
        return any(_less(limit_of(new), limit_of(old)) for new, old in zip(self.wanted, self._told, strict=True))


def _less(new: Limit | None, old: Limit | None) -> bool:
    """Whether it is less of anything."""
    return new is not None and old is not None and any(map(operator.lt, new, old))
