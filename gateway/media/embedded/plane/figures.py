"""A flow's counters as they stand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from gateway.media.embedded.plane.inbound import Inbound
from gateway.media.embedded.plane.outgoing import OutgoingStream
from gateway.media.embedded.plane.values import Address, FlowSnapshot


class Counted(Protocol):
    """A flow, as far as it is counted."""

    inbound: Inbound
    stream: OutgoingStream | None
    heard: float
    packets_received: int
    octets_received: int
    media: int
    discarded: dict[str, int]
    unsent: dict[str, int]

    def addresses(self) -> tuple[Address | None, Address | None, Mapping[tuple[int, Address], float]]: ...


def figures(flow: Counted, now: float) -> FlowSnapshot:
    """Those of both of its streams."""
    inbound, stream = flow.inbound, flow.stream
    source, destination, pairs = flow.addresses()
    out: dict[str, Any] = {}
    if stream is not None:
        out = {
            "out_ssrc": stream.ssrc,
            "sent": stream.packets,
            "sent_octets": stream.octets,
            "sequence_number": stream.last_sequence_number,
            "timestamp": stream.last_timestamp,
            "sent_at": stream.stamped,
            "rate_out": stream.rate_out,
        }
    return FlowSnapshot(
        ssrc=inbound.ssrc,
        generation=inbound.generation,
        received=inbound.received,
        octets=inbound.octets,
        expected=inbound.expected,
        run_received=inbound.run_received,
        lost=inbound.lost,
        loss_runs=inbound.loss_runs,
        extended_highest=inbound.extended_highest,
        jitter=inbound.jitter,
        arrived=inbound.arrived,
        clock_rate=inbound.clock_rate,
        taken=now,
        heard=flow.heard,
        packets_received=flow.packets_received,
        octets_received=flow.octets_received,
        payload_type=flow.media,
        discarded=dict(flow.discarded),
        unsent=dict(flow.unsent),
        source=source,
        destination=destination,
        pairs=dict(pairs),
        **out,
    )
