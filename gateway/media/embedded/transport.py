"""What a party knows of its transport, whichever kind it is: `webrtc.leg` or `rtp.leg`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from gateway.media.engine import MediaError
from sdp import MediaAgreement, TransportPlan
from sdp.negotiation import Side

logger = logging.getLogger("gateway.media")


class Transport(Protocol):
    """One peer's way in and out. Its packets are the plane's; this is what signalling says and hears of it."""

    flow: int
    """Its flow in the plane."""
    discarded: dict[str, int]
    """What it dropped itself, by reason."""

    @property
    def ready(self) -> bool:
        """Whether media that is sent would reach the peer now."""

    def values(self) -> dict[str, Any] | None:
        """What another process needs to go on with it, without any SRTP key; None where nothing is agreed yet."""

    async def open(self) -> None:
        """Bind what it needs; raises MediaError 503 where there is no room."""

    def plan(self) -> TransportPlan:
        """What our next description says of it."""

    @property
    def local_secrets(self) -> object:
        """What of `plan` changes where the peer asks for a new connection."""

    def agree(self, agreement: MediaAgreement, side: Side, private_source: str | None = None) -> None:
        """Take what was agreed; `side` is who of the two offered. Raises MediaError 488, and has changed nothing."""

    def trickle(self, candidate: str) -> None:
        """A candidate of the peer ("candidate:…", RFC 8838); who needs none ignores it."""

    def close(self) -> None:
        """Give everything back; idempotent."""


class Openable(Protocol):
    """What is opened before it is used."""

    async def open(self) -> None: ...


async def opened(parties: Sequence[Openable]) -> None:
    """Open new parties side by side, so that the plane is asked once; raises the first MediaError when all are done."""
    if len(parties) == 1:
        await parties[0].open()
        return
    outcomes = await asyncio.gather(*[party.open() for party in parties], return_exceptions=True)
    for outcome in outcomes:
        if outcome is not None:
            raise outcome


def agreed_beside(agree: Callable[[], None], close: Callable[[], None]) -> None:
    """Take what was agreed of a stream beside the voice, or close it where nothing can come of it: the call goes on."""
    try:
        agree()
    except MediaError as error:
        logger.info("a stream beside the voice is refused: %s", error.reason)
        close()
