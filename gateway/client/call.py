"""A call with sound, on aiortc."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from types import TracebackType
from typing import Self

import av
from aiortc import MediaStreamTrack, RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

_CONNECT_SECONDS = 15.0


class Call:
    """Made by `GatewayClient.call`; hang up, or leave it as an async context manager."""

    def __init__(
        self, servers: Sequence[tuple[list[str], str | None, str | None]], audio: MediaStreamTrack | None
    ) -> None:
        ice = [RTCIceServer(urls=urls, username=user, credential=secret) for urls, user, secret in servers]
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=ice))
        self.session_id = ""
        self.on_hang_up: Callable[[str], Awaitable[None]] | None = None
        self._audio = audio
        self._track: asyncio.Future[MediaStreamTrack] = asyncio.get_running_loop().create_future()
        self._connected = asyncio.Event()
        self.connection.on("track", self._on_track)
        self.connection.on("connectionstatechange", self._on_state)

    def _on_track(self, track: MediaStreamTrack) -> None:
        if not self._track.done():
            self._track.set_result(track)

    def _on_state(self) -> None:
        if self.connection.connectionState == "connected":
            self._connected.set()

    async def offer(self) -> str:
        """Our offer, with all candidates."""
        if self._audio is None:
            self.connection.addTransceiver("audio", direction="recvonly")
        else:
            self.connection.addTrack(self._audio)
        await self.connection.setLocalDescription(await self.connection.createOffer())
        return str(self.connection.localDescription.sdp)

    async def connect(self, answer: str) -> None:
        """Take the answer and wait until the media is connected. Raises TimeoutError."""
        await self.connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        async with asyncio.timeout(_CONNECT_SECONDS):
            await self._connected.wait()

    async def frames(self) -> AsyncIterator[av.AudioFrame]:
        """What the other side says, frame by frame, until the call ends."""
        track = await self._track
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            assert isinstance(frame, av.AudioFrame)
            yield frame

    async def hang_up(self) -> None:
        """End the call; idempotent."""
        on_hang_up, self.on_hang_up = self.on_hang_up, None
        try:
            if on_hang_up is not None:
                await on_hang_up(self.session_id)
        except Exception as error:
            if getattr(error, "code", None) != 404:  # it has ended already
                raise
        finally:
            if not self._track.done():
                self._track.cancel()
            await self.connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.hang_up()
