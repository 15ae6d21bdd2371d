"""An offer that a peer is to be made, again where nothing came of it."""

from __future__ import annotations

from collections.abc import Callable

from gateway.media.embedded.plane.values import NEVER

_AGAIN, _MOST = 5.0, 3
"""Seconds after which what a peer has not taken is offered it again, and how often."""


class OfferWish:
    """One thing that a peer is to be offered."""

    def __init__(self, have_offered: Callable[[], None]) -> None:
        """`have_offered` has the peer offered what is wanted now."""
        self._have_offered = have_offered
        self._at, self._times = NEVER, 0

    def anew(self) -> None:
        """Another thing is wanted, at once."""
        self._at, self._times = NEVER, 0

    def had(self) -> None:
        """It was had meanwhile: how often it was offered counts no more."""
        self._times = 0

    def want(self, now: float) -> None:
        """Have it offered, unless it was lately, or as often as it may be."""
        if now - self._at >= _AGAIN and self._times < _MOST:
            self._at = now
            self._times += 1
            self._have_offered()
