"""The sockets of the Python plane behind one descriptor, so that an event loop is not woken for each packet."""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any

from gateway.media.embedded.plane.agenda import Reactor, Timer


class GatheringReactor:
    """A `Reactor` whose readers share one epoll, the only descriptor that `reactor` watches.

    A packet after a pause is read at once. Where one comes within `gather` seconds of the last reading, those that come
    in the next `gather` seconds are read together: less is spent on waiting, for so much more delay.
    """

    def __init__(self, reactor: Reactor, clock: Callable[[], float], gather: float) -> None:
        self._reactor = reactor
        self._clock = clock
        self._gather = gather
        self._epoll: Any = None
        self._readers: dict[int, Callable[[], None]] = {}
        self._read = float("-inf")
        """When the sockets were read last."""
        self._timer: Timer | None = None

    def add_reader(self, fd: Any, callback: Callable[[], None]) -> None:
        """Call back whenever the socket can be read."""
        if self._epoll is None:
            self._epoll = select.epoll()
            self._reactor.add_reader(self._epoll.fileno(), self._ready)
        number = fd.fileno()
        if number not in self._readers:
            self._epoll.register(number, select.EPOLLIN)
        self._readers[number] = callback

    def remove_reader(self, fd: Any) -> None:
        """Before the socket is closed."""
        number = fd.fileno()
        if self._readers.pop(number, None) is None:
            return
        self._epoll.unregister(number)
        if self._readers:
            return
        if self._timer is None:
            self._reactor.remove_reader(self._epoll.fileno())
        else:
            self._timer.cancel()
            self._timer = None
        self._epoll.close()
        self._epoll = None

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """As the reactor does."""
        return self._reactor.call_later(delay, callback)

    def _ready(self) -> None:
        """Something has come, and the reactor waits for more."""
        now = self._clock()
        if now - self._read < self._gather:
            self._reactor.remove_reader(self._epoll.fileno())
            self._timer = self._reactor.call_later(self._gather, self._gathered)
        else:
            self._read = now
            self._take()

    def _gathered(self) -> None:
        """The time of gathering is over: go on with it while anything comes."""
        self._timer = None
        self._read = self._clock()
        came = True
        try:
            came = self._take() > 0
        finally:
            # Whatever a reader raised: all the others are still to be read.
            if self._epoll is not None and came:
                self._timer = self._reactor.call_later(self._gather, self._gathered)
            elif self._epoll is not None:
                self._reactor.add_reader(self._epoll.fileno(), self._ready)

    def _take(self) -> int:
        """Read what can be read; of how many sockets."""
        events: list[tuple[int, int]] = self._epoll.poll(0)
        readers = self._readers
        for number, _ in events:
            # A reader may have removed another one.
            reader = readers.get(number)
            if reader is not None:
                reader()
        return len(events)
