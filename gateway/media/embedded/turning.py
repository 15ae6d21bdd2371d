"""Who turns a party's pictures: itself, or those who see them (3GPP TS 26.114 section 7.4.5)."""

from __future__ import annotations

from collections.abc import Callable

from gateway.media.embedded.plane.values import NEVER
from gateway.media.embedded.wish import OfferWish
from sdp import MediaAgreement
from sdp.extensions import ORIENTATION

_PATIENCE = 30.0
"""Seconds in which nobody has come who cannot turn pictures, after which those who can may leave it to each other."""


class Turning:
    """Of one picture: whether its peer can turn those it sees, whether all do in its room, and what it is offered."""

    def __init__(self, have_offered: Callable[[], None]) -> None:
        """`have_offered` has the peer offered what is wanted now."""
        self.can: int | None = None
        """Identifier by which the peer has last said that it does, also where it is asked for no more."""
        self._tells = True
        """Whether what the peer says next tells that: our offer, if there is one, was with it."""
        self._all_can, self._since = True, NEVER
        self._wish = OfferWish(have_offered)

    @property
    def among(self) -> int | None:
        """Identifier by which the peer is to say how its pictures lie in a room: where all there can turn them."""
        return self.can if self._all_can else None

    def offered(self, with_it: bool) -> None:
        """Our offer says so, or does not ask."""
        self._tells = with_it

    def agree(self, agreement: MediaAgreement) -> None:
        """Take what was agreed."""
        said = agreement.extensions.get(ORIENTATION)
        if said is not None or self._tells:
            self.can = said
        self._tells = True

    def room(self, all_can: bool, now: float) -> None:
        """Whether all can in its room who see a picture there."""
        if all_can is not self._all_can:
            self._all_can, self._since = all_can, now
            self._wish.anew()

    def look(self, wanted: int | None, now: float, *, has: bool) -> None:
        """Have the peer offered what is wanted where it has something else: to turn its own at once."""
        if (wanted is not None) is has:
            self._wish.had()
        elif has or now - self._since >= _PATIENCE:
            self._wish.want(now)
