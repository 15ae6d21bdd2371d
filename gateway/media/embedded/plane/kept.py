"""What was sent last, to be sent again where a receiver asks for it (RFC 4585 section 6.2.1, RFC 4588)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.media.embedded.plane.outgoing import OutgoingStream
from gateway.media.embedded.plane.packet import MARKER
from gateway.media.embedded.plane.values import NEVER, Repeats

AGAIN = 500
"""Packets a second that are sent again at most, whatever is asked."""
MOST_AGAIN = 255
"""Packets that are sent again for one request, as many as a message of the native plane names."""
ROOM = 1424
"""Octets of a payload that is kept: with its number before it the packet must still fit."""
Repetition = tuple[int, int, int, bytes, int | None]
"""Second octet, number, timestamp and payload of a retransmission, and how its picture lies."""


class Kept:
    """The last packets of one stream, and the stream that repeats them."""

    __slots__ = ("_again", "_next", "_packets", "_second", "repeats")

    def __init__(self, repeats: Repeats) -> None:
        self.repeats = repeats
        self._next = repeats.sequence_number
        self._packets: dict[int, tuple[int, int, int, bytes | None, int | None]] = {}
        """By place: number, second octet, timestamp, payload, where that is not too long, and how its picture lies."""
        self._second = NEVER
        self._again = 0

    @property
    def numbers(self) -> tuple[int, int]:
        """Source and next number of the retransmissions."""
        return self.repeats.ssrc, self._next

    def follow(self, numbers: tuple[int, int]) -> None:
        """Go on with the `numbers` of what repeated under the same source before: none may come twice."""
        if numbers[0] == self.repeats.ssrc:
            self._next = numbers[1]

    def keep(
        self, sequence_number: int, second: int, timestamp: int, payload: bytes, turned: int | None = None
    ) -> None:
        """Keep a packet that goes out."""
        place = sequence_number % self.repeats.packets
        self._packets[place] = sequence_number, second, timestamp, payload if len(payload) <= ROOM else None, turned

    def has(self, sequence_number: int) -> bool:
        """Whether a packet of that number went out, as far back as packets are kept."""
        found = self._packets.get(sequence_number % self.repeats.packets)
        return found is not None and found[0] == sequence_number

    def again(self, sequence_number: int, now: float) -> Repetition | None:
        """The packet that repeats this one.

        None where it was not kept, its payload type is not repeated, or too many were.
        """
        if not self.has(sequence_number):
            return None
        _, second, timestamp, payload, turned = self._packets[sequence_number % self.repeats.packets]
        payload_type = self.repeats.payload_types.get(second & 0x7F)
        if payload_type is None or payload is None or not self._within(now):
            return None
        number, self._next = self._next, (self._next + 1) & 0xFFFF
        payload = sequence_number.to_bytes(2, "big") + payload
        return payload_type | second & MARKER, number, timestamp, payload, turned

    def find(
        self, sequence_numbers: Sequence[int], stream: OutgoingStream, now: float
    ) -> tuple[list[Repetition], list[int]]:
        """What repeats these packets of `stream`, and the incoming numbers of those that never came."""
        found: list[Repetition] = []
        missing: list[int] = []
        for number in sequence_numbers[:MOST_AGAIN]:
            incoming = None if self.has(number) else stream.incoming(number, self.repeats.packets)
            if incoming is not None:
                missing.append(incoming)
            again = self.again(number, now)
            if again is not None:
                found.append(again)
        return found, missing

    def _within(self, now: float) -> bool:
        if now - self._second >= 1.0:
            self._second, self._again = now, 0
        self._again += 1
        return self._again <= AGAIN


class Repeating(Protocol):
    """A flow whose stream is kept."""

    kept: Kept | None
    stream: OutgoingStream | None
    flowing: bool

    def repeat(
        self, second: int, number: int, timestamp: int, ssrc: int, payload: bytes, turned: int | None = None
    ) -> None: ...


def resend(flow: Repeating, sequence_numbers: Sequence[int], now: float) -> list[int]:
    """Send these packets of the stream again; the incoming numbers of those that never came here."""
    if flow.stream is None or flow.kept is None:
        return []
    found, missing = flow.kept.find(sequence_numbers, flow.stream, now)
    for second, number, timestamp, payload, turned in found if flow.flowing else ():
        flow.repeat(second, number, timestamp, flow.kept.repeats.ssrc, payload, turned)
    return missing
