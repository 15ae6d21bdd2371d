"""What all parties share: the engine's plane, sockets, clock, randomness and timers."""

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
    """Of one engine."""

    config: EmbeddedConfig
    plane: Plane
    flows: FlowTable
    port: WebRtcPort
    pools: PortPools
    pacer: Pacer
    workers: Workers
    """For audio."""
    writers: Workers
    """For what waits for the disk."""
    clock: Callable[[], float]
    wall_clock: Callable[[], float]
    """Unix seconds, as the next process has them too."""
    random: Random
    ids: Callable[[], int]
    """Numbers for ports and flows of the plane."""
    music: Music
    """For who is on hold."""
    emit: Callable[[MediaEvent], None]
    doubted: set[str] = field(default_factory=set)
    """Owners of parties whose signalling does not answer."""
