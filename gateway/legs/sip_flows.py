"""Choice of the flow to each device of a callee, and of its fallbacks (RFC 5626 section 7)."""

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
"""Statuses after which a request other than INVITE goes to the trunk's next host; the rest are final."""
_SECURE = frozenset(("tls", "wss"))
_BROKEN = 503
_NOT_REACHED = frozenset((408, _BROKEN))


class DeviceFlows:
    """Destinations of a callee by number.

    Devices with fallback flows and gateways of the cluster must respond in time.
    """

    def __init__(self, destinations: Iterable[Destination], timeout: float) -> None:
        """`timeout` is the number of seconds for the first response of a watched destination."""
        self._destinations = list(destinations)
        self._timeout = timeout
        self._timers: dict[int, asyncio.TimerHandle] = {}

    def __getitem__(self, number: int) -> Destination:
        return self._destinations[number]

    def asked(self, number: int, late: Callable[[int], None]) -> None:
        """Start the timer of a watched destination after its INVITE; `late` gets its number."""
        is_watched = any(not one.is_contact for one in self[number].others)
        if is_watched or self[number].looks_up:
            self._timers[number] = asyncio.get_running_loop().call_later(self._timeout, late, number)

    def advance(self, number: int, status: int) -> bool:
        """Switch a device to its next flow after `status`; return False if none is left."""
        timer = self._timers.pop(number, None)
        if timer is not None:
            timer.cancel()
        if not self[number].others:
            return False
        first, *others = self[number].others
        if first.is_contact and status != _BROKEN:
            return False
        self._destinations[number] = replace(first, others=tuple(others))
        return True

    def stop(self) -> None:
        """Stop all timers."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()


def by_tls(destinations: Iterable[Destination]) -> list[Destination]:
    """Return destinations reachable over TLS, with TLS flows only (RFC 5630).

    A gateway that resolves the URI itself gets a sips URI, so that its next hop uses TLS, too.
    """
    found = []
    for destination in destinations:
        flows = [one for one in (destination, *destination.others) if _is_secure(one)]
        flows = [replace(one, uri=_sips(one.uri)) if one.looks_up else one for one in flows]
        if flows:
            found.append(replace(flows[0], others=tuple(replace(one, others=()) for one in flows[1:])))
    return found


def ip_version(destination: Destination) -> int:
    """Return the IP version of a phone's address, 4 or 6; 0 if unknown, as for a host name."""
    if destination.family:
        return destination.family
    try:
        return version_of(
            next_hop(destination).host if destination.received is None else Flow.parse(destination.received).host
        )
    except SipError:
        return 0  # an unreachable URI is reported when invited


def next_hop(destination: Destination) -> Uri:
    """Return the next hop of a request without a flow; raises SipSyntaxError."""
    return NameAddr.parse(destination.route[0]).uri if destination.route else Uri.parse(destination.uri)


@lru_cache(maxsize=1024)
def version_of(host: str) -> int:
    """Return 4 or 6; 0 for a name."""
    try:
        return ip_address(host.strip("[]")).version
    except ValueError:
        return 0


def _sips(uri: str) -> str:
    return "sips:" + uri.removeprefix("sip:") if uri.startswith("sip:") else uri


def _is_secure(destination: Destination) -> bool:
    """Return True if the first hop uses TLS: registration flow, route, or Request-URI."""
    if destination.received is not None:
        return Flow.parse(destination.received).transport in _SECURE
    hop = next_hop(destination)
    return hop.scheme == "sips" or hop.transport in _SECURE


def note_failure(destination: Destination, status: int, *, has_responded: bool) -> None:
    """Report a lost flow (430), or a host without response or with a 503, to the destination's callbacks."""
    if status == FLOW_FAILED:
        destination.flow_failed()
    if status == 503 or (status == 408 and not has_responded):
        destination.silent()


def is_flow_failure(status: int, *, has_responded: bool) -> bool:
    """Return True if a failure concerns the flow, not the device: 430, or no response from the device."""
    return status == FLOW_FAILED or (status in _NOT_REACHED and not has_responded)
