"""What becomes of each payload type: an immutable table that the packet path indexes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.media.embedded.plane.values import Action, Route

NO_ROUTE = -1
TYPES = 128
"""Payload types there are (RFC 3550 section 5.1)."""


@dataclass(frozen=True, slots=True)
class RouteTable:
    """One entry for each of the 128 payload types."""

    action: tuple[int, ...]
    """An `Action`, or NO_ROUTE."""
    payload_type: tuple[int, ...]
    clock_rate: tuple[int, ...]
    rate_out: tuple[int, ...]

    @classmethod
    def of(cls, routes: Mapping[int, Route]) -> RouteTable:
        """The table of a negotiation's outcome; payload types that do not exist are left out."""
        action, payload_type = [NO_ROUTE] * TYPES, [0] * TYPES
        clock_rate, rate_out = [0] * TYPES, [0] * TYPES
        for number, route in routes.items():
            if 0 <= number < TYPES:
                action[number] = int(route.action)
                payload_type[number] = route.payload_type & 0x7F
                clock_rate[number] = route.clock_rate
                rate_out[number] = route.rate_out or route.clock_rate
        return cls(tuple(action), tuple(payload_type), tuple(clock_rate), tuple(rate_out))


EMPTY = RouteTable.of({})
DROP, FORWARD, PUNT, COPY, UNWRAP = (
    int(each) for each in (Action.DROP, Action.FORWARD, Action.PUNT, Action.COPY, Action.UNWRAP)
)
