"""Which web users have a page open."""

from __future__ import annotations

from typing import cast

from gateway.app.presence import Presence
from gateway.web.facade import WebChannel


def page() -> WebChannel:
    return cast(WebChannel, object())


def test_pages_ring_in_the_order_they_came() -> None:
    """Each once, however often it says that it is there."""
    presence, first, second = Presence(), page(), page()
    for each in (first, second, first):
        presence.connect("alice", each)
    assert presence.channels("alice") == (first, second)
    assert len(presence) == 1


def test_who_left_is_not_there() -> None:
    """Nor does leaving twice, or leaving unseen, hurt anybody."""
    presence, first, second = Presence(), page(), page()
    presence.connect("alice", first)
    presence.disconnect("alice", second)
    presence.disconnect("bob", first)
    assert presence.channels("alice") == (first,)
    presence.disconnect("alice", first)
    presence.disconnect("alice", first)
    assert presence.channels("alice") == ()
    assert len(presence) == 0


def test_the_oldest_page_beyond_the_limit_stops_ringing() -> None:
    """One user cannot fill the memory with pages."""
    presence, pages = Presence(limit=3), [page() for _ in range(5)]
    for each in pages:
        presence.connect("alice", each)
    assert presence.channels("alice") == tuple(pages[-3:])
