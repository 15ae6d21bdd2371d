"""Configuration of who carries the media."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from gateway.config.values import NetworkValue, Section, Text, host, port


class ToneConfig(Section):
    """The built-in tone, service:tone."""

    frequency: float = Field(default=440.0, ge=50, le=3_400)
    """Frequency (Hz)."""
    level: float = Field(default=-16.0, ge=-60, le=0)
    """Level (dBm0)."""


class MediaConfig(Section):
    """Who carries the media."""

    engine: Text = "embedded"
    """"embedded", or "rtpengine:HOST:PORT" to drive an rtpengine by its ng protocol; "rtpengine:HOST:PORT,HOST:PORT":
    each new call goes to one of these that answers."""
    rtpengine_renumbers: bool = True
    """Whether an rtpengine numbers the packets of calls with SRTP itself: version 10.5 loses their roll-over counter in
    a re-offer otherwise, so that a browser hears nothing after a hold. Such calls take more of its CPU, and its kernel
    module forwards none of them; false for a version without that fault."""
    rtpengine_records: bool = False
    """Whether rtpengine may be asked to record: it was started with --recording-dir, into which it writes the packets
    of a recorded call, decrypted. Without that it says "ok" and writes nothing."""
    plane: Literal["auto", "native", "python"] = "auto"
    """Who forwards the packets of the embedded engine: a process of its own that is compiled ("native"), this process
    ("python"), or the native one where it is built ("auto"). `gateway check-config` says which and why."""
    plane_start: bool = True
    """Whether the gateway starts the native plane where none runs; false: a unit or container of its own does, and the
    gateway waits for it."""
    plane_threads: int = Field(default=0, ge=0, le=64)
    """Threads of the native plane that forward; 0: one for each CPU."""
    plane_carrier: Literal["auto", "io_uring", "epoll"] = "auto"
    """System calls by which the native plane receives and sends: "io_uring" (all sockets by one call), "epoll" (one
    socket at a time), or what this kernel has ("auto"; io_uring wants Linux 6.12, and containers may forbid it)."""
    plane_gather: float = Field(default=0.001, ge=0, le=0.01)
    """How long packets may be gathered where many come: less CPU for each, for this much more delay (s). A packet after
    a pause waits for nothing. The native plane needs io_uring for it."""
    orphan_timeout: float = Field(default=60.0, ge=0, le=3_600)
    """How long the native plane goes on forwarding where the gateway has died and none has come in its place (s)."""
    service_max_duration: float = Field(default=600.0, ge=0)
    """A call to a built-in service ends after so long; 0 never (s)."""
    hold_music: Text | None = None
    """What who is on hold, or parked, hears: a sound file (WAV, Ogg, MP3, …; two minutes of it), or "generated";
    default: silence, or what the holder's phone sends."""
    sounds: Path | None = None
    """Folder of the sound files that operators may play into calls (POST /api/calls/{id}/sound); default: none."""
    ice: Literal["lite", "full"] = "lite"
    """"lite": browsers reach `webrtc.listen`, or a mapping of it that `webrtc.advertised` names. "full": the gateway is
    behind an address translator that knows of no mapping; it asks the STUN and TURN servers that browsers are told of
    for addresses, at the start and from then on, and sends checks to the browsers' own (RFC 8445)."""
    ice_candidates: int = Field(default=20, ge=1, le=100)
    """Candidates of one browser that a full agent sends checks to; the rest is ignored, names among them."""
    ice_peers_allowed: tuple[NetworkValue, ...] = ()
    """Networks that a full agent, and every gateway toward ICE-lite peers, sends checks to, also by relays, though they
    are private, shared or loopback: otherwise callers could have it knock at doors of the network that it is in."""
    ice_ca: Path | None = None
    """PEM file of the authorities that sign the certificates of TURN servers; default: those of the system."""
    tone: ToneConfig = ToneConfig()

    @field_validator("engine")
    @classmethod
    def _known(cls, engine: str) -> str:
        name, _, address = engine.partition(":")
        if engine == "embedded":
            return engine
        if name != "rtpengine" or not address:
            raise ValueError(f'{engine!r} must be "embedded" or "rtpengine:HOST:PORT[,HOST:PORT...]"')
        seen = set()
        for one in address.lower().split(","):
            target, _, number = one.rpartition(":")
            place = host(target), port(number)
            if place in seen:
                raise ValueError(f"names {one} twice")
            seen.add(place)
        return engine

    @property
    def rtpengines(self) -> tuple[tuple[str, int], ...]:
        """Host and port of each rtpengine, none for the embedded engine."""
        if self.engine == "embedded":
            return ()
        places = (one.rpartition(":") for one in self.engine.partition(":")[2].split(","))
        return tuple((target.strip("[]"), int(number)) for target, _, number in places)
