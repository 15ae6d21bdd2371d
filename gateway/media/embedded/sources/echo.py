"""The echo that speaks later: a caller can tell it from his own voice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.media.embedded.plane.protocol import Plane
from gateway.media.embedded.plane.values import Action, MediaPacket, Route
from gateway.media.embedded.routing import Routing
from gateway.media.embedded.sources.packets import NOTHING, Packets


class DelayedEcho:
    """Gives each packet back after a while; a `PacketHandler`. What waits is bounded by the rate a flow accepts."""

    def __init__(self, delay: float, send: Callable[[MediaPacket], None]) -> None:
        """`delay` in s."""
        self._delay = delay
        self._send = send

    def handle(self, packet: MediaPacket, now: float) -> Packets:
        """Keep it; it goes out by itself."""
        asyncio.get_running_loop().call_later(self._delay, self._send, packet)
        return NOTHING


def delayed(routing: Routing, plane: Plane, flow: int, delay: float) -> Routing:
    """The same packets of a flow, `delay` seconds later on its own stream."""
    made = Routing()
    for number, route in routing.routes.items():
        if route.action is not Action.FORWARD:
            made.routes[number] = route
            continue
        made.routes[number] = Route(action=Action.PUNT, clock_rate=route.clock_rate)

        def send(packet: MediaPacket, payload_type: int = route.payload_type) -> None:
            numbers = packet.sequence_number, packet.timestamp
            plane.relay(flow, *numbers, payload_type, packet.marker, packet.payload)

        echo = DelayedEcho(delay, send)
        made.handlers[number] = (("echo", number), lambda echo=echo: echo)  # type: ignore[misc]  # mypy cannot infer the lambda
    made.handlers.update({each: wanted for each, wanted in routing.handlers.items() if each not in made.handlers})
    return made
