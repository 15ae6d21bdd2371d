"""A stream of the Python plane that has no transport of its own: video beside the audio of one browser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gateway.media.embedded.plane.around import FlowHost
from gateway.media.embedded.plane.flow import Flow
from gateway.media.embedded.plane.routes import NO_ROUTE
from gateway.media.embedded.plane.shared import SharedFlow
from gateway.media.embedded.plane.values import Address


class BundledFlow(Flow):
    """A stream that shares the transport of another flow, its carrier (RFC 9143)."""

    __slots__ = ("carrier",)

    def __init__(self, number: int, host: FlowHost, carrier: SharedFlow) -> None:
        super().__init__(number, replace(carrier.config, idle_after=0.0), host)
        self.carrier = carrier
        carrier.bundled += (self,)
        self.update()

    def update(self) -> None:
        carrier = self.carrier
        self.sender, self._senders = carrier.sender, carrier._senders
        self._socket, self._address = carrier._socket, carrier._address
        self._rtcp_socket, self._rtcp_address = carrier._rtcp_socket, carrier._rtcp_address
        super().update()

    def close(self) -> None:
        carrier = self.carrier
        carrier.bundled = tuple([each for each in carrier.bundled if each is not self])
        self.sender = self.stream = self._address = self._rtcp_address = None
        self.end_routes()
        self.flowing, self.feeds = False, ()

    def routes(self, payload_type: int) -> bool:
        return self._table.action[payload_type] != NO_ROUTE

    def take(
        self, second: int, sequence_number: int, timestamp: int, ssrc: int, start: int, end: int, now: float
    ) -> None:
        self.heard = now
        self.packets_received += 1
        self.octets_received += end
        self._take(second, sequence_number, timestamp, ssrc, start, end, now)

    def addresses(self) -> tuple[Address | None, Address | None, Mapping[tuple[int, Address], float]]:
        source, destination, _ = self.carrier.addresses()
        return source, destination, {}
