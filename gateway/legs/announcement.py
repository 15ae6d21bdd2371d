"""The leg of an announcement: sound for a caller whose call has failed, before it is told so (RFC 3960 section 3)."""

from __future__ import annotations

from collections.abc import Callable

from gateway.call.leg import Address, OfferAnswered, Rejected, Ringing
from gateway.call.status import Cause
from gateway.call.timers import Timer, Timers
from gateway.legs.application import PROGRAM
from gateway.legs.base import LegBase
from gateway.media.engine import AudioPort, Kind, MediaError, Party

_PATIENCE = 5.0
"""Seconds that the caller's media may take to come up, or its codec and its network may add, before it is told."""


class AnnouncementLeg(LegBase):
    """A callee that gives early media and then refuses the call, for the reason that the call has failed for."""

    def __init__(
        self,
        tag: str,
        cause: Cause,
        sound: bytes,
        rate: int,
        *,
        audio: Callable[[str], AudioPort],
        timers: Timers,
        on_end: Callable[[], None],
    ) -> None:
        """`sound`: int16 samples, `rate` of them a second. `audio` gives the engine's port of the leg's tag, or raises
        MediaError; `on_end` hears once that it is over."""
        super().__init__(Party(tag, Kind.SERVICE, service=PROGRAM), Address("sip:announcement@service.invalid"))
        self._cause = cause
        self._sound, self._rate = sound, rate
        self._audio = audio
        self._timers = timers
        self._on_end = on_end
        self._timer: Timer | None = None

    async def invite(self, sdp: str, caller: Address) -> None:
        try:
            audio = self._audio(self.party.tag)
            audio.say(self._sound, self._rate)
        except MediaError:
            self._refuse()
            return
        audio.on_said(self._refuse)
        seconds = len(self._sound) / 2 / self._rate
        self._timer = self._timers.call_later(seconds + _PATIENCE, self._refuse)
        self._deliver(Ringing(sdp))

    async def offer(self, exchange: int, sdp: str) -> None:
        if not self._over:
            self._deliver(OfferAnswered(exchange, sdp))

    async def answer_offer(self, exchange: int, sdp: str | None, cause: Cause = Cause.NOT_ACCEPTABLE) -> None:
        """It never offers, so there is nothing to answer."""

    async def end(self, cause: Cause) -> None:
        self._close()

    def _refuse(self) -> None:
        if not self._over:
            self._deliver(Rejected(self._cause))
        self._close()

    def _close(self) -> None:
        if self._over:
            return
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        self._on_end()
