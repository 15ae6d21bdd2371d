"""The transport: peers by signalling, sessions of peers, audio to one or to all."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass, field
from typing import Any

from gateway.remotemedia.config import WebRtcTransportConfig
from gateway.remotemedia.errors import PeerNotFound, SignalingError, TransportError
from gateway.remotemedia.media import FRAME, OpusEncoder, Samples, checked
from gateway.remotemedia.peer import Callbacks, Peer
from gateway.remotemedia.signaling import SignalingClient

log = logging.getLogger(__name__)

_VIDEO = "\nm=video "


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Figures of the transport now."""

    active_peers: int
    total_sessions: int
    bytes_sent: int
    bytes_received: int
    packets_sent: int
    packets_lost: int


@dataclass(slots=True)
class _Call:
    """Of a peer by us."""

    peer: Peer
    """By our offer."""
    answer: asyncio.Future[str | Peer]
    """The peer's; or the peer by its own offer, which it made at the same time."""

    def end(self, outcome: str | Peer | TransportError) -> None:
        """The first outcome counts."""
        if self.answer.done():
            return
        if isinstance(outcome, TransportError):
            self.answer.set_exception(outcome)
            self.answer.exception()  # nobody waiting any more is no mistake
        else:
            self.answer.set_result(outcome)


@dataclass(slots=True, kw_only=True)
class Session:
    """Peers that belong together; made by `WebRtcTransport.create_session`."""

    id: str
    peers: set[str] = field(default_factory=set)
    created_at: float = field(default_factory=time.time)


class PeerManager:
    """The peers of one transport."""

    def __init__(self) -> None:
        self._peers: dict[str, Peer] = {}

    async def get_peer(self, peer_id: str) -> Peer:
        """Raises PeerNotFound."""
        return self.peer(peer_id)

    async def list_peers(self) -> list[str]:
        """Ids of the connected peers."""
        return [peer.id for peer in self._peers.values() if peer.connected.is_set()]

    def peer(self, peer_id: str) -> Peer:
        """The same without a turn of the loop. Raises PeerNotFound."""
        found = self._peers.get(peer_id)
        if found is None:
            raise PeerNotFound(f"there is no peer {peer_id!r}")
        return found

    def find(self, peer_id: str) -> Peer | None:
        """The peer of that id, if there is one."""
        return self._peers.get(peer_id)

    def all(self) -> list[Peer]:
        """Every peer, connected or about to be."""
        return list(self._peers.values())

    def put(self, peer: Peer) -> None:
        """Keep a peer under its id, in the place of one that had it."""
        self._peers[peer.id] = peer

    def drop(self, peer: Peer) -> None:
        """Forget a peer; one that has taken its id since then stays."""
        if self._peers.get(peer.id) is peer:
            del self._peers[peer.id]

    def __len__(self) -> int:
        return len(self._peers)


