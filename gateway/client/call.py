"""A call with sound, on aiortc."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Protocol, Self

import av
from aiortc import MediaStreamTrack, RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from gateway.client.errors import ClientError
from gateway.client.values import SessionState

_CONNECT_SECONDS = 15.0
_END_SECONDS = 5.0
"""How long the end of the sound waits for the word why."""


class _Api(Protocol):
    async def session(self, session_id: str, *, unlike: str | None = None) -> SessionState: ...

    async def close_session(self, session_id: str, reason: str | None = None) -> None: ...


class Call:
    """Made by `GatewayClient.call`; hang up, or leave it as an async context manager."""

    def __init__(
        self, servers: Sequence[tuple[list[str], str | None, str | None]], audio: MediaStreamTrack | None
    ) -> None:
        ice = [RTCIceServer(urls=urls, username=user, credential=secret) for urls, user, secret in servers]
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=ice))
        self.session_id = ""
        """How the gateway names it."""
        self.state = "calling"
        """What was heard of it last: "calling", "ringing", "answered" or "ended"."""
        self.cause: str | None = None
        """Why it has ended: "normal", "busy", "declined", …; None where that is not known."""
        self.reason: str | None = None
        """The same as a sentence."""
        self._api: _Api | None = None
        self._is_given_up = False
        """Whether we have ended it."""
        self._audio = audio
        self._track: asyncio.Future[MediaStreamTrack | None] = asyncio.get_running_loop().create_future()
        """None: there will be none."""
        self._closing: asyncio.Future[None] | None = None
        self._settled = asyncio.Event()
        """It is connected, or will not be."""
        self.connection.on("track", self._on_track)
        self.connection.on("connectionstatechange", self._on_state)

    def _on_track(self, track: MediaStreamTrack) -> None:
        if not self._track.done():
            self._track.set_result(track)

    def _on_state(self) -> None:
        state = self.connection.connectionState
        if state in ("connected", "failed", "closed"):
            self._settled.set()
        if state in ("failed", "closed"):
            self._no_track()

    def _no_track(self) -> None:
        if not self._track.done():
            self._track.set_result(None)

    def attach(self, session_id: str, api: _Api) -> None:
        """From now on it is that session of the gateway."""
        self.session_id, self._api = session_id, api

    async def offer(self) -> str:
        """Our offer, with all candidates."""
        if self._audio is None:
            self.connection.addTransceiver("audio", direction="recvonly")
        else:
            self.connection.addTrack(self._audio)
        await self.connection.setLocalDescription(await self.connection.createOffer())
        return str(self.connection.localDescription.sdp)

    async def connect(self, answer: str) -> None:
        """Take the answer and wait until the media is connected. Raises TimeoutError where it is not."""
        await self.connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        async with asyncio.timeout(_CONNECT_SECONDS):
            await self._settled.wait()
        if self.connection.connectionState != "connected":
            raise TimeoutError

    async def answered(self) -> None:
        """Wait until the other side has answered. Raises ClientError that says why where the call ends instead.

        What comes before is ringback, or what the other side lets callers hear.
        """
        await self._until("answered", "ended")
        if self.state == "ended":
            raise ClientError(self.reason or "The call has ended.", session_id=self.session_id, cause=self.cause)

    async def ended(self) -> str | None:
        """Wait until the call has ended; its `cause`. Raises ClientError."""
        await self._until("ended")
        return self.cause

    async def look(self, *, unlike: str | None = None) -> None:
        """Ask what it is at; where it is at `unlike`, wait a while for another state. Raises ClientError."""
        assert self._api is not None
        try:
            found = await self._api.session(self.session_id, unlike=unlike)
        except ClientError as error:
            if error.code != 404:
                raise
            self.state = "ended"  # too long ago, or the gateway has started again
        else:
            self.state, self.cause, self.reason = found.state, found.cause, found.reason

    async def _until(self, *states: str) -> None:
        while self.state not in states and self._api is not None:
            await self.look(unlike=self.state)

    async def frames(self) -> AsyncIterator[av.AudioFrame]:
        """What the other side says, frame by frame, until the call ends; then `cause` says why."""
        track = await self._track
        while track is not None:
            try:
                frame = await track.recv()
            except MediaStreamError:
                break
            assert isinstance(frame, av.AudioFrame)
            yield frame
        with contextlib.suppress(ClientError, TimeoutError):
            await asyncio.wait_for(self._until("ended"), _END_SECONDS)

    async def hang_up(self) -> None:
        """End the call; idempotent."""
        is_new, self._is_given_up = not self._is_given_up, True
        try:
            if is_new and self._api is not None and self.state != "ended":
                await self._api.close_session(self.session_id)
        except ClientError as error:
            if error.code != 404 and (error.code, error.cause) != (408, "media-failed"):  # it has ended already
                raise
        finally:
            if self.state != "ended":
                self.state, self.cause = "ended", "normal"
            self._no_track()
            # Given up half-way it would leave its media running, and never end for who asks again.
            self._closing = self._closing or asyncio.ensure_future(self.connection.close())
            await asyncio.shield(self._closing)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.hang_up()
        except ClientError:
            if error is None:  # else that is why the block ends
                raise
