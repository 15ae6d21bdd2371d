"""The plain relay: WS /rtc/signal?room= gives every peer an id, GET /rtc/stats counts what it carried."""

from __future__ import annotations

import uuid
from collections import Counter

from fastapi import APIRouter
from starlette.websockets import WebSocket

from gateway.web.checks import BadJson, is_candidate, is_description, is_identifier, load_json
from gateway.web.http.errors import bounded_route
from gateway.web.outbox import Close, Outbox
from gateway.web.rooms.table import RoomFull, RoomTable
from gateway.web.rpc.codec import encode
from gateway.web.settings import WebSettings
from gateway.web.sockets import SocketGate

_KINDS = {"offer": "offers", "answer": "answers", "ice-candidate": "ice_candidates"}
_DEFAULT_ROOM = "default"


class _Peer:
    """One socket of the relay."""

    def __init__(
        self, table: RoomTable, counts: Counter[str], room: str, peer: str, outbox: Outbox, settings: WebSettings
    ) -> None:
        self._table = table
        self._counts = counts
        self._room = room
        self._peer = peer
        self._outbox = outbox
        self._settings = settings

    async def on_text(self, text: str) -> None:
        """Relay one message within the room, or say what is wrong with it."""
        try:
            message = load_json(text, self._settings.max_depth)
        except BadJson as error:
            self._error(str(error))
            return
        content = _content(message)
        if content is None:
            self._error("The type is offer or answer with sdp, or ice-candidate with candidate.")
            return
        target = message.get("target")
        relayed = {"type": message["type"], "from": self._peer, **content}
        if not isinstance(target, str) or not self._table.send(self._room, target, relayed):
            self._error("There is no such peer in this room.")
            return
        self._counts[_KINDS[message["type"]]] += 1

    def _error(self, message: str) -> None:
        self._outbox.send(encode({"type": "error", "message": message}))


def _content(message: object) -> dict[str, object] | None:
    """What a message carries, None when it is none of the three kinds."""
    if not isinstance(message, dict):
        return None
    match message.get("type"):
        case "offer" | "answer" if is_description(message.get("sdp")):
            return {"sdp": message["sdp"]}
        case "ice-candidate":
            candidate = message.get("candidate")
            # Browsers send RTCIceCandidate as an object, the design's own clients a bare line.
            if isinstance(candidate, dict) or is_candidate(candidate):
                return {"candidate": candidate}
    return None


def create_router(gate: SocketGate, settings: WebSettings) -> APIRouter:
    """The relay's routes, on one table."""
    router = APIRouter(route_class=bounded_route(settings), tags=["relay"])
    table = RoomTable(settings)
    counts: Counter[str] = Counter()

    @router.websocket("/rtc/signal")
    async def signal(websocket: WebSocket, room: str = _DEFAULT_ROOM) -> None:
        async with gate.entered(websocket) as socket:
            if socket is None:
                return
            peer_id = str(uuid.uuid4())
            peer = _Peer(table, counts, room, peer_id, socket.outbox, settings)
            others = _join(table, room, peer_id, socket.outbox)
            if others is None:
                await socket.converse(peer.on_text)
                return
            table.send(room, peer_id, {"type": "registered", "peer_id": peer_id})
            table.send(room, peer_id, {"type": "peers", "peers": list(others)})
            table.broadcast(room, {"type": "peer-joined", "peer_id": peer_id}, exclude=peer_id)
            try:
                await socket.converse(peer.on_text)
            finally:
                table.leave(room, peer_id)
                table.broadcast(room, {"type": "peer-left", "peer_id": peer_id}, exclude=peer_id)

    @router.get("/rtc/stats")
    async def stats() -> dict[str, int]:
        """How many peers and rooms there are, and what was relayed since the start."""
        return {
            "total_peers": table.total_peers(),
            "active_rooms": len(table.rooms()),
            **{f"{kind}_relayed": counts[kind] for kind in _KINDS.values()},
        }

    return router


def _join(table: RoomTable, room: str, peer_id: str, outbox: Outbox) -> list[str] | None:
    """The peers already there; None, and the socket closing with the reason, when it cannot join."""
    if not is_identifier(room):
        outbox.close(Close.POLICY, "the room is 1 to 128 printable characters")
        return None
    try:
        return table.join(room, peer_id, outbox)
    except RoomFull:
        outbox.close(Close.TRY_LATER, "no room left")
        return None
