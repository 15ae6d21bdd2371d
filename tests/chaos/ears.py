"""Phones' RTP: packets that say when they were sent, and how long nobody was heard, had every sender been on time."""

from __future__ import annotations

import contextlib
import itertools
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.media.tone_support import SO_TIMESTAMPNS, Waits

PTIME = 0.04
"""Seconds of a packet."""
_SPOKEN = struct.Struct("!Id")
"""What a payload begins with: the number of the packet, and when it was sent (s of the wall clock)."""
_PAYLOAD = b"\xd5" * (round(8000 * PTIME) - _SPOKEN.size)
_MOST = 10_000
"""Packets of one ear between two `forget`."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A packet of the other side's."""

    number: int
    sent: float
    came: float
    """When the system had it; both seconds of the wall clock."""


class Ear:
    """One phone's RTP socket."""

    def __init__(self, ssrc: int, host: str) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.socket.setblocking(False)
        self.socket.bind((host, 0))
        self.host = host
        self.remote: tuple[str, int] | None = None
        self.heard_at = 0.0
        self._heard: list[Heard] = []
        self._ssrc = ssrc
        self.number = 0
        """Of the packet that was sent last."""

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    def hear(self, now: float) -> None:
        """Take what has come."""
        try:
            while True:
                data, ancillary, _, _ = self.socket.recvmsg(2048, 256)
                if not data[1] & 0x7F:  # otherwise it is RTCP
                    self.take(data[12:], ancillary, now)
        except OSError:
            return

    def take(self, payload: bytes, ancillary: list[tuple[int, int, bytes]], now: float) -> None:
        """A packet has come; `ancillary` says when."""
        if len(payload) < _SPOKEN.size:
            return  # silence of the gateway's
        self.heard_at = now
        seconds, nanoseconds = struct.unpack("qq", ancillary[0][2][:16])
        number, sent = _SPOKEN.unpack_from(payload)
        if len(self._heard) < _MOST:
            self._heard.append(Heard(number, sent, seconds + nanoseconds / 1e9))

    def speak(self) -> None:
        """Send a packet where the last description said."""
        if self.remote is not None:
            with contextlib.suppress(OSError):  # as a network would lose it
                self.socket.sendto(self.packet(), self.remote)

    def packet(self) -> bytes:
        """The next one."""
        self.number += 1
        head = struct.pack("!BBHII", 0x80, 0, self.number & 0xFFFF, self.number * 320 & 0xFFFFFFFF, self._ssrc)
        return head + _SPOKEN.pack(self.number, time.time()) + _PAYLOAD

    def close(self) -> None:
        self.socket.close()

    def forget(self) -> None:
        """What was heard until now is no matter any more, but for the last of it."""
        self._heard = self._heard[-1:]

    def longest_gap(self, waited: Callable[[float, float], float]) -> float:
        """Seconds from one packet to the next, had their sender been on time.

        `waited` says for how long who passes them on did for a core between two moments: that does not count.
        """
        longest = 0.0
        for before, after in itertools.pairwise(self._heard):
            number = after.number - before.number
            gap = number * PTIME + (after.came - after.sent) - (before.came - before.sent)
            if number > 0 and gap > longest:
                longest = max(longest, gap - waited(before.came, after.came))
        return longest


class Sound:
    """A thread in which every ear hears and speaks."""

    def __init__(self) -> None:
        self._ears: list[Ear] = []
        self._polled: list[Ear] = []
        self._selector = selectors.DefaultSelector()
        self._over = threading.Event()
        self._waits: Waits | None = None
        self._thread = threading.Thread(target=self._run, name="sound", daemon=True)
        self._thread.start()

    def add(self, ear: Ear) -> None:
        self._selector.register(ear.socket, selectors.EVENT_READ, ear)
        self._ears.append(ear)

    def poll(self, ear: Ear) -> None:
        """The same of one whose sockets change: it hears when it speaks."""
        self._polled.append(ear)

    def begin(self, plane: int | None) -> None:
        """Measure gaps from now on; `plane` is the process that passes the packets on, if it lives all the while."""
        self._waits = None if plane is None else Waits(plane)
        for ear in (*self._ears, *self._polled):
            ear.forget()

    def waited(self, start: float, end: float) -> float:
        """What it did for a core between two moments, s."""
        return 0.0 if self._waits is None else self._waits.between(start, end)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._over.is_set():
            now = time.monotonic()
            if now >= due:
                due = max(due + PTIME, now)
                for ear in (*self._ears, *self._polled):
                    ear.speak()
                for ear in tuple(self._polled):
                    ear.hear(now)
                waits = self._waits
                if waits is not None:
                    with contextlib.suppress(OSError):  # it has died
                        waits.look()
            for key, _ in self._selector.select(max(0.001, due - time.monotonic())):
                key.data.hear(time.monotonic())

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._selector.close()
        for ear in (*self._ears, *self._polled):
            ear.close()
