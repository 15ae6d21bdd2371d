"""Taps on every SIP message in and out, for captures, ladders and traces."""

from __future__ import annotations

import logging
from enum import Enum
from typing import Protocol

from gateway.sip.flow import Flow

logger = logging.getLogger(__name__)


class Direction(Enum):
    """Direction of a message."""

    IN = "in"
    OUT = "out"


class MessageTap(Protocol):
    """Observer of passing messages; must be quick. Its exceptions are logged and ignored."""

    def message(self, direction: Direction, data: bytes, flow: Flow, time: float) -> None:
        """Observe one message of `flow` at `time` (monotonic seconds of the event loop).

        `data` is a datagram or WebSocket message as received. A stream's message is serialised again, but an unusable
        part of a stream is passed unchanged. Keep-alives are left out.
        """


class Taps:
    """All taps as one; without taps, a message costs one comparison."""

    __slots__ = ("_taps",)

    def __init__(self) -> None:
        self._taps: tuple[MessageTap, ...] = ()

    def __bool__(self) -> bool:
        return bool(self._taps)

    def add(self, tap: MessageTap) -> None:
        """Show every later message to `tap`."""
        self._taps = (*self._taps, tap)

    def remove(self, tap: MessageTap) -> None:
        """Stop showing messages to `tap`."""
        self._taps = tuple(one for one in self._taps if one is not tap)

    def message(self, direction: Direction, data: bytes, flow: Flow, time: float) -> None:
        """Show one message to every tap."""
        for tap in self._taps:
            try:
                tap.message(direction, data, flow, time)
            except Exception:
                logger.exception("a tap failed")
