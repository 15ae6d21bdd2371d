"""By which flow each device of a callee is asked, and by which next (RFC 5626 section 7)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache
from ipaddress import ip_address

from gateway.legs.sip_sessions import Destination
from gateway.sip.errors import SipError
from gateway.sip.flow import Flow
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.uri import Uri

FLOW_FAILED = 430
PLACE_FAILED = frozenset((408, FLOW_FAILED, 500, 502, 503, 504))
"""Answers at which a request that is no INVITE goes to the next place of a trunk; others are said of the person."""
_SECURE = frozenset(("tls", "wss"))
_NOT_REACHED = frozenset((408, 503))


class DeviceFlows:
    """The destinations of a callee by number. One that has other flows, and another gateway, which says 100 at once, is
    watched until something comes back by it.
    """

    def __init__(self, destinations: Iterable[Destination], timeout: float) -> None:
        """`timeout`: how many seconds a destination that is watched is given for any response."""
        self._destinations = list(destinations)
        self._timeout = timeout
        self._timers: dict[int, asyncio.TimerHandle] = {}

    def __getitem__(self, number: int) -> Destination:
        return self._destinations[number]

    def asked(self, number: int, late: Callable[[int], None]) -> None:
        """A device was sent an INVITE; `late` is called with its number once its time is over."""
        if self[number].others or self[number].looks_up:
            self._timers[number] = asyncio.get_running_loop().call_later(self._timeout, late, number)

    def advance(self, number: int) -> bool:
        """Go on to the next flow of a device; False where there is none."""
        timer = self._timers.pop(number, None)
        if timer is not None:
            timer.cancel()
        if not self[number].others:
            return False
        first, *others = self[number].others
        self._destinations[number] = replace(first, others=tuple(others))
        return True

    def stop(self) -> None:
        """Watch nobody any more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()


def by_tls(destinations: Iterable[Destination]) -> list[Destination]:
    """Those that are reached by TLS, each by such flows alone (RFC 5630).

    Who looks the URI up is sent a sips one, so that it goes on by TLS from there.
    """
    found = []
    for destination in destinations:
        flows = [one for one in (destination, *destination.others) if _is_secure(one)]
        flows = [replace(one, uri=_sips(one.uri)) if one.looks_up else one for one in flows]
        if flows:
            found.append(replace(flows[0], others=tuple(replace(one, others=()) for one in flows[1:])))
    return found


def ip_version(destination: Destination) -> int:
    """By which of IP a phone is reached, 4 or 6; 0 where nobody knows, as with a name."""
    if destination.family:
        return destination.family
    try:
        return version_of(
            next_hop(destination).host if destination.received is None else Flow.parse(destination.received).host
        )
    except SipError:
        return 0  # it cannot be reached at all, as will be said where it is asked


def next_hop(destination: Destination) -> Uri:
    """Where a request goes that goes by no flow; raises SipSyntaxError."""
    return NameAddr.parse(destination.route[0]).uri if destination.route else Uri.parse(destination.uri)


@lru_cache(maxsize=1024)
def version_of(host: str) -> int:
    """4 or 6; 0 for a name."""
    try:
        return ip_address(host.strip("[]")).version
    except ValueError:
        return 0


def _sips(uri: str) -> str:
    return "sips:" + uri.removeprefix("sip:") if uri.startswith("sip:") else uri


def _is_secure(destination: Destination) -> bool:
    """Whether its first hop is: that of its registration, its route, or its own URI."""
    if destination.received is not None:
        return Flow.parse(destination.received).transport in _SECURE
    hop = next_hop(destination)
    return hop.scheme == "sips" or hop.transport in _SECURE


def is_flow_failure(status: int, *, has_responded: bool) -> bool:
    """Whether a refusal is no word of the device: 430, or that nobody could be reached by that flow."""
    return status == FLOW_FAILED or (status in _NOT_REACHED and not has_responded)
