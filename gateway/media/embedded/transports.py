"""A phone's transport as what it speaks wants it, for its voice and for each stream beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gateway.media.embedded.describe import Identity
from gateway.media.embedded.resources import Resources
from gateway.media.embedded.rtp.leg import RtpLeg
from gateway.media.engine import Kind


class Limits(Protocol):
    """What the settings of a kind of stream say of its packets."""

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
    """One stream's; see `RtpLeg`. `numbers` are those that the plane holds already; `family` is the IP version, 0 for
    that of phones of which nobody knows it."""
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
