"""A party's statistics for the engine's interface, from the plane's counters and the peer's RTCP reports."""

from __future__ import annotations

from gateway.media.embedded.party import PartyMedia
from gateway.media.embedded.plane.values import FlowSnapshot
from gateway.media.embedded.quality import Quality, quality_of
from gateway.media.engine import PartyStatistics, StreamStatistics, TextStatistics


def party_statistics(party: PartyMedia) -> PartyStatistics:
    """Return the party's statistics as of the last snapshot."""
    flow = party.snapshot or FlowSnapshot(taken=0.0)
    rtt_ms = None if party.reporter.rtt is None else round(party.reporter.rtt * 1000, 3)
    return PartyStatistics(
        _received(party, flow, rtt_ms),
        _sent(party, flow, rtt_ms),
        rtt_ms,
        None if party.connected_after is None else round(party.connected_after * 1000, 3),
        _text(party),
    )


def _text(party: PartyMedia) -> TextStatistics | None:
    if party.data is not None:
        return party.data.text
    return party.text.statistics if party.text is not None and party.text.agreement is not None else None


def _received(party: PartyMedia, flow: FlowSnapshot, rtt_ms: float | None) -> StreamStatistics:
    codec, jitter_ms = _heard_codec(party, flow), round(flow.jitter * 1000, 3)
    playout = party.stations.playout
    playout = playout.after(flow.playout) if playout is not None else flow.playout
    # A packet too late for playout is lost to the listener.
    late = playout.late if playout is not None else 0
    waited = playout.waited if playout is not None else None
    quality = quality_of(
        codec, expected=flow.received + flow.lost, lost=flow.lost + late, loss_runs=flow.loss_runs + late,
        jitter_ms=jitter_ms, rtt_ms=rtt_ms, playout_ms=None if waited is None else waited * 1000,
    )  # fmt: skip
    discarded = sum(flow.discarded.values()) + party.transport_discarded
    return _stream(flow.received, flow.octets, flow.lost, jitter_ms, codec, quality, discarded)


def _sent(party: PartyMedia, flow: FlowSnapshot, rtt_ms: float | None) -> StreamStatistics:
    reporter, agreed = party.reporter, party.send_codec()
    codec = agreed.key[0] if agreed is not None else None
    lost, jitter_ms = reporter.lost or 0, round((reporter.jitter or 0.0) * 1000, 3)
    quality = None
    if reporter.lost is not None:
        # Receiver reports give the number of lost packets but not of loss runs: assume isolated losses.
        quality = quality_of(codec, expected=flow.sent, lost=lost, loss_runs=lost, jitter_ms=jitter_ms, rtt_ms=rtt_ms)
    octets = flow.sent_octets + 12 * flow.sent
    return _stream(flow.sent, octets, lost, jitter_ms, codec, quality, 0)


def _stream(
    packets: int, octets: int, lost: int, jitter_ms: float, codec: str | None, quality: Quality | None, discarded: int
) -> StreamStatistics:
    return StreamStatistics(
        packets,
        octets,
        lost,
        jitter_ms,
        discarded,
        codec,
        burst_loss=quality.burst_loss if quality is not None else None,
        r_factor=quality.r_factor if quality is not None else None,
        mos=quality.mos if quality is not None else None,
    )


def _heard_codec(party: PartyMedia, flow: FlowSnapshot) -> str | None:
    """Return the codec name of the last received packet; the expected codec before any packet."""
    if party.agreement is None:
        return None
    media = [codec for codec in party.agreement.receive if codec.is_media]
    return next((codec.key[0] for codec in media if codec.payload_type == flow.payload_type), media[0].key[0])
