"""What a leg needs of the browsers' port."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from gateway.media.embedded.plane.protocol import Plane
from gateway.media.embedded.plane.values import Address, FlowConfig, Host
from gateway.media.embedded.webrtc.alarm import Timer
from gateway.media.embedded.webrtc.config import WebRtcConfig
from gateway.media.embedded.webrtc.dtls import DtlsContext
from gateway.media.embedded.webrtc.ice import IceCredentials
from gateway.media.embedded.webrtc.stun import Check
from sdp import TransportPlan

L = TypeVar("L", contravariant=True)
"""One of the port's legs."""


class LegHost(Protocol[L]):
    """What a leg needs of the port it lives on."""

    @property
    def config(self) -> WebRtcConfig: ...

    @property
    def dtls(self) -> DtlsContext: ...

    @property
    def plane(self) -> Plane: ...

    def clock(self) -> float: ...

    def transport_plan(self, credentials: IceCredentials) -> TransportPlan: ...

    def open_flow(self, leg: L, config: FlowConfig) -> int:
        """A flow of the plane on the port; its number."""

    def new_credentials(self, leg: L) -> IceCredentials:
        """Draw credentials with an unused ufrag and route its checks to `leg`."""

    def take_credentials(self, leg: L, credentials: IceCredentials) -> None:
        """Route checks that name them to `leg`."""

    def forget_ufrag(self, ufrag: str) -> None: ...

    def claim_address(self, leg: L, path: int, address: Address, now: float) -> bool:
        """Make `address` the leg's, unless another leg is using it."""

    def release_address(self, leg: L, path: int, address: Address) -> None: ...

    def forget_leg(self, leg: L) -> None: ...

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer: ...

    def permit(self, host: Host) -> None:
        """Let this address reach us by the relays."""

    def send_check(self, leg: L, address: Address, check: Check, path: int | None = None) -> list[tuple[bytes, int]]:
        """Send a check to this address from one socket, or from every one of its IP version.

        Gives (transaction id, path) of each. Of one that controls the leg gets the response.
        """

    def forget_checks(self, transactions: Iterable[bytes]) -> None:
        """Nobody waits for these responses any more."""
