"""Resources that all parties share: the engine's plane, sockets, clock, randomness and timers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from gateway.media.embedded.flows import FlowTable
from gateway.media.embedded.plane.protocol import Plane
from gateway.media.embedded.rtp.ports import PortPools
from gateway.media.embedded.settings import EmbeddedConfig
from gateway.media.embedded.sources.music import Music
from gateway.media.embedded.sources.pacer import Pacer
from gateway.media.embedded.webrtc.port import WebRtcPort
from gateway.media.embedded.workers import Workers
from gateway.media.engine import MediaEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Shared resources of one engine."""

    config: EmbeddedConfig
    plane: Plane
    flows: FlowTable
    port: WebRtcPort
    pools: PortPools
    pacer: Pacer
    workers: Workers
    """Threads for audio."""
    writers: Workers
    """Threads for disk access."""
    clock: Callable[[], float]
    wall_clock: Callable[[], float]
    """Unix seconds, comparable across processes."""
    random: Random
    ids: Callable[[], int]
    """Source of new numbers for ports and flows of the plane."""
    music: Music
    """Music on hold and ringback."""
    emit: Callable[[MediaEvent], None]
    doubted: set[str] = field(default_factory=set)
    """Owners of parties whose signalling does not respond."""
