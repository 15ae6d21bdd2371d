"""Which web users have a page open."""

from __future__ import annotations

import asyncio
from typing import cast

from gateway.legs.web_clients import Presence
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


class Leg:
    """A call that rings on every page it is given."""

    def __init__(self) -> None:
        self.rings = True
        self.pages: list[WebChannel] = []

    def add(self, channel: WebChannel) -> None:
        self.pages.append(channel)


async def test_a_page_that_opens_while_it_rings_rings_too() -> None:
    """Also the one that was reloaded; not after the call was answered, and not for somebody else."""
    presence, leg, first, second = Presence(), Leg(), page(), page()
    presence.ring("alice", leg)
    presence.connect("bob", page())
    presence.connect("alice", first)
    presence.connect("alice", first)
    assert leg.pages == [], "the page hears first that it is signed in"
    await asyncio.sleep(0)
    presence.connect("alice", second)
    await asyncio.sleep(0)
    assert leg.pages == [first, second]
    leg.rings = False
    presence.connect("alice", page())
    await asyncio.sleep(0)
    assert leg.pages == [first, second]


class Page:
    """A page that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[float, bool]] = []

    def draining(self, seconds: float, elsewhere: bool) -> None:
        self.told.append((seconds, elsewhere))


async def test_a_page_that_opens_at_a_gateway_that_drains_is_told_too() -> None:
    """Whoever shares pages out may not have seen it yet."""
    presence, first, second = Presence(), Page(), Page()
    presence.connect("alice", cast(WebChannel, first))
    presence.drain(60.0, True)
    assert first.told == [(60.0, True)]
    presence.connect("alice", cast(WebChannel, second))
    await asyncio.sleep(0)
    assert (first.told, second.told) == ([(60.0, True)], [(60.0, True)])
    presence.drain(60.0, False)
    last = Page()
    presence.connect("alice", cast(WebChannel, last))
    await asyncio.sleep(0)
    assert (second.told[1:], last.told) == ([(60.0, False)], [])
