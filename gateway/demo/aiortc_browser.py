"""A stand-in for the browser where no Chromium is: aiortc on the page's own JSON-RPC."""

from __future__ import annotations

import asyncio
import fractions
import json
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import av
import numpy as np
import websockets
from aiortc import (
    InvalidStateError,
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError
from numpy.typing import NDArray

from gateway.demo.chromium import BrowserError
from gateway.demo.tones import Listener, sine
from gateway.remotemedia.closing import close

RATE = 48000
FRAME = 960
"""Samples in 20 ms."""
LOCAL = RTCConfiguration(iceServers=[])
"""Without it aiortc asks a public STUN server, and a demonstration has nothing to say to anybody outside."""


class ToneTrack(MediaStreamTrack):
    """A steady sine, paced in real time."""

    kind = "audio"

    def __init__(self, hz: float) -> None:
        super().__init__()
        self._samples = sine(hz, 1.0, RATE)
        self._sent = 0
        self._began: float | None = None

    async def recv(self) -> av.AudioFrame:
        now = time.monotonic()
        self._began = now if self._began is None else self._began
        await asyncio.sleep(max(0.0, self._began + self._sent / RATE - now))
        place = self._sent % RATE
        frame = av.AudioFrame.from_ndarray(self._samples[None, place : place + FRAME], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self._sent, fractions.Fraction(1, RATE)
        self._sent += FRAME
        return frame


class Mono:
    """Frames of any codec in one channel at RATE; a resampler of libav takes frames of one form alone."""

    def __init__(self) -> None:
        self._form: tuple[str, str, int] | None = None
        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)

    def of(self, frame: av.AudioFrame) -> Iterator[NDArray[np.int16]]:
        """Resample a frame; a change of the codec brings frames of another form."""
        form = frame.format.name, frame.layout.name, frame.sample_rate
        if form != self._form:
            self._form, self._resampler = form, av.AudioResampler(format="s16", layout="mono", rate=RATE)
        for mono in self._resampler.resample(frame):
            yield mono.to_ndarray()[0].astype(np.int16)


class AiortcBrowser:
    """The same face as SoftphoneBrowser, without a page."""

    name = "aiortc"

    def __init__(self, hz: float) -> None:
        self._hz = hz
        self._socket: websockets.ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._ids = 0
        self._replies: dict[int, asyncio.Future[Any]] = {}
        self._state = "connecting"
        self._changed = asyncio.Condition()
        self._peer: str | None = None
        self._offer: dict[str, Any] | None = None
        self._connection: RTCPeerConnection | None = None
        self._ear = Listener(RATE)
        self._sound = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None
        self._offered_at: float | None = None
        self.troubles: list[str] = []
        """What went wrong on this side, for error messages."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The reader may negotiate: a connection that is closed while it gathers candidates leaves its sockets open.
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        await self._drop_media()
        if self._socket is not None:
            await self._socket.close()

    async def open(self, url: str, timeout: float = 30.0) -> None:
        """Connect to the page's /rpc and announce the account that its URL names."""
        parts = urlsplit(url)
        account = parse_qs(parts.fragment)
        scheme = "wss" if parts.scheme == "https" else "ws"
        self._socket = await websockets.connect(f"{scheme}://{parts.netloc}/rpc", open_timeout=timeout)
        self._reader = asyncio.create_task(self._read())
        await self._ask("announce", peer_id=account["user"][0], token=account["token"][0], capabilities={"audio": True})
        if self._peer is None:  # else somebody who was waiting for the page is calling it already
            await self._become("ready")

    async def status(self, *wanted: str, timeout: float = 30.0) -> str:
        """Wait until the state is one of `wanted`; raises BrowserError otherwise."""
        try:
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(lambda: self._state in wanted)
        except TimeoutError:
            raise BrowserError(f"never became {' or '.join(wanted)}, but {self._state}") from None
        return self._state

    async def dial(self, number: str) -> None:
        connection = self._new_connection()
        await connection.setLocalDescription(await connection.createOffer())
        self._peer, self._offered_at = number, time.monotonic()
        await self._become("calling")
        await self._ask("offer", to_peer_id=number, sdp=connection.localDescription.sdp, type="offer")

    async def accept(self) -> None:
        assert self._offer is not None
        connection = self._new_connection()
        await connection.setRemoteDescription(RTCSessionDescription(self._offer["sdp"], "offer"))
        await connection.setLocalDescription(await connection.createAnswer())
        sdp = connection.localDescription.sdp
        await self._ask("answer", to_peer_id=self._offer["from_peer_id"], sdp=sdp, type="answer")
        await self._become("talking")

    async def hang_up(self) -> None:
        await self._ask("disconnect", peer_id=self._peer)
        await self._finish()

    async def reset(self) -> None:
        """Back to rest, whatever state this is in."""
        if self._peer is not None:
            await self.hang_up()

    async def offered_at(self) -> float | None:
        """When the last offer was made, in seconds of time.monotonic()."""
        return self._offered_at

    async def first_sound(self, timeout: float = 30.0) -> float:
        try:
            async with asyncio.timeout(timeout):
                await self._sound.wait()
        except TimeoutError:
            raise BrowserError("no sound was heard") from None
        assert self._ear.first_sound is not None
        return self._ear.first_sound

    async def tone(self, hz: float, timeout: float = 30.0) -> float:
        heard: float | None = None
        try:
            async with asyncio.timeout(timeout):
                while True:
                    heard = self._ear.tone()
                    if heard is not None and abs(heard - hz) <= 15:
                        return heard
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise BrowserError(f"never heard {hz:g} Hz, but {heard}") from None

    def _new_connection(self) -> RTCPeerConnection:
        self._ear.forget()
        self._sound.clear()
        connection = self._connection = RTCPeerConnection(LOCAL)
        connection.addTrack(ToneTrack(self._hz))

        @connection.on("track")
        def on_track(track: MediaStreamTrack) -> None:
            self._listening = asyncio.create_task(self._listen(track))

        return connection

    async def _listen(self, track: MediaStreamTrack) -> None:
        mono = Mono()
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            assert isinstance(frame, av.AudioFrame)
            for samples in mono.of(frame):
                self._ear.hear(samples, time.monotonic())
                if self._ear.first_sound is not None:
                    self._sound.set()

    async def _tell(self, method: str, **params: Any) -> None:
        """A notification: from within the reader nobody could wait for the reply."""
        assert self._socket is not None
        await self._socket.send(json.dumps({"jsonrpc": "2.0", "method": method, "params": params}))

    async def _ask(self, method: str, **params: Any) -> Any:
        assert self._socket is not None
        self._ids += 1
        reply = self._replies[self._ids] = asyncio.get_running_loop().create_future()
        await self._socket.send(json.dumps({"jsonrpc": "2.0", "id": self._ids, "method": method, "params": params}))
        async with asyncio.timeout(10):
            return await reply

    async def _read(self) -> None:
        assert self._socket is not None
        async for text in self._socket:
            message = json.loads(text)
            if "method" in message:
                await self._heard(message["method"], message.get("params", {}))
                continue
            reply = self._replies.pop(message["id"], None)
            if reply is not None and not reply.done():
                if "error" in message:
                    reply.set_exception(BrowserError(str(message["error"].get("message"))))
                else:
                    reply.set_result(message["result"])

    async def _heard(self, method: str, params: dict[str, Any]) -> None:
        match method:
            case "offer" if params.get("update"):
                await self._update(params)
            case "offer":
                self._offer, self._peer = params, params["from_peer_id"]
                await self._become("ringing")
            case "answer" if self._connection is not None:
                await self._connection.setRemoteDescription(RTCSessionDescription(params["sdp"], "answer"))
            case "call_state" if params.get("state") == "answered":
                await self._become("talking")
            case "peer_disconnected":
                await self._finish()

    async def _update(self, params: dict[str, Any]) -> None:
        """Answer a re-offer of the call there is (hold, another codec); what aiortc cannot do is refused."""
        description: dict[str, Any] = {"type": "rollback"}
        if self._connection is not None:
            try:
                connection = self._connection
                known = connection.remoteDescription
                if known is None or _certificates(params["sdp"]) != _certificates(known.sdp):
                    # The gateway's end is another one (RFC 8842): a new connection.
                    await self._drop_media()
                    connection = self._new_connection()
                await connection.setRemoteDescription(RTCSessionDescription(params["sdp"], "offer"))
                await connection.setLocalDescription(await connection.createAnswer())
                description = {"type": "answer", "sdp": connection.localDescription.sdp}
            except (ValueError, InvalidStateError) as error:
                self.troubles.append(f"a re-offer was refused: {error}")
        await self._tell("answer", to_peer_id=params["from_peer_id"], call_id=params.get("call_id"), **description)

    async def _finish(self) -> None:
        self._peer = self._offer = None
        await self._drop_media()
        await self._become("ready")

    async def _drop_media(self) -> None:
        if self._connection is not None:
            await close(self._connection)
            self._connection = None
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
            self._listening = None

    async def _become(self, state: str) -> None:
        async with self._changed:
            self._state = state
            self._changed.notify_all()


def _certificates(sdp: str) -> set[str]:
    """Which a description names."""
    return {line.lower() for line in sdp.splitlines() if line.startswith("a=fingerprint:sha-256")}
