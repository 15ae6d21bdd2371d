"""One peer: its connection, the tracks toward it, what comes from it, its data channel and files."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np
from aiortc import MediaStreamTrack, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from gateway.remotemedia.closing import close
from gateway.remotemedia.config import WebRtcTransportConfig
from gateway.remotemedia.errors import TransportError
from gateway.remotemedia.media import RATE, AudioEncoderConfig, AudioSource, Samples, VideoSource

log = logging.getLogger(__name__)

_VIDEO_ADDRESS = re.compile(r"^m=video .*\r\nc=.*\r\n", re.MULTILINE)
_DATA_LABEL = "data"
_FILE_PREFIX = "file:"
_CHUNK = 16_384
_MAX_BUFFERED = 1_048_576
_MAX_FILE = 64 * 1_048_576


@dataclass(slots=True, kw_only=True)
class Callbacks:
    """What an application wants to hear of; each may be plain or async."""

    on_audio: Callable[[str, Samples], Any] | None = None
    """(peer id, float32 samples, mono, 48 kHz)"""
    on_video: Callable[[str, av.VideoFrame], Any] | None = None
    on_data: Callable[[str, str | bytes], Any] | None = None
    on_file: Callable[[str, str, bytes], Any] | None = None
    """(peer id, name, content)"""
    on_peer_connected: Callable[[str], Any] | None = None
    on_peer_disconnected: Callable[[str], Any] | None = None


@dataclass(slots=True)
class _Incoming:
    name: str
    size: int
    parts: list[bytes] = field(default_factory=list)
    received: int = 0


class Peer:
    """Made by `WebRtcTransport`; use it by `transport.peer_manager.get_peer(id)`."""

    def __init__(
        self,
        peer_id: str,
        config: WebRtcTransportConfig,
        callbacks: Callbacks,
        ended: Callable[[Peer], None] = lambda peer: None,
    ) -> None:
        """`ended` hears of a connection that has ended by itself or by the other side: `close` it."""
        self.id = peer_id
        self.connected_at = 0.0
        """Unix seconds; 0 until it is connected."""
        self.connection = RTCPeerConnection(config.rtc())
        self.connected = asyncio.Event()
        self.closed = asyncio.Event()
        self._config = config
        self._callbacks = callbacks
        self._ended = ended
        self._is_told = False
        self._audio = AudioSource()
        self._video: VideoSource | None = None
        self._data: RTCDataChannel | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.connection.on("connectionstatechange", self._on_state)
        self.connection.on("track", self._on_track)
        self.connection.on("datachannel", self._on_channel)

    # Description.

    def prepare(self) -> None:
        """What every connection begins with: audio both ways and, if wanted, the data channel."""
        self.connection.addTrack(self._audio)
        if self._config.enable_data_channel:
            reliable = self._config.data_channel_ordered
            channel = self.connection.createDataChannel(
                _DATA_LABEL, ordered=reliable, maxRetransmits=None if reliable else 0
            )
            self._use(channel)

    async def offer(self) -> str:
        """Our offer, with all candidates."""
        await self.connection.setLocalDescription(await self.connection.createOffer())
        return self._description()

    async def answer(self, sdp: str) -> str:
        """Take an offer; our answer to it. Raises TransportError."""
        with self._usable("offer"):
            await self.connection.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
            if not any(sender.track is self._audio for sender in self.connection.getSenders()):
                self.connection.addTrack(self._audio)
            await self.connection.setLocalDescription(await self.connection.createAnswer())
            return self._description()

    def _description(self) -> str:
        """Ours, with the bound of what its pictures may take."""
        limit = f"b=AS:{self._config.video_bitrate // 1000}\r\n"
        return _VIDEO_ADDRESS.sub(lambda found: found[0] + limit, str(self.connection.localDescription.sdp))

    async def accept(self, sdp: str) -> None:
        """Take the answer to our offer. Raises TransportError."""
        with self._usable("answer"):
            await self.connection.setRemoteDescription(RTCSessionDescription(sdp, "answer"))

    @contextlib.contextmanager
    def _usable(self, kind: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # aiortc has no error of its own for what it cannot use
            raise TransportError(f"the {kind} of {self.id} cannot be used: {error!r}") from error

    async def until_connected(self) -> None:
        """Raises TransportError where it ends instead."""
        await _first(self.connected, self.closed)
        if self.closed.is_set():
            raise TransportError(f"the connection with {self.id} has ended")

    async def add_audio_track(self, config: AudioEncoderConfig | None = None) -> None:
        """Encode what is sent with these settings from now on; the track itself is there from the beginning."""
        former, self._audio = self._audio, AudioSource(config)
        for sender in self.connection.getSenders():
            if sender.track is former:
                sender.replaceTrack(self._audio)
        former.stop()

    @property
    def sends_video(self) -> bool:
        """Whether it was given a video track."""
        return self._video is not None

    # Sending.

    def send_audio(self, samples: Samples) -> None:
        """Queue float32 samples at 48 kHz, a multiple of 960."""
        self._audio.put(samples)

    def send_encoded(self, packet: bytes) -> None:
        """Queue 20 ms of Opus that are encoded already."""
        self._audio.put_encoded(packet)

    def add_video_track(self) -> None:
        """Before the connection is set up: send video too."""
        if self._video is None:
            self._video = VideoSource()
            self.connection.addTrack(self._video)

    def send_video(self, frame: Any) -> None:
        """The next picture. Raises TransportError without a video track."""
        if self._video is None:
            raise TransportError("the peer was connected without video")
        self._video.put(frame)

    def send_data(self, data: str | bytes) -> None:
        """One message over the data channel. Raises TransportError when it is not open."""
        if self._data is None or self._data.readyState != "open":
            raise TransportError("the data channel is not open")
        self._data.send(data)

    async def send_file(self, name: str, content: bytes) -> None:
        """A file over a channel of its own; returns when all of it is on its way.

        Raises TransportError, also where the other side goes in the middle of it, or takes no more of it.
        """
        if len(content) > _MAX_FILE:
            raise TransportError(f"a file may have {_MAX_FILE} bytes")
        channel = self.connection.createDataChannel(_FILE_PREFIX + uuid.uuid4().hex)
        moved = asyncio.Event()
        channel.bufferedAmountLowThreshold = _MAX_BUFFERED // 2
        for event in ("open", "bufferedamountlow", "close"):
            channel.on(event, moved.set)
        try:
            await self._until_moved(channel, moved)
            channel.send(json.dumps({"name": name, "size": len(content)}))
            for offset in range(0, len(content), _CHUNK):
                while channel.bufferedAmount > _MAX_BUFFERED:
                    await self._until_moved(channel, moved)
                channel.send(content[offset : offset + _CHUNK])
        except BaseException as error:
            channel.close()
            if isinstance(error, ValueError):  # more at once than the other side takes
                raise TransportError(str(error)) from None
            raise

    async def _until_moved(self, channel: RTCDataChannel, moved: asyncio.Event) -> None:
        """Wait until a channel is open or has less to send. Raises TransportError where it ends, or neither happens."""
        moved.clear()
        before = channel.readyState, channel.bufferedAmount
        await _first(moved, self.closed, seconds=self._config.connect_timeout)
        if self.closed.is_set() or channel.readyState in ("closing", "closed"):
            raise TransportError("the channel of the file has closed")
        if (channel.readyState, channel.bufferedAmount) == before:
            raise TransportError("the other side does not take the file")

    # Receiving.

    def _on_state(self) -> None:
        state = self.connection.connectionState
        if state == "connected" and not self.connected.is_set():
            self.connected_at = time.time()
            self.connected.set()
            self._tell(self._callbacks.on_peer_connected)
        elif state in ("failed", "closed") and not self.closed.is_set():
            self.closed.set()
            self._ended(self)

    def _on_track(self, track: MediaStreamTrack) -> None:
        self._start(self._hear(track) if track.kind == "audio" else self._see(track))

    async def _hear(self, track: MediaStreamTrack) -> None:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
        try:
            while True:
                frame = await track.recv()
                assert isinstance(frame, av.AudioFrame)
                for part in resampler.resample(frame):
                    samples = part.to_ndarray().reshape(-1).astype(np.float32, copy=False)
                    self._tell(self._callbacks.on_audio, samples)
        except MediaStreamError:
            return

    async def _see(self, track: MediaStreamTrack) -> None:
        try:
            while True:
                self._tell(self._callbacks.on_video, await track.recv())
        except MediaStreamError:
            return

    def _on_channel(self, channel: RTCDataChannel) -> None:
        if channel.label.startswith(_FILE_PREFIX):
            self._receive_file(channel)
        elif channel.label == _DATA_LABEL:
            self._use(channel)

    def _use(self, channel: RTCDataChannel) -> None:
        self._data = channel
        channel.on("message", lambda message: self._tell(self._callbacks.on_data, message))

    def _receive_file(self, channel: RTCDataChannel) -> None:
        incoming: list[_Incoming] = []
        done = False

        def take(message: str | bytes) -> None:
            nonlocal done
            if done:
                return  # the other side has not taken notice that the channel is closed
            if not incoming:
                incoming.append(_header(message))
            elif isinstance(message, bytes):
                incoming[0].parts.append(message)
                incoming[0].received += len(message)
            file = incoming[0]
            if file.received >= file.size:
                done = True
                channel.close()
                if file.received == file.size and file.name:
                    self._tell(self._callbacks.on_file, file.name, b"".join(file.parts))

        channel.on("message", take)

    def _tell(self, callback: Callable[..., Any] | None, *details: Any) -> None:
        if callback is None:
            return
        try:
            result = callback(self.id, *details)
        except Exception:
            log.exception("a callback failed")
            return
        if asyncio.iscoroutine(result):
            self._start(result)

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def statistics(self) -> tuple[int, int, int, int]:
        """Bytes sent, bytes received, packets sent, packets lost, as RTCP and RTP count them."""
        sent = received = packets = lost = 0
        for entry in (await self.connection.getStats()).values():
            sent += getattr(entry, "bytesSent", 0) if entry.type == "outbound-rtp" else 0
            packets += getattr(entry, "packetsSent", 0) if entry.type == "outbound-rtp" else 0
            lost += max(0, getattr(entry, "packetsLost", 0)) if entry.type == "inbound-rtp" else 0
            received += getattr(entry, "bytesReceived", 0) if entry.type == "transport" else 0
        return sent, received, packets, lost

    async def _cancel_tasks(self) -> None:
        """Cancel what negotiates: a connection that is closed while it gathers candidates leaves its sockets open."""
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """End the connection; idempotent."""
        self._audio.stop()
        if self._video is not None:
            self._video.stop()
        await self._cancel_tasks()
        await close(self.connection)
        self.closed.set()
        if self.connected.is_set() and not self._is_told:
            self._is_told = True
            self._tell(self._callbacks.on_peer_disconnected)


async def _first(*events: asyncio.Event, seconds: float | None = None) -> None:
    """Wait until one of them is set, so long at most."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def _header(message: str | bytes) -> _Incoming:
    """What a file's first message says; a file of no size and name for what is none."""
    try:
        header = json.loads(message)
        name, size = str(header["name"]), int(header["size"])
    except (ValueError, KeyError, TypeError):
        return _Incoming("", 0)
    return _Incoming(name, size) if 0 <= size <= _MAX_FILE else _Incoming("", 0)
