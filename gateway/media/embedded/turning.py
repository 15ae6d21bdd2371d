"""Rotation of a party's video by its sender or by its viewers (3GPP TS 26.114 section 7.4.5)."""

from __future__ import annotations

from collections.abc import Callable

from gateway.media.embedded.plane.values import NEVER
from gateway.media.embedded.wish import OfferWish
from sdp import MediaAgreement
from sdp.extensions import ORIENTATION

_PATIENCE = 30.0
"""Seconds without a change in the viewers' support, after which the orientation extension is offered again."""


class Turning:
    """Use of the video orientation extension for one video stream, by the support of peer and viewers."""

    def __init__(self, have_offered: Callable[[], None]) -> None:
        """Start without known support; `have_offered` requests a new offer to the peer."""
        self.can: int | None = None
        """Extension identifier that the peer last accepted, even if no longer offered; None without support."""
        self._tells = True
        """False if our last offer omitted the extension, so that the answer does not show the peer's support."""
        self._all_can, self._since = True, NEVER
        self._wish = OfferWish(have_offered)

    @property
    def among(self) -> int | None:
        """Extension identifier for the peer in a conference; None unless all members can rotate video."""
        return self.can if self._all_can else None

    def offered(self, with_it: bool) -> None:
        """Record if our offer contains the extension."""
        self._tells = with_it

    def agree(self, agreement: MediaAgreement) -> None:
        """Take over the peer's support from an agreement."""
        said = agreement.extensions.get(ORIENTATION)
        if said is not None or self._tells:
            self.can = said
        self._tells = True

    def room(self, all_can: bool, now: float) -> None:
        """Record if all viewers in the conference can rotate video."""
        if all_can is not self._all_can:
            self._all_can, self._since = all_can, now
            self._wish.anew()

    def look(self, wanted: int | None, now: float, *, has: bool) -> None:
        """Request an offer if the extension is `wanted` (identifier or None) but not agreed (`has`), or vice versa.

        An offer without the extension, so that the peer rotates its own video, is immediate; the opposite waits.
        """
        if (wanted is not None) is has:
            self._wish.had()
        elif has or now - self._since >= _PATIENCE:
            self._wish.want(now)
