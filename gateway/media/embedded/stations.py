"""Where the packets of one party go that are not simply forwarded: readers of digits, transcoders, an echo's delay."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Protocol

from gateway.media.embedded.audio.transcode import Transcoder
from gateway.media.embedded.plane.values import MediaPacket
from gateway.media.embedded.sources.digits import EventHandler
from gateway.media.embedded.sources.pacer import Pacer
from gateway.media.embedded.sources.packets import Injected, PacketHandler
from gateway.media.embedded.sources.players import Playing


class Listener(Protocol):
    """The party that hears what comes of the packets."""

    playing: Playing

    @property
    def hears(self) -> bool: ...

    def inject(self, packet: Injected) -> None: ...


class Stations:
    """The handlers of one party's packets, by payload type; kept over re-offers that do not change them."""

    def __init__(
        self, pacer: Pacer, listener: Callable[[], Listener | None], on_digit: Callable[[str, int], None]
    ) -> None:
        """`listener` says who hears the party now; `on_digit` gets its digits with their ms."""
        self.on_digit = on_digit
        self.transcoded = False
        """Whether anything was turned into another codec in an earlier arrangement."""
        self._pacer = pacer
        self._listener = listener
        self._made: dict[Hashable, PacketHandler] = {}
        self._by_type: dict[int, PacketHandler] = {}
        self._open = False
        self._player: int | None = None
        self._last: PacketHandler | None = None

    def __len__(self) -> int:
        return len(self._made)

    @property
    def transcodes(self) -> bool:
        """Whether anything this party sent was turned into another codec."""
        return self.transcoded or any(each.frames for each in self._transcoders())

    def arrange(self, wanted: Mapping[int, tuple[Hashable, Callable[[], PacketHandler]]], *, is_open: bool) -> None:
        """Take the handlers of a new agreement by payload type, each named by a key and made where it is new.

        `is_open`: whether the listener is to hear what comes of them.
        """
        self.transcoded = self.transcodes
        made: dict[Hashable, PacketHandler] = {}
        self._by_type = {}
        for number, (key, make) in wanted.items():
            made[key] = self._by_type[number] = made.get(key) or self._made.get(key) or make()
        self._made = made
        self._open = is_open
        if not self._transcoders():
            self._stop()

    def handle(self, packet: MediaPacket, now: float) -> None:
        """One packet of the party."""
        handler = self._by_type.get(packet.payload_type)
        if handler is None:
            return
        listener = self._listener()
        for made in handler.handle(packet, now):
            if self._open and listener is not None and listener.hears:
                listener.inject(made)
        if isinstance(handler, Transcoder) and self._player is None:
            self._player = self._pacer.add(self._tick)

    def flush(self, now: float) -> None:
        """Report digits whose end never came."""
        for handler in self._made.values():
            if isinstance(handler, EventHandler):
                handler.flush(now)

    def close(self) -> None:
        """Nothing of the party is heard any more."""
        self._stop()
        self.arrange({}, is_open=False)

    def _transcoders(self) -> list[Transcoder]:
        return [each for each in self._made.values() if isinstance(each, Transcoder)]

    def _stop(self) -> None:
        self._pacer.remove(self._player)
        self._player = None

    def _tick(self, now: float) -> bool:
        listener = self._listener()
        transcoders = self._transcoders()
        heard = self._open and listener is not None and listener.hears and not listener.playing.digits_going
        for transcoder in transcoders:
            packets = transcoder.tick(now)
            if not heard or listener is None:
                transcoder.pause()
                continue
            for packet in packets:
                listener.inject(packet)
        if all(transcoder.resting for transcoder in transcoders):
            self._player = None
            return False
        return True
