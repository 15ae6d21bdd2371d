"""What the engine itself plays to one party on its outgoing stream: digits, the tone, silence."""

from __future__ import annotations

from collections import deque

from gateway.media.embedded.audio.codecs import CODECS
from gateway.media.embedded.plane.packet import RtpError
from gateway.media.embedded.plane.relay import Relay
from gateway.media.embedded.sources.digits import DigitSender
from gateway.media.embedded.sources.pacer import Pacer
from gateway.media.embedded.sources.players import LoopPlayer, loop_frames
from gateway.media.engine import MediaError
from sdp import Codec

MAXIMUM_DIGITS = 64
"""Digits waiting to be sent to one party."""
DIGIT_GAP_TICKS = 4
"""Ticks of 20 ms between two digits (RFC 4733 has no rule; receivers need 40 ms)."""


class Playing:
    """The players of one party. Digits silence the audio while they last, silence yields to any packet."""

    def __init__(self, pacer: Pacer, out: Relay) -> None:
        self._pacer = pacer
        self._out = out
        self._players: dict[str, int] = {}
        self._digits: deque[tuple[str, int]] = deque()
        self._events: dict[int, int] = {}
        self._digit: DigitSender | None = None
        self._gap = 0

    def close(self) -> None:
        """Play no more."""
        for number in self._players.values():
            self._pacer.remove(number)
        self._players.clear()

    def digit(self, digit: str, duration_ms: int, events: dict[int, int]) -> None:
        """Queue one digit; `events`: telephone-event payload types by clock rate in Hz.

        Raises MediaError: 400 for what is no digit, 488 without events, 503 when too many wait.
        """
        self._events = events
        if not events:
            raise MediaError("this party takes no telephone-events", 488)
        if len(self._digits) >= MAXIMUM_DIGITS:
            raise MediaError("too many digits are waiting", 503)
        try:
            self._sender(digit, duration_ms)
        except RtpError as error:
            raise MediaError(str(error), 400) from None
        self._digits.append((digit, duration_ms))
        if "digits" not in self._players:
            self._players["digits"] = self._pacer.add(self._digit_tick)

    def _sender(self, digit: str, duration_ms: int) -> DigitSender:
        out = self._out
        rate = out.rate_out if out.rate_out in self._events else next(iter(self._events))
        return DigitSender(out, self._events[rate], rate, digit, duration_ms)

    def _digit_tick(self, now: float) -> bool:
        if self._gap:
            self._gap -= 1
            return True
        if self._digit is None:
            if not self._digits:
                del self._players["digits"]
                return False
            self._digit = self._sender(*self._digits.popleft())
        if not self._digit.tick(now):
            self._digit, self._gap = None, DIGIT_GAP_TICKS
        return True

    def tone(self, codec: Codec, frequency: int, level_dbm0: float) -> None:
        """Play a steady tone from now on."""
        self._loop("tone", codec, frequency, level_dbm0, yields=False)

    def silence(self, codec: Codec) -> None:
        """Play silence until something else goes out."""
        if not self._players:
            self._loop("silence", codec, 0, 0.0, yields=True)

    def _loop(self, name: str, codec: Codec, frequency: int, level_dbm0: float, *, yields: bool) -> None:
        self._pacer.remove(self._players.pop(name, None))
        if codec.payload_type is None or codec.key[0] not in CODECS:
            return
        frames = loop_frames(codec.key[0], frequency, level_dbm0)
        player = LoopPlayer(self._out, codec.payload_type, codec.clock_rate, frames, yields=yields)

        def tick(now: float) -> bool:
            going = player(now)
            if not going:
                self._players.pop(name, None)
            return going

        self._players[name] = self._pacer.add(tick)
