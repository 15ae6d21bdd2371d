"""The native plane as a process, and what is told of it."""

from __future__ import annotations

from pathlib import Path

from gateway.media.embedded.plane.srtp import SrtpProfile
from gateway.media.embedded.plane.values import Bound, FlowConfig, Route
from tests.media.plane_rig import (
    HOST,
    PCMU,
    Browser,
    Peer,
    Phone,
    Told,
    native_plane,
)

SHARED = 1


class Rig:
    """One plane with its shared port."""

    def __init__(self, state_dir: Path, *, threads: int = 2) -> None:
        self.plane = native_plane(state_dir, threads=threads)
        self.told = Told()
        self.peers: list[Peer] = []
        self.bound: Bound

    async def start(self) -> None:
        await self.plane.start(self.told)
        (self.bound,) = await self.plane.open_shared(SHARED, [HOST], 0, receive_buffer=1 << 22, send_buffer=1 << 22)

    async def phone(
        self, flow: int, config: FlowConfig | None = None, *, named: bool = True, host: str = HOST
    ) -> Phone:
        made = Phone(self.plane, flow, host)
        self.peers.append(made)
        await made.open(config, named=named)
        return made

    async def browser(self, flow: int, profile: SrtpProfile = SrtpProfile.AEAD_AES_128_GCM) -> Browser:
        made = Browser(self.plane, flow, profile)
        self.peers.append(made)
        await made.open(self.told, SHARED, self.bound)
        return made

    def join(self, one: Phone | Browser, other: Phone | Browser, route: Route = PCMU) -> None:
        for source, target in ((one, other), (other, one)):
            self.plane.route(source.flow, target.flow, {0: route})

    async def close(self) -> None:
        for peer in self.peers:
            peer.close()
        await self.plane.close()
