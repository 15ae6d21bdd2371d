"""The one place where every SIP message in and out can be seen: captures, ladders and traces hang on it."""

from __future__ import annotations

import logging
from enum import Enum
from typing import Protocol

from gateway.sip.flow import Flow

logger = logging.getLogger(__name__)


class Direction(Enum):
    """Which way a message went."""

    IN = "in"
    OUT = "out"


class MessageTap(Protocol):
    """Sees messages as they pass; must be quick, and whatever it raises is logged and goes no further."""

    def message(self, direction: Direction, data: bytes, flow: Flow, time: float) -> None:
        """One message of `flow` at `time` (monotonic seconds of the event loop).

        `data` are the octets of a datagram or WebSocket message, and of what a stream brought that could not be used
        (what was read of it); of any other message of a stream, the message as it was understood, written anew.
        Keep-alives are none.
        """


class Taps:
    """All taps as one; without any, passing a message by costs one comparison."""

    __slots__ = ("_taps",)

    def __init__(self) -> None:
        self._taps: tuple[MessageTap, ...] = ()

    def __bool__(self) -> bool:
        return bool(self._taps)

    def add(self, tap: MessageTap) -> None:
        """Have `tap` see every message from now on."""
        self._taps = (*self._taps, tap)

    def remove(self, tap: MessageTap) -> None:
        """Have `tap` see no more."""
        self._taps = tuple(one for one in self._taps if one is not tap)

    def message(self, direction: Direction, data: bytes, flow: Flow, time: float) -> None:
        """Show one message to every tap."""
        for tap in self._taps:
            try:
                tap.message(direction, data, flow, time)
            except Exception:
                logger.exception("a tap failed")
