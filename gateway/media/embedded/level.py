"""How large a party of a room may send its pictures: as large as the slowest who sees one there takes."""

from __future__ import annotations

import operator
from collections.abc import Callable

from gateway.media.embedded.plane.values import NEVER
from gateway.media.embedded.wish import OfferWish
from sdp import Codec, MediaAgreement
from sdp.levels import Limits, all_take, limit_of, limited, limits_of
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
        self._since = NEVER
        self._wish = OfferWish(have_offered)

    def agree(self, agreement: MediaAgreement, side: Side) -> None:
        """Take what was agreed."""
        # Who allows no other level for what it sends answers with the one it was offered, which says less of it.
        if side == "answerer" or not self.takes:
            self.takes = limits_of(agreement.send)
        self._told = agreement.receive
        self._decide()

    def room(self, takes: Limits, now: float) -> None:
        """What all take who see a picture in its room, as far as they have said."""
        if takes != self._room:
            self._room, self._since = takes, now
            self._wish.anew()
            self._decide()
        self.look(now)

    def _decide(self) -> None:
        limits = all_take((self.takes, self._room))
        self.wanted = tuple([limited(codec, limits) for codec in self._told])

    def look(self, now: float) -> None:
        """Have the peer offered what is wanted where it was told something else: less at once."""
        if self.wanted == self._told:
            self._wish.had()
        elif now - self._since >= _PATIENCE or self._is_less():
            self._wish.want(now)

    def _is_less(self) -> bool:
        """Whether less is wanted of anything."""
        both = [(limit_of(new), limit_of(old)) for new, old in zip(self.wanted, self._told, strict=True)]
        return any(new and old and any(map(operator.lt, new, old)) for new, old in both)
