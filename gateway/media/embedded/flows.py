"""Dispatch of the packet plane's events to listeners, by flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.media.embedded.plane.values import Address, MediaPacket


class FlowListener(Protocol):
    """Owner of a flow, which receives its events."""

    def dtls(self, path: int, source: Address, data: bytes, now: float) -> None: ...

    def rtcp(self, source: Address, packet: bytes, now: float) -> None: ...

    def media(self, packet: MediaPacket, now: float) -> None: ...

    def stranger(self, path: int, source: Address, data: bytes, heard: float, now: float) -> None: ...

    def source_learned(self, source: Address, description: int | None, now: float) -> None: ...

    def run_began(self, ssrc: int, generation: int, now: float) -> None: ...

    def missing(self, sequence_numbers: Sequence[int], now: float) -> None: ...

    def idle(self, silent: float) -> None: ...


class StunListener(Protocol):
    """Receiver of STUN checks: the browsers' port."""

    def stun(self, path: int, source: Address, data: bytes, now: float) -> None: ...


class LossListener(Protocol):
    """Receiver of the plane's death and restart."""

    def plane_lost(self) -> None: ...

    def plane_restarted(self) -> None: ...


class FlowTable:
    """A `plane.protocol.PlaneHandler` that passes each event to the flow's listener."""

    def __init__(self, owner: LossListener) -> None:
        self.port: StunListener | None = None
        self._owner = owner
        self._listeners: dict[int, FlowListener] = {}
        self._fed: dict[int, Callable[[int, float], None]] = {}

    def __len__(self) -> int:
        return len(self._listeners)

    def add(self, flow: int, listener: FlowListener) -> None:
        """Deliver the events of `flow` to `listener`."""
        self._listeners[flow] = listener

    def when_fed(self, flow: int, told: Callable[[int, float], None]) -> None:
        """Call `told` with the source flow and the time whenever another flow begins to feed `flow`."""
        self._fed[flow] = told

    def remove(self, flow: int) -> None:
        """Stop delivering events of `flow`."""
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
