"""What a flow of the Python plane needs of the plane, and of flows that share its transport."""

from __future__ import annotations

from typing import Protocol

from gateway.media.embedded.plane.arrivals import Arrivals
from gateway.media.embedded.plane.feeding import Source
from gateway.media.embedded.plane.protocol import PlaneHandler


class FlowHost(Protocol):
    """What a flow needs of its plane."""

    handler: PlaneHandler

    def clock(self) -> float: ...

    def expect_telling(self, flow: int, arrivals: Arrivals) -> None:
        """The peer of a flow is to be told of the arrival of its packets, when that is due."""

    def fed(self, target: int, source: Source, now: float) -> None:
        """The key frame of `source` has come, with which it begins to feed the stream of `target`."""


class Bundled(Protocol):
    """A flow that shares the transport of another."""

    @property
    def number(self) -> int: ...

    def update(self) -> None:
        """Go where the carrier goes, under its keys."""

    def routes(self, payload_type: int) -> bool:
        """Whether a packet of that payload type is this stream's (RFC 9143 section 9.2)."""

    def take(
        self, second: int, sequence_number: int, timestamp: int, ssrc: int, start: int, end: int, now: float
    ) -> None:
        """One packet that came by the carrier."""
