"""Leg of a built-in service: answers at once; the media engine provides the sound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.call.leg import Address, Answered, LegEvent, LegName, OfferAnswered
from gateway.call.status import Cause
from gateway.legs.base import LegBase
from gateway.media.engine import Kind, Party


class ServiceLeg(LegBase):
    """Echo or tone: accepts every offer with the engine's own description."""

    def __init__(self, tag: str, service: str, name: str = "") -> None:
        """`name` is an additional name for `is_named`."""
        party = Party(tag, Kind.SERVICE, service=service)
        super().__init__(party, Address(f"sip:{service}@service.invalid", service.capitalize()))
        self._name = name

    def is_named(self, name: LegName) -> bool:
        return super().is_named(name) or (bool(self._name) and name == self._name)

    async def invite(self, sdp: str, caller: Address) -> None:
        self._tell(Answered(sdp))

    async def offer(self, exchange: int, sdp: str) -> None:
        self._tell(OfferAnswered(exchange, sdp))

    async def answer_offer(self, exchange: int, sdp: str | None, cause: Cause = Cause.NOT_ACCEPTABLE) -> None:
        """Do nothing: a service never offers."""

    async def digit(self, digit: str, duration_ms: int, *, sent: bool, told: Callable[[bool], None]) -> None:
        """Accept and ignore a digit."""
        told(True)

    def values(self) -> dict[str, Any] | None:
        return {"kind": "service", "tag": self.party.tag, "service": self.party.service, "name": self._name}

    async def end(self, cause: Cause) -> None:
        self._over = True

    def _tell(self, event: LegEvent) -> None:
        if not self._over:
            self._deliver(event)