class WebRtcTransport:
    """One announced client with its peers. All methods belong to one event loop."""

    def __init__(self, config: WebRtcTransportConfig | None = None, callbacks: Callbacks | None = None) -> None:
        self.config = config or WebRtcTransportConfig()
        self.callbacks = callbacks or Callbacks()
        self.peer_manager = PeerManager()
        self._sessions: dict[str, Session] = {}
        self._signaling = SignalingClient(self.config, self._on_notice)
        self._calls: dict[str, _Call] = {}
        """Those that are being made, by the id of the peer."""
        self._encoders: dict[str | None, OpusEncoder] = {}
        """Of broadcasts, by session, None: to all; what one says follows from what it said before."""
        self._endings: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect to the signalling server. Raises SignalingError."""
        await self._signaling.start()

    async def until_lost(self) -> None:
        """Wait until the signalling server is given up (`reconnect_tries`): nobody can call us then, until `start`."""
        await self._signaling.lost.wait()

    async def stop(self) -> None:
        """Say goodbye to every peer and close everything; idempotent."""
        for peer in self.peer_manager.all():
            await self.disconnect_peer(peer.id)
        await asyncio.gather(*self._endings, return_exceptions=True)
        await self._signaling.stop()

    async def connect_peer(self, peer_id: str, *, video: bool = False) -> str:
        """Call a peer and wait until its media is connected; its id. Raises TransportError.

        Where it is calling us, that call is waited for; where both call in the same moment, the call of whose id sorts
        last is the one that is made, with pictures if that one asked for them.
        """
        coming = self.peer_manager.find(peer_id)
        try:
            async with asyncio.timeout(self.config.connect_timeout):
                if coming is None or coming.connected.is_set() or peer_id in self._calls:
                    await self._call(self._new_peer(peer_id), video)
                else:
                    await coming.until_connected()
        except TimeoutError:
            raise TransportError(f"{peer_id} could not be connected in time") from None
        return peer_id

    async def _call(self, peer: Peer, video: bool) -> None:
        call = self._calls[peer.id] = _Call(peer, asyncio.get_running_loop().create_future())
        try:
            peer.prepare()
            if video:
                peer.add_video_track()
            offer = await peer.offer()
            if self.peer_manager.find(peer.id) is peer:
                await self._signaling.request("offer", to_peer_id=peer.id, sdp=offer, type="offer")
            answer = await call.answer
            if isinstance(answer, Peer):
                await peer.close()
                peer = answer
            else:
                await peer.accept(answer)
            await peer.until_connected()
        except BaseException:
            await self._forget(peer)
            raise
        finally:
            del self._calls[peer.id]
            call.answer.cancel()

    async def disconnect_peer(self, peer_id: str) -> None:
        """End the connection with a peer and tell it; does nothing for one that is not there."""
        try:
            peer = self.peer_manager.peer(peer_id)
        except PeerNotFound:
            return
        try:
            await self._signaling.request("disconnect", peer_id=peer_id)
        except SignalingError:
            pass  # its media ends all the same
        await self._forget(peer)

    # Sessions.

    async def create_session(self, session_id: str) -> Session:
        """Raises TransportError for an id that is in use."""
        if session_id in self._sessions:
            raise TransportError(f"there is a session {session_id!r} already")
        session = self._sessions[session_id] = Session(id=session_id)
        return session

    async def add_peer_to_session(self, session_id: str, peer_id: str) -> None:
        """Raises PeerNotFound, or TransportError for an unknown session."""
        session = self._session(session_id)
        session.peers.add(self.peer_manager.peer(peer_id).id)

    async def remove_session(self, session_id: str) -> None:
        """Forget a session; its peers stay connected."""
        self._sessions.pop(session_id, None)
        self._encoders.pop(session_id, None)

    async def session_count(self) -> int:
        """How many sessions there are."""
        return len(self._sessions)

    def _session(self, session_id: str) -> Session:
        session = self._sessions.get(session_id)
        if session is None:
            raise TransportError(f"there is no session {session_id!r}")
        return session

    # Sending.

    async def send_audio(self, peer_id: str, samples: Samples) -> None:
        """Queue audio (float32, 960 samples are 20 ms at 48 kHz) for one peer. Raises TransportError."""
        self.peer_manager.peer(peer_id).send_audio(checked(samples))

    async def broadcast_audio(self, samples: Samples, session_id: str | None = None) -> int:
        """The same audio to every connected peer, or those of a session, encoded once; how many there were.

        Raises TransportError for an unknown session.
        """
        checked(samples)
        if session_id is None:
            peers = self.peer_manager.all()
        else:
            wanted = self._session(session_id).peers
            peers = [peer for peer in self.peer_manager.all() if peer.id in wanted]
        peers = [peer for peer in peers if peer.connected.is_set()]
        if not peers:
            return 0
        encoder = self._encoders.get(session_id) or self._encoders.setdefault(session_id, OpusEncoder())
        for offset in range(0, samples.size, FRAME):
            packet = encoder.encode(samples[offset : offset + FRAME])
            for peer in peers:
                peer.send_encoded(packet)
        return len(peers)

    async def send_video(self, peer_id: str, frame: Any) -> None:
        """One picture (av.VideoFrame or RGB pixels) to a peer connected with `video=True`."""
        self.peer_manager.peer(peer_id).send_video(frame)

    async def send_data(self, peer_id: str, data: str | bytes) -> None:
        """One message over the data channel. Raises TransportError when it is not open."""
        self.peer_manager.peer(peer_id).send_data(data)

    async def send_file(self, peer_id: str, name: str, content: bytes) -> None:
        """A file over a channel of its own. Raises TransportError."""
        await self.peer_manager.peer(peer_id).send_file(name, content)

    async def get_metrics(self) -> Metrics:
        """What is connected, and what went over the wire."""
        sent = received = packets = lost = 0
        for peer in self.peer_manager.all():
            counts = await peer.statistics()
            sent, received, packets, lost = (
                a + b for a, b in zip((sent, received, packets, lost), counts, strict=True)
            )
        return Metrics(
            active_peers=len(await self.peer_manager.list_peers()),
            total_sessions=len(self._sessions),
            bytes_sent=sent,
            bytes_received=received,
            packets_sent=packets,
            packets_lost=lost,
        )

    # What the signalling brings.

    async def _on_notice(self, method: str, params: dict[str, Any]) -> None:
        source = str(params.get("from_peer_id") or params.get("peer_id") or "")
        try:
            if method == "offer":
                await self._answer(source, str(params.get("sdp", "")))
            elif method == "answer":
                call = self._calls.get(source)
                if call is not None and call.peer is self.peer_manager.find(source):
                    call.end(str(params.get("sdp", "")))
            elif method in ("peer_disconnected", "peer_left"):
                self._gone(source)
        except TransportError as error:
            log.warning("%s of %s could not be used: %s", method, source, error)

    async def _answer(self, source: str, sdp: str) -> None:
        """To an offer; one whose connection is there already has come back. Who is refused is told."""
        call = self._calls.get(source)
        if call is not None and self.config.peer_id > source:
            return  # it does the same with our offer, and answers that
        try:
            former = self.peer_manager.find(source)
            if call is not None and former is call.peer:
                self._drop(former)
            elif former is not None:
                await self._forget(former)
            peer = self._new_peer(source)
            if call is not None and call.peer.sends_video and _VIDEO in sdp:
                peer.add_video_track()
            try:
                answer = await peer.answer(sdp)
                await self._signaling.request("answer", to_peer_id=source, sdp=answer, type="answer")
            except BaseException:
                await self._forget(peer)
                raise
        except TransportError as error:
            if self.peer_manager.find(source) is None:
                if call is not None:
                    call.end(error)
                with contextlib.suppress(SignalingError):  # it has gone itself
                    await self._signaling.request("disconnect", peer_id=source)
            raise
        if call is not None:
            call.end(peer)

    def _gone(self, source: str) -> None:
        call = self._calls.get(source)
        if call is not None:
            call.end(TransportError(f"{source} did not take the call"))
        peer = self.peer_manager.find(source)
        if peer is not None:
            self._end(peer)

    def _end(self, peer: Peer) -> None:
        """Have a peer go whose connection has ended, or that has gone itself; it may come back at once."""
        if self._drop(peer):
            task = asyncio.create_task(peer.close())
            self._endings.add(task)
            task.add_done_callback(self._endings.discard)

    def _new_peer(self, peer_id: str) -> Peer:
        if len(self.peer_manager) >= self.config.max_peers:
            raise TransportError(f"there are {self.config.max_peers} peers already")
        if self.peer_manager.find(peer_id) is not None:
            raise TransportError(f"{peer_id} is connected already")
        peer = Peer(peer_id, self.config, self.callbacks, self._end)
        self.peer_manager.put(peer)
        return peer

    async def _forget(self, peer: Peer) -> None:
        self._drop(peer)
        await peer.close()

    def _drop(self, peer: Peer) -> bool:
        """Whether it was there."""
        if self.peer_manager.find(peer.id) is not peer:
            return False
        self.peer_manager.drop(peer)
        for session in self._sessions.values():
            session.peers.discard(peer.id)
        return True
