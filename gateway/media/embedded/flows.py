"""What the plane tells, brought to whom it concerns: one table of flows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.media.embedded.plane.values import Address, MediaPacket


class FlowListener(Protocol):
    """Who a flow belongs to."""

    def dtls(self, path: int, source: Address, data: bytes, now: float) -> None: ...

    def rtcp(self, source: Address, packet: bytes, now: float) -> None: ...

    def media(self, packet: MediaPacket, now: float) -> None: ...

    def stranger(self, path: int, source: Address, data: bytes, heard: float, now: float) -> None: ...

    def source_learned(self, source: Address, description: int | None, now: float) -> None: ...

    def run_began(self, ssrc: int, generation: int, now: float) -> None: ...

    def missing(self, sequence_numbers: Sequence[int], now: float) -> None: ...

    def idle(self, silent: float) -> None: ...


class StunListener(Protocol):
    """Who answers checks: the browsers' port."""

    def stun(self, path: int, source: Address, data: bytes, now: float) -> None: ...


class LossListener(Protocol):
    """Who is told that the plane died: the engine."""

    def plane_lost(self) -> None: ...

    def plane_restarted(self) -> None: ...


class FlowTable:
    """A `plane.protocol.PlaneHandler` that looks flows up."""

    def __init__(self, owner: LossListener) -> None:
        self.port: StunListener | None = None
        self._owner = owner
        self._listeners: dict[int, FlowListener] = {}
        self._fed: dict[int, Callable[[int, float], None]] = {}

    def __len__(self) -> int:
        return len(self._listeners)

    def add(self, flow: int, listener: FlowListener) -> None:
        """Tell `listener` of this flow."""
        self._listeners[flow] = listener

    def when_fed(self, flow: int, told: Callable[[int, float], None]) -> None:
        """Tell `told` which flow feeds the stream of this one from now on, and when it began."""
        self._fed[flow] = told

    def remove(self, flow: int) -> None:
        """Nobody is told of it any more."""
        self._listeners.pop(flow, None)
        self._fed.pop(flow, None)

    def stun(self, path: int, source: Address, data: bytes, now: float) -> None:
        if self.port is not None:
            self.port.stun(path, source, data, now)

    def dtls(self, flow: int, path: int, source: Address, data: bytes, now: float) -> None:
        if (listener := self._listeners.get(flow)) is not None:
            listener.dtls(path, source, data, now)

    def rtcp(self, flow: int, path: int, source: Address, packet: bytes, now: float) -> None:
        if (listener := self._listeners.get(flow)) is not None:
            listener.rtcp(source, packet, now)

    def media(self, flow: int, packet: MediaPacket, now: float) -> None:
        if (listener := self._listeners.get(flow)) is not None:
            listener.media(packet, now)

    def stranger(self, flow: int, path: int, source: Address, data: bytes, heard: float, now: float) -> None:
        if (listener := self._listeners.get(flow)) is not None:
            listener.stranger(path, source, data, heard, now)

    def source_learned(self, flow: int, source: Address, description: int | None, now: float) -> None:
        if (listener := self._listeners.get(flow)) is not None:
            listener.source_learned(source, description, now)

    def run_began(self, flow: int, ssrc: int, generation: int, now: float) -> None:
        if (listener := self._listeners.get(flow)) is not None:
            listener.run_began(ssrc, generation, now)

    def missing(self, flow: int, sequence_numbers: Sequence[int], now: float) -> None:
        if (listener := self._listeners.get(flow)) is not None:
            listener.missing(sequence_numbers, now)

    def fed(self, target: int, source: int, now: float) -> None:
        if (told := self._fed.get(target)) is not None:
            told(source, now)

    def idle(self, flow: int, silent: float) -> None:
        if (listener := self._listeners.get(flow)) is not None:
            listener.idle(silent)

    def lost(self) -> None:
        self._owner.plane_lost()

    def restarted(self) -> None:
        self._owner.plane_restarted()
