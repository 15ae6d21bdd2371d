"""Leg of an announcement: early media for the caller of a failed call, before the rejection (RFC 3960 section 3)."""

from __future__ import annotations

from collections.abc import Callable

from gateway.call.leg import Address, OfferAnswered, Rejected, Ringing
from gateway.call.status import Cause
from gateway.call.timers import Timer, Timers
from gateway.legs.application import PROGRAM
from gateway.legs.base import LegBase
from gateway.media.engine import AudioPort, Kind, MediaError, Party

_PATIENCE = 5.0
"""Seconds for the caller's media to come up and for codec and network delay, before the rejection is sent."""


class AnnouncementLeg(LegBase):
    """A callee that sends early media and then rejects the call with the cause of the failure."""

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
        """`sound` holds int16 samples at `rate` a second. `audio` returns the engine's port for the leg's tag or raises
        MediaError; `on_end` is called once at the end.
        """
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
        """Do nothing: the leg never offers."""

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
