"""RTCSignaling: a relay of offers, answers and candidates for any FastAPI app; the gateway's rooms are one.

    signaling = RTCSignaling()

    @signaling.on_offer
    def log_offer(client_id: str, offer: SDPOffer) -> None: ...

    signaling.add_to(app, "/rtc")       # WS /rtc/signal?room=, GET /rtc/stats

or, by hand, in a WebSocket endpoint: `register_client` or `join_room`, then `relay_offer` and its companions.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

from fastapi import FastAPI
from starlette.websockets import WebSocket

from gateway.web.checks import BadJson, is_identifier, load_json
from gateway.web.limits import SourceBuckets
from gateway.web.outbox import Close, Line
from gateway.web.rooms.messages import (
    PLAIN,
    ROOM,
    BadMessage,
    FilePart,
    ICECandidate,
    Message,
    SDPAnswer,
    SDPOffer,
    Wire,
)
from gateway.web.rooms.table import Client, PeerTaken, RoomFull, RoomTable, Sink
from gateway.web.rpc.codec import encode
from gateway.web.settings import WebSettings

log = logging.getLogger(__name__)

DEFAULT_ROOM = "default"
RESIDENT = "phones"
"""Id of the peer that stands for those who dial a linked room."""
_KINDS: dict[type[Message], str] = {
    SDPOffer: "offers",
    SDPAnswer: "answers",
    ICECandidate: "ice_candidates",
    FilePart: "file_parts",
}
_NO_PEER = BadMessage("There is no such peer in this room.", "peer-not-found")
Hook = TypeVar("Hook", bound=Callable[..., Any])


class Resident(Sink, Protocol):
    """A peer of our own in one room; `send` hears what the peers say to it, in the form of ROOM."""

    @property
    def phones(self) -> Iterable[str]:
        """Who is there by phone."""

    def begin(self, say: Callable[[Message], None], told: Callable[[str, bool], None]) -> None:
        """It is there: `say` raises BadMessage where its target has gone, `told` tells all of a phone."""


class RTCSignaling:
    """Who is connected, in which room, and what each may be told. One event loop, no threads."""

    def __init__(self, settings: WebSettings | None = None) -> None:
        self.settings = settings or WebSettings(open_rooms=True)
        self._table = RoomTable(self.settings)
        self._clients: dict[str, Client] = {}
        """Registered by hand, by id; those of `handle_connection` are in the table only."""
        self._ids: dict[WebSocket, str] = {}
        """The same ids by WebSocket."""
        self._writers: dict[str, tuple[WebSocket, asyncio.Task[None]]] = {}
        self._hooks: dict[type[Message], list[Callable[..., Any]]] = {kind: [] for kind in _KINDS}
        self._counts: Counter[str] = Counter()
        self._is_linked: Callable[[str], bool] = lambda room: False
        self._resident: Callable[[str], Resident]
        self._residents: dict[str, tuple[Client, Resident]] = {}
        burst = max(self.settings.message_burst, self.settings.max_room_peers)
        self._joins = SourceBuckets(self.settings.messages_per_second, burst, lambda: asyncio.get_running_loop().time())

    def link(self, is_linked: Callable[[str], bool], resident: Callable[[str], Resident]) -> None:
        """Have a peer of our own be in the rooms that `is_linked`, as long as somebody else is."""
        self._is_linked, self._resident = is_linked, resident

    # Hooks: called before a message is relayed; one that returns False keeps it back.

    def on_offer(self, hook: Hook) -> Hook:
        """Decorator of `hook(client_id, SDPOffer)`, plain or async."""
        return self._add_hook(SDPOffer, hook)

    def on_answer(self, hook: Hook) -> Hook:
        """Decorator of `hook(client_id, SDPAnswer)`, plain or async."""
        return self._add_hook(SDPAnswer, hook)

    def on_ice_candidate(self, hook: Hook) -> Hook:
        """Decorator of `hook(client_id, ICECandidate)`, plain or async."""
        return self._add_hook(ICECandidate, hook)

    def on_file(self, hook: Hook) -> Hook:
        """Decorator of `hook(client_id, FilePart)`, plain or async."""
        return self._add_hook(FilePart, hook)

    def _add_hook(self, kind: type[Message], hook: Hook) -> Hook:
        self._hooks[kind].append(hook)
        return hook

    # By hand, in an endpoint of one's own.

    def register_client(self, websocket: WebSocket, room: str = DEFAULT_ROOM, client_id: str | None = None) -> str:
        """Make an accepted WebSocket reachable; its id.

        Raises RoomFull, PeerTaken (for an id or a WebSocket that is registered, too), or ValueError for a bad name.
        """
        client_id = client_id or str(uuid.uuid4())
        if client_id in self._clients or websocket in self._ids:
            raise PeerTaken
        line = Line(websocket, self.settings)
        client = self._enter(client_id, room, line, PLAIN)
        self._clients[client_id] = client
        self._ids[websocket] = client_id
        task = asyncio.create_task(line.outbox.drain(websocket))
        self._writers[client_id] = websocket, task
        task.add_done_callback(lambda done: None if done.cancelled() else done.exception())
        return client_id

    def unregister_client(self, client_id: str | WebSocket) -> None:
        """Forget a client of `register_client` or `join_room`, by its id or its WebSocket; idempotent."""
        client = self._by_id(client_id)
        if client is not None:
            self._exit(client)
            del self._clients[client.id]
            websocket, writer = self._writers.pop(client.id)
            writer.cancel()
            del self._ids[websocket]

    def join_room(self, client_id: str | WebSocket, room: str) -> list[str]:
        """Move a client of `register_client`, or register a WebSocket that is none; who is there.

        What the endpoint itself sends may overtake what the client is told of the room. Raises KeyError for an
        unknown id, and what `register_client` raises; then it stays where it was.
        """
        if not isinstance(client_id, str) and client_id not in self._ids:
            self.register_client(client_id, room)
        client = self._by_id(client_id)
        if client is None:
            raise KeyError(client_id)
        if client.room != room and client.line is not None:
            moved = self._enter(client.id, room, client.line, client.wire)
            self._exit(client)
            self._clients[client.id] = client = moved
        return [other.id for other in self._table.members(room) if other is not client]

    def relay_offer(self, client_id: str | WebSocket, target: str, sdp: Any) -> bool:
        """Send an offer (text or {type, sdp}) to `target` in the client's room; False when it is not there."""
        return self._by_hand(client_id, {"type": "offer", "target": target, "sdp": sdp})

    def relay_answer(self, client_id: str | WebSocket, target: str, sdp: Any) -> bool:
        """The same for an answer."""
        return self._by_hand(client_id, {"type": "answer", "target": target, "sdp": sdp})

    def relay_ice_candidate(self, client_id: str | WebSocket, target: str, candidate: Any) -> bool:
        """The same for a candidate (a line, or RTCIceCandidateInit)."""
        return self._by_hand(client_id, {"type": "ice-candidate", "target": target, "candidate": candidate})

    def _by_id(self, client_id: str | WebSocket) -> Client | None:
        return self._clients.get(client_id if isinstance(client_id, str) else self._ids.get(client_id, ""))

    def _by_hand(self, client_id: str | WebSocket, original: dict[str, Any]) -> bool:
        client = self._by_id(client_id)
        if client is None:
            return False
        try:
            self._send(client, PLAIN.read(original), original)
        except BadMessage:
            return False
        return True

    # A whole connection.

    async def handle_connection(
        self, websocket: WebSocket, room: str = DEFAULT_ROOM, client_id: str | None = None, wire: Wire = PLAIN
    ) -> None:
        """Serve one WebSocket until it ends; accepts it where that was not done."""
        if websocket.application_state.name == "CONNECTING":
            await websocket.accept()
        await self.serve(Line(websocket, self.settings), room, client_id or str(uuid.uuid4()), wire)

    async def serve(self, line: Line, room: str, client_id: str, wire: Wire) -> None:
        """The same over a socket that is accepted and counted elsewhere."""
        # A joiner has a whole burst, and the others are notified: joins keep the pace of messages.
        await asyncio.sleep(self._joins.borrow(line.address))
        client: Client | None = None
        try:
            client = self._enter(client_id, room, line, wire)
        except ValueError as error:
            line.outbox.close(Close.POLICY, str(error))
        except PeerTaken:
            line.outbox.close(Close.POLICY, "this peer id is taken in this room")
        except RoomFull:
            line.outbox.close(Close.TRY_LATER, "no room left")

        async def on_text(text: str) -> None:
            if client is not None:
                await self._on_text(client, text)

        try:
            await line.converse(on_text)
        finally:
            if client is not None:
                self._exit(client)

    def _enter(self, client_id: str, room: str, line: Line, wire: Wire) -> Client:
        if not is_identifier(room) or not is_identifier(client_id):
            raise ValueError("room and peer ids are 1 to 128 printable characters")
        outbox = line.outbox
        client = Client(id=client_id, room=room, outbox=outbox, wire=wire, line=line)
        self._settle(room)
        try:
            others = self._table.join(client)
        except (PeerTaken, RoomFull):
            self._leave_alone(room)
            raise
        line.enter(len(others))
        for other in others:
            if other.line is not None:
                other.line.widen(1)
            other.outbox.send(encode(other.wire.joined(client_id)))
        for message in wire.welcome(client_id, [other.id for other in others]):
            outbox.send(encode(message))
        _, resident = self._residents.get(room, (None, None))
        for phone in resident.phones if resident is not None else ():
            outbox.send(encode(wire.joined(phone)))
        return client

    def _exit(self, client: Client) -> None:
        self._table.leave(client)
        others = self._table.members(client.room)
        if client.line is not None:
            client.line.widen(-len(others))
        for other in others:
            if other.line is not None:
                other.line.widen(-1)
            other.outbox.send(encode(other.wire.left(client.id)))
        self._leave_alone(client.room)

    def _settle(self, room: str) -> None:
        """Have the resident of a linked room be there before its first peer."""
        if room in self._residents or not self._is_linked(room):
            return
        resident = self._resident(room)
        client = Client(id=RESIDENT, room=room, outbox=resident, wire=ROOM)
        self._table.join(client)
        self._residents[room] = client, resident

        def told(phone: str, there: bool) -> None:
            for other in self._table.members(room):
                if other is not client:
                    other.outbox.send(encode(other.wire.joined(phone) if there else other.wire.left(phone)))

        resident.begin(lambda message: self._send(client, message, None), told)

    def _leave_alone(self, room: str) -> None:
        """Have it go after the last one."""
        if room in self._residents and len(self._table.members(room)) == 1:
            client, resident = self._residents.pop(room)
            self._table.leave(client)
            resident.close(Close.NORMAL)

    async def _on_text(self, client: Client, text: str) -> None:
        try:
            try:
                original = load_json(text, self.settings.max_depth)
            except BadJson as error:
                raise BadMessage(str(error), "bad-json") from None
            message = client.wire.read(original)
            for hook in self._hooks[type(message)]:
                await self._ask(hook, client, message)
            self._send(client, message, original)
        except BadMessage as problem:
            client.outbox.send(encode(client.wire.error(problem)))

    async def _ask(self, hook: Callable[..., Any], client: Client, message: Message) -> None:
        try:
            verdict = hook(client.id, message)
            if inspect.isawaitable(verdict):
                verdict = await verdict
        except Exception:
            log.exception("a hook of RTCSignaling failed")
            verdict = False
        if verdict is False:
            raise BadMessage("The server did not pass this on.", "refused")

    def _send(self, client: Client, message: Message, original: dict[str, Any] | None) -> None:
        target = self._table.find(client.room, message.target)
        if target is None:
            raise _NO_PEER
        # A file must not push a slow reader off its socket; the sender waits and sends the part again.
        if isinstance(message, FilePart) and target.outbox.free_bytes < 2 * len(message.data):
            raise BadMessage("The other side is busy; send this part again.", "slow-down")
        same = original if target.wire is client.wire else None
        target.outbox.send(encode(target.wire.relayed(client.id, message, same)))
        self._counts[_KINDS[type(message)]] += 1

    # What it knows.

    def rooms(self) -> list[str]:
        """Ids of the rooms with somebody in them."""
        return self._table.rooms()

    def get_room_peers(self, room: str) -> list[str]:
        """Ids of who is in a room."""
        return [client.id for client in self._table.members(room)]

    def broadcast_to_room(self, room: str, message: dict[str, Any], exclude: str | None = None) -> int:
        """Send any JSON object to everybody in a room but one; how many were told."""
        text = encode(message)
        told = [client for client in self._table.members(room) if client.id != exclude]
        for client in told:
            client.outbox.send(text)
        return len(told)

    def get_stats(self) -> dict[str, int]:
        """Peers and rooms now, messages relayed since the start."""
        stats = {"total_peers": len(self._table), "active_rooms": len(self._table.rooms())}
        return stats | {f"{kind}_relayed": self._counts[kind] for kind in _KINDS.values()}

    def add_to(self, app: FastAPI, prefix: str = "/rtc") -> None:
        """Mount WS PREFIX/signal?room= and GET PREFIX/stats."""

        @app.websocket(prefix + "/signal")
        async def signal(websocket: WebSocket, room: str = DEFAULT_ROOM) -> None:
            await self.handle_connection(websocket, room)

        @app.get(prefix + "/stats")
        async def stats() -> dict[str, int]:
            return self.get_stats()

    def close(self) -> None:
        """Close every connection with 1001."""
        for client in list(self._table):
            client.outbox.close(Close.GOING_AWAY, "the server stops")


def add_signaling(app: FastAPI, prefix: str, signaling: RTCSignaling) -> None:
    """`signaling.add_to(app, prefix)`, in the order of the design's `app.add_signaling("/rtc", signaling)`."""
    signaling.add_to(app, prefix)
