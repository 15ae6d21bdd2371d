"""Interface of a party's transport, implemented by `webrtc.leg` and `rtp.leg`."""

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
    """Signalling side of a peer's transport; the plane handles the packets."""

    flow: int
    """Number of the flow in the plane."""
    discarded: dict[str, int]
    """Number of packets dropped by the transport, by reason."""

    @property
    def ready(self) -> bool:
        """True if sent media can reach the peer."""

    def values(self) -> dict[str, Any] | None:
        """Return values for another process to continue the transport, without SRTP keys; None before an agreement."""

    async def open(self) -> None:
        """Bind ports as needed; raises MediaError 503 without room."""

    def plan(self) -> TransportPlan:
        """Return the transport part of our next description."""

    @property
    def local_secrets(self) -> object:
        """Parts of `plan` that change if the peer requests a new connection; compared for equality."""

    def agree(self, agreement: MediaAgreement, side: Side, private_source: str | None = None) -> None:
        """Apply an agreement; `side` is our side. Raises MediaError 488 without any change."""

    def trickle(self, candidate: str) -> None:
        """Add a trickled candidate of the peer ("candidate:…", RFC 8838); ignored if no checks are sent."""

    def close(self) -> None:
        """Release all resources; idempotent."""


class Openable(Protocol):
    """Object that must be opened before use."""

    async def open(self) -> None: ...


async def opened(parties: Sequence[Openable]) -> None:
    """Open parties concurrently, so that the plane receives one batch; raises the first MediaError once all finish."""
    if len(parties) == 1:
        await parties[0].open()
        return
    outcomes = await asyncio.gather(*[party.open() for party in parties], return_exceptions=True)
    for outcome in outcomes:
        if outcome is not None:
            raise outcome


def agreed_beside(agree: Callable[[], None], close: Callable[[], None]) -> None:
    """Apply the agreement of a video or text stream; on MediaError close the stream, and let the call continue."""
    try:
        agree()
    except MediaError as error:
        logger.info("a stream beside the voice is refused: %s", error.reason)
        close()
