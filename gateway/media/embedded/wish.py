"""Repeated requests for an offer to a peer until the peer accepts."""

from __future__ import annotations

from collections.abc import Callable

from gateway.media.embedded.plane.values import NEVER

_AGAIN, _MOST = 5.0, 3
"""Seconds before an offer without effect is repeated, and maximum number of offers."""


class OfferWish:
    """Pending change that a peer must be offered."""

    def __init__(self, have_offered: Callable[[], None]) -> None:
        """Start without a wish; `have_offered` requests a new offer to the peer."""
        self._have_offered = have_offered
        self._at, self._times = NEVER, 0

    def anew(self) -> None:
        """Restart for a different change, without delay."""
        self._at, self._times = NEVER, 0

    def had(self) -> None:
        """Reset the count of offers, because the peer has accepted."""
        self._times = 0

    def want(self, now: float) -> None:
        """Request an offer unless the last request is too recent or the maximum is reached; `now` in seconds."""
        if now - self._at >= _AGAIN and self._times < _MOST:
            self._at = now
            self._times += 1
            self._have_offered()
