"""Codec level that a party may send video with: the level of the viewer, or the lowest level in a conference."""

from __future__ import annotations

import operator
from collections.abc import Callable

from gateway.media.embedded.plane.values import NEVER
from gateway.media.embedded.wish import OfferWish
from sdp import Codec, MediaAgreement
from sdp.levels import Limit, Limits, all_take, limit_of, limited, limits_of
from sdp.negotiation import Side

_PATIENCE = 30.0
"""Seconds without a further change of viewers' limits before a party is offered a higher limit again."""


class SendLevel:
    """Level limits of one video stream: the peer's, the viewers', and the limits offered (RFC 6184 section 8.2.2)."""

    def __init__(self, have_offered: Callable[[], None]) -> None:
        """Start without limits; `have_offered` requests a new offer to the peer."""
        self.takes: Limits = {}
        """Limits on received video that the peer has signalled."""
        self.wanted: tuple[Codec, ...] = ()
        """Codecs to offer to the peer, with limits for sending."""
        self._told: tuple[Codec, ...] = ()
        self._room: Limits = {}
        self._viewer: object | None = None
        """Only viewer of the stream; None for a conference or without a viewer."""
        self.may_rise = False
        """True if limits may rise: they may stem from a conference, an earlier viewer or a lost transport."""
        self._since = NEVER
        self._wish = OfferWish(have_offered)

    def agree(self, agreement: MediaAgreement, side: Side) -> None:
        """Take over the limits of an agreement; `side` is our side of the exchange."""
        said, told, before = limits_of(agreement.send), limits_of(agreement.receive), self.takes
        if side == "offerer":
            # An answer that echoes our offered limit does not lower the peer's limit. Peers without level asymmetry
            # echo, and so does Asterisk: the lesser limit for VP8, a copy of H.264's parameters. Otherwise two such
            # peers, once offered less for a third party, would each keep the lower limit for the rest of the call.
            # A peer whose real limit equals the echo is believed as soon as the peer offers the limit itself.
            repeated = [key for key, limit in said.items() if limit == told.get(key) and _less(limit, before.get(key))]
            said = {**said, **{key: before[key] for key in repeated}}
        self.takes, self._told = said, agreement.receive
        self._decide()

    def room(self, takes: Limits, now: float) -> None:
        """Take the limits that all viewers in the conference have signalled together."""
        self._see(None, takes, now)

    def beside(self, viewer: object, takes: Limits, now: float) -> None:
        """Take the limits of `viewer`, the only viewer."""
        self._see(viewer, takes, now)

    def _see(self, viewer: object | None, takes: Limits, now: float) -> None:
        if viewer is not self._viewer or takes != self._room:
            self.may_rise = self.may_rise or viewer is None or viewer is not self._viewer is not None
            self._viewer, self._room, self._since = viewer, takes, now
            self._wish.had()
            self._decide()
        self.look(now)

    def _decide(self) -> None:
        # In a conference the peer's own limits count too, so that all members receive the same limits.
        limits = all_take((self.takes, self._room)) if self._viewer is None else self._room
        self.wanted = tuple([limited(codec, limits) for codec in self._told])

    def look(self, now: float) -> None:
        """Request an offer if the wanted limits differ from the agreed limits: lower at once, higher after a wait."""
        if self.wanted == self._told:
            self._wish.had()
        elif self._is_less() or (self.may_rise and now - self._since >= _PATIENCE):
            self._wish.want(now)

    def _is_less(self) -> bool:
        return any(_less(limit_of(new), limit_of(old)) for new, old in zip(self.wanted, self._told, strict=True))


def _less(new: Limit | None, old: Limit | None) -> bool:
    """Return True if any part of `new` is lower; False if either is unknown."""
    return new is not None and old is not None and any(map(operator.lt, new, old))
