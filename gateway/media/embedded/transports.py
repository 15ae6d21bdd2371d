"""Creation of a phone's RTP transports for audio, video and text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gateway.media.embedded.describe import Identity
from gateway.media.embedded.resources import Resources
from gateway.media.embedded.rtp.leg import RtpLeg
from gateway.media.engine import Kind


class Limits(Protocol):
    """Packet settings of one kind of stream."""

    @property
    def max_packets_per_second(self) -> int: ...

    @property
    def dscp(self) -> int: ...


def rtp_leg(
    resources: Resources,
    kind: Kind,
    identity: Identity,
    limits: Limits,
    numbers: tuple[int, int] | None = None,
    failed: Callable[[str], None] = lambda reason: None,
    family: int = 0,
) -> RtpLeg:
    """Return a new `RtpLeg` for one stream; `failed` receives the reason of a failure.

    `numbers` identify an existing flow and port of the plane; `family` is the IP version, 0 for the default.
    """
    return RtpLeg(
        resources.plane,
        resources.pools.of(family),
        ids=resources.ids,
        clock=resources.clock,
        rules=resources.config.latching,
        keys=identity.keys,
        best_effort=kind is Kind.BEST_EFFORT,
        dtls=resources.port if kind is Kind.DTLS else None,
        failed=failed,
        max_packets_per_second=limits.max_packets_per_second,
        numbers=numbers,
        dscp=limits.dscp,
    )
