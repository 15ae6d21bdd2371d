"""Configuration of the media engine."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from gateway.config.values import NetworkValue, Section, Text, host, port


class ToneConfig(Section):
    """Built-in tone, service:tone."""

    frequency: float = Field(default=440.0, ge=50, le=3_400)
    """Frequency (Hz)."""
    level: float = Field(default=-16.0, ge=-60, le=0)
    """Level (dBm0)."""


class MediaConfig(Section):
    """Media engine and its packet plane."""

    engine: Text = "embedded"
    """"embedded", or "rtpengine:HOST:PORT" to control an rtpengine by its ng protocol;
    "rtpengine:HOST:PORT,HOST:PORT" spreads new calls over the responding ones."""
    rtpengine_timeout: float = Field(default=15.0, ge=0, le=3_600)
    """Longest silence of an rtpengine before its calls end, within 6 s of the limit; 0: unlimited (s)."""
    rtpengine_renumbers: bool = True
    """True to let rtpengine renumber the packets of SRTP calls. Version 10.5 otherwise loses the roll-over counter
    at a re-offer, and a browser hears nothing after a hold. Renumbering takes more CPU and bypasses the kernel
    module; false for a version without the fault."""
    rtpengine_records: bool = False
    """True if rtpengine may record: started with --recording-dir, the folder for decrypted packets of recorded
    calls. Without that option rtpengine answers "ok" but records nothing."""
    plane: Literal["auto", "native", "python"] = "auto"
    """Forwarder of the embedded engine's packets: a compiled process ("native"), the gateway process ("python"), or
    the native one if built ("auto"). `gateway check-config` reports the choice and its reason."""
    plane_start: bool = True
    """True to start the native plane if none is running; false to wait for a plane run by its own unit or container."""
    plane_threads: int = Field(default=0, ge=0, le=64)
    """Forwarding threads of the native plane; 0: one per CPU."""
    plane_carrier: Literal["auto", "io_uring", "epoll"] = "auto"
    """System calls of the native plane for packets: "io_uring" (all sockets in one call), "epoll" (one socket at a
    time), or the best supported by the kernel ("auto"; io_uring needs Linux 6.12, and containers may forbid it)."""
    plane_gather: float = Field(default=0.001, ge=0, le=0.01)
    """Longest delay to batch packets under load, which saves CPU (s). A packet after a pause is never delayed. The
    native plane needs io_uring for batches."""
    orphan_timeout: float = Field(default=60.0, ge=0, le=3_600)
    """Time for which the native plane continues forwarding after the gateway's death without a successor (s)."""
    service_max_duration: float = Field(default=600.0, ge=0)
    """Longest call to a built-in service; 0: unlimited (s)."""
    hold_music: Text | None = None
    """Audio for a party on hold or parked: a sound file (WAV, Ogg, MP3, …; at most two minutes), or "generated";
    default: silence, or the audio sent by the holder's phone."""
    sounds: Path | None = None
    """Folder of sound files that operators may play into calls (POST /api/calls/{id}/sound); default: none."""
    ice: Literal["lite", "full"] = "lite"
    """"lite": browsers reach `webrtc.listen`, or its mapping in `webrtc.advertised`. "full": for a gateway behind
    NAT without a mapping. It gathers addresses from the browsers' STUN and TURN servers, at the start and
    continuously, and sends checks to the browsers' addresses (RFC 8445)."""
    ice_candidates: int = Field(default=20, ge=1, le=100)
    """Candidates of one browser checked by a full agent; further candidates and host names are ignored."""
    ice_peers_allowed: tuple[NetworkValue, ...] = ()
    """Private, shared or loopback networks to which ICE checks may go, even through relays. Applies to full agents,
    and to every gateway toward ICE-lite peers. Without the limit callers could probe the gateway's network."""
    ice_ca: Path | None = None
    """PEM file of the authorities for TURN server certificates; default: those of the system."""
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
        """Return host and port of each rtpengine; () for the embedded engine."""
        if self.engine == "embedded":
            return ()
        places = (one.rpartition(":") for one in self.engine.partition(":")[2].split(","))
        return tuple((target.strip("[]"), int(number)) for target, _, number in places)
