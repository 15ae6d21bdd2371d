"""Streams that are fed with what one flow receives: many see one picture, each from a key frame on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from gateway.media.embedded.plane.kept import Kept
from gateway.media.embedded.plane.key_frame import begins_key_frame
from gateway.media.embedded.plane.outgoing import OutgoingStream
from gateway.media.embedded.plane.values import Fed

MAX_FEEDS = 1024
"""Streams that one flow may feed beside its target."""


class Target(Protocol):
    """A flow whose stream is fed."""

    number: int
    stream: OutgoingStream | None
    kept: Kept | None
    flowing: bool

    @property
    def is_probed(self) -> bool:
        """Whether padding alone goes to it, by which a browser tries what the network bears: to no phone."""

    def emit(
        self, second: int, out: int, when: int, payload: bytes, stream: OutgoingStream, turned: int | None = None
    ) -> None: ...

    def count_unsent(self, reason: str) -> None: ...


class Source(Protocol):
    """A flow that streams are fed with."""

    number: int
    feeds: tuple[Feed, ...]


def place(
    target: Target,
    second: int,
    sequence_number: int,
    timestamp: int,
    highest: int,
    payload: bytes,
    now: float,
    turned: int | None = None,
) -> None:
    """Send a payload on the target's stream in the place of an incoming packet; `turned`: how its picture lies."""
    stream = target.stream
    if stream is None:
        return
    if not target.flowing or not (payload or target.is_probed):
        stream.skip()
        return
    placed = stream.place(sequence_number, timestamp, highest, now)
    if placed is None:
        target.count_unsent("late")
        return
    out, when, marker = placed
    if target.kept is not None:
        target.kept.keep(out, second | marker, when, payload, turned)
    target.emit(second | marker, out, when, payload, stream, turned)


class Feed:
    """One stream that is fed."""

    __slots__ = ("target", "types", "waits")

    def __init__(self, target: Target, types: Mapping[int, Fed]) -> None:
        self.target = target
        self.types = types
        self.waits = True
        """Whether the key frame has not come yet."""

    def take(
        self,
        second: int,
        sequence_number: int,
        timestamp: int,
        highest: int,
        payload: bytes,
        now: float,
        began: Callable[[int], None],
        turned: int | None = None,
    ) -> None:
        """A packet of the flow that feeds; `began` hears the number of the target when its key frame comes."""
        fed, stream = self.types.get(second & 0x7F), self.target.stream
        if fed is None or stream is None:
            return
        if self.waits:
            if not begins_key_frame(fed.form, payload):
                return
            self.waits = False
            stream.begin()
            began(self.target.number)
        second = fed.payload_type | second & 0x80
        place(self.target, second, sequence_number, timestamp, highest, payload, now, turned)


class Feeds:
    """By whom each stream is fed, and by whom from that one's next key frame on: what was seen goes on until then."""

    def __init__(self) -> None:
        self._by: dict[int, Source] = {}
        self._next: dict[int, Source] = {}

    def feed(self, target: Target, source: Source, types: Mapping[int, Fed]) -> bool:
        """Feed a stream with another source, or others of its payload types; whether that one feeds it already."""
        number = target.number
        known = next((feed for feed in source.feeds if feed.target is target), None)
        waiting = self._next.pop(number, None)
        if waiting is not None and waiting is not source:
            _drop(waiting, number)
        if known is not None and not known.waits and known.types == types:
            return True
        _drop(source, number)
        source.feeds += (Feed(target, types),)
        if self._by.get(number) is not source:
            self._next[number] = source
        return False

    def began(self, target: int, source: Source) -> None:
        """The key frame of `source` has come: it alone feeds the stream."""
        before = self._by.get(target)
        if before is not None and before is not source:
            _drop(before, target)
        self._next.pop(target, None)
        self._by[target] = source

    def starve(self, target: int) -> None:
        """Nobody feeds the stream any more."""
        for each in (self._by.pop(target, None), self._next.pop(target, None)):
            if each is not None:
                _drop(each, target)

    def forget(self, source: Source) -> None:
        """A flow is gone, by which streams were fed."""
        for feed in source.feeds:
            for known in (self._by, self._next):
                if known.get(feed.target.number) is source:
                    del known[feed.target.number]


def _drop(source: Source, target: int) -> None:
    source.feeds = tuple([feed for feed in source.feeds if feed.target.number != target])
