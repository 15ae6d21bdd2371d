"""A leg moves: out of one call into another, with its media running (attended transfer, RFC 5589 section 7).

`Call.replace` is the other primitive: a leg that has an agreement in the same call's media comes in for another.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.call.call import Call
from gateway.call.leg import Leg


def merge(stays: Call, leaves: Leg, other: Call, comes: Leg, done: Callable[[bool], None] | None = None) -> None:
    """Have `comes`, a leg of `other`, talk in `stays` in the place of `leaves`; the rest of `other` ends.

    `done` hears whether it came to that: False leaves both calls as they were, unless one of them ended meanwhile.
    """
    tell = done or (lambda _: None)

    def moved(adopted: bool) -> None:
        if adopted:
            stays.replace(leaves, comes, tell)
        else:
            tell(False)

    if stays is other:
        tell(False)
    else:
        other.give_away(comes, stays.id, moved)
