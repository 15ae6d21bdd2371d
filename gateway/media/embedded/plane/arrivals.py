"""When the packets of one peer came, by their transport-wide numbers, and what tells it so
(draft-holmer-rmcat-transport-wide-cc-extensions-01)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gateway.media.embedded.plane.packet import extension
from gateway.media.embedded.plane.rtcp import RTPFB
from gateway.media.embedded.plane.values import Counting

WINDOW = 512
"""Numbers that are remembered, of which one message tells at most."""
SHORTEST_INTERVAL, LONGEST_INTERVAL = 0.05, 0.25
"""Seconds between two messages: at least, and at most however little comes."""
_SHARE = 20
"""What is told takes no more than this part of what comes."""
_AROUND = 48
"""Octets of IP, UDP and SRTCP around a message."""
_LONGEST_PAUSE = 1.0
_TICKS = 4000
"""Ticks of arrival in a second."""
_REFERENCE = 256
"""Ticks of one of the reference time."""
FORMAT = 15
_LOST, _SMALL, _LARGE = 0, 1, 2
_FIXED = struct.Struct("!BBHIIHHI")


@dataclass(slots=True)
class _Told:
    """Numbers in a row, what became of each, and the ticks of those that came."""

    symbols: list[int]
    deltas: list[int]
    reference: int | None


class Arrivals:
    """The last packets of one peer."""

    __slots__ = (
        "_count",
        "_highest",
        "_interval",
        "_octets",
        "_source",
        "_times",
        "_told_at",
        "_untold",
        "counting",
        "due",
    )

    def __init__(self, counting: Counting) -> None:
        self.counting = counting
        self.due: float | None = None
        """When the peer is to be told."""
        self._times: list[float | None] = [None] * WINDOW
        self._highest: int | None = None
        self._source = self._untold = self._count = self._octets = 0
        self._interval = SHORTEST_INTERVAL
        self._told_at: float | None = None

    def take(self, packet: memoryview, source: int, now: float) -> bool:
        """A well-formed packet came, which may have a number; whether `due` was not known before."""
        number = extension(packet, self.counting.extension)
        if number is None or len(number) != 2:
            return False
        return self.note(int.from_bytes(number, "big"), source, len(packet), now)

    def note(self, number: int, source: int, size: int, now: float) -> bool:
        """A packet of `size` octets came from `source`; whether `due` was not known before.

        Told of once: a repeated number counts for nothing. One that is further from the last than is remembered begins
        afresh, and what was not told of before stays so.
        """
        self._octets += size
        self._source = source
        highest = self._highest if self._highest is not None else number - 1 & 0xFFFF
        ahead, behind = number - highest & 0xFFFF, highest - number & 0xFFFF
        if 0 < ahead < WINDOW:
            for step in range(1, ahead):
                self._times[(highest + step) % WINDOW] = None
            self._highest, self._untold = number, min(WINDOW, self._untold + ahead)
        elif behind < WINDOW:
            if self._times[number % WINDOW] is not None:
                return False
            self._untold = max(self._untold, behind + 1)
        else:
            self._times = [None] * WINDOW
            self._highest, self._untold = number, 1
        self._times[number % WINDOW] = now
        if self.due is not None:
            return False
        self.due = now + self._interval
        return True

    def tell(self, now: float) -> Iterator[bytes]:
        """Compound packets that tell the peer of what came since it was told last."""
        self.due = None
        passed = min(_LONGEST_PAUSE, now - self._told_at) if self._told_at is not None else 0.0
        size = _AROUND + len(self.counting.head) + _FIXED.size + 2 * self._untold
        # The next comes late enough that all take no more than their share of what comes.
        self._interval = min(LONGEST_INTERVAL, max(SHORTEST_INTERVAL, passed * _SHARE * size / max(1, self._octets)))
        self._told_at, self._octets = now, 0
        while self._untold and self._highest is not None:
            first = self._highest - self._untold + 1 & 0xFFFF
            told = self._take(first)
            self._untold -= len(told.symbols)
            if told.reference is not None:
                yield self.counting.head + self._message(first, told, told.reference)

    def _take(self, first: int) -> _Told:
        """As many of the numbers from `first` as one message can tell of."""
        told, last = _Told([], [], None), 0
        for step in range(self._untold):
            time = self._times[(first + step) % WINDOW]
            if time is None:
                told.symbols.append(_LOST)
                continue
            tick = round(time * _TICKS)
            if told.reference is None:
                told.reference = tick // _REFERENCE
                last = told.reference * _REFERENCE
            delta = tick - last
            if not -0x8000 <= delta <= 0x7FFF:
                break
            told.symbols.append(_SMALL if 0 <= delta <= 0xFF else _LARGE)
            told.deltas.append(delta)
            last = tick
        return told

    def _message(self, first: int, told: _Told, reference: int) -> bytes:
        came = [symbol for symbol in told.symbols if symbol]
        body = b"".join(_chunks(told.symbols)) + b"".join(
            bytes((delta,)) if symbol == _SMALL else struct.pack("!h", delta)
            for symbol, delta in zip(came, told.deltas, strict=True)
        )
        body += bytes(-len(body) % 4)
        sender = int.from_bytes(self.counting.head[4:8], "big")
        count, self._count = self._count, self._count + 1 & 0xFF
        fixed = _FIXED.pack(
            0x80 | FORMAT,
            RTPFB,
            (_FIXED.size + len(body)) // 4 - 1,
            sender,
            self._source,
            first,
            len(told.symbols),
            (reference & 0xFFFFFF) << 8 | count,
        )
        return fixed + body


def _chunks(symbols: Sequence[int]) -> Iterator[bytes]:
    """Runs, and lists of 14 symbols of one bit or 7 of two (section 3.1.2 to 3.1.4)."""
    place = 0
    while place < len(symbols):
        first = symbols[place]
        run = next((at for at in range(place, len(symbols)) if symbols[at] != first), len(symbols)) - place
        following = symbols[place : place + 14]
        two_bits = _LARGE in following
        bits, reach = (2, 7) if two_bits else (1, 14)
        if run >= reach or run == len(symbols) - place:
            chunk, taken = first << 13 | run, run
        else:
            listed = following[:reach]
            chunk, taken = 0x8000 | two_bits << 14, len(listed)
            for at, symbol in enumerate(listed):
                chunk |= symbol << (14 - bits * (at + 1))
        yield chunk.to_bytes(2, "big")
        place += taken
