"""Media that other gateways have as well: what a gateway asks of it whose calls they may go on with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Protocol

Elsewhere = Callable[[Sequence[str]], Awaitable[Collection[str]]]
"""Those of calls, by their ids, that other gateways have."""


class MediaHandover(Protocol):
    """Another gateway that has the same media can `resume` a call of this one, at any time, and offers nothing anew."""

    waits: Callable[[], bool]
    """Whether it is about to be known whose the calls are: none is changed meanwhile."""
    elsewhere: Elsewhere
    """For `MediaEngine.end_left`, which leaves theirs alone."""

    def go_on(self) -> None:
        """To be called once `waits` says so no more."""

    def leave(self, call_ids: Collection[str]) -> None:
        """Other gateways go on with these: whatever is done with them here from now on changes none of their media."""
