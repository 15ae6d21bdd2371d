"""Rooms of peers that signal to each other: WS /webrtc/signaling/{room_id}/{peer_id} and its REST companions."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.websockets import WebSocket

from gateway.web.checks import BadJson, is_identifier, load_json
from gateway.web.http.errors import bounded_route
from gateway.web.outbox import Close, Outbox
from gateway.web.rooms.table import PeerTaken, RoomFull, RoomTable
from gateway.web.rpc.codec import encode
from gateway.web.settings import WebSettings
from gateway.web.sockets import SocketGate

_PAYLOADS = {"offer": "offer", "answer": "answer", "ice_candidate": "candidate"}


class _Peer:
    """One socket in a room."""

    def __init__(self, table: RoomTable, room: str, peer: str, outbox: Outbox, settings: WebSettings) -> None:
        self._table = table
        self._room = room
        self._peer = peer
        self._outbox = outbox
        self._settings = settings

    async def on_text(self, text: str) -> None:
        """Relay one message within the room, or say what is wrong with it."""
        try:
            message = load_json(text, self._settings.max_depth)
        except BadJson as error:
            self._error("bad-json", str(error))
            return
        kind = message.get("type") if isinstance(message, dict) else None
        payload = _PAYLOADS.get(kind) if isinstance(kind, str) else None
        if payload is None or payload not in message:
            self._error("bad-message", "The type is offer, answer or ice_candidate, with a member of its content.")
            return
        target = message.get("target_peer_id")
        relayed = {"type": kind, payload: message[payload], "from_peer_id": self._peer}
        if not isinstance(target, str) or not self._table.send(self._room, target, relayed):
            self._error("peer-not-found", "There is no such peer in this room.")

    def _error(self, code: str, message: str) -> None:
        self._outbox.send(encode({"type": "error", "code": code, "message": message}))


def create_router(gate: SocketGate, settings: WebSettings) -> APIRouter:
    """The room routes, on one table."""
    router = APIRouter(route_class=bounded_route(settings), tags=["rooms"])
    table = RoomTable(settings)

    @router.websocket("/webrtc/signaling/{room_id}/{peer_id}")
    async def signaling(websocket: WebSocket, room_id: str, peer_id: str) -> None:
        async with gate.entered(websocket) as socket:
            if socket is None:
                return
            others = _join(table, room_id, peer_id, socket.outbox)
            peer = _Peer(table, room_id, peer_id, socket.outbox, settings)
            if others is None:
                await socket.converse(peer.on_text)
                return
            table.broadcast(room_id, {"type": "peer_joined", "peer_id": peer_id}, exclude=peer_id)
            if others:
                table.send(room_id, peer_id, {"type": "existing_peers", "peers": others})
            try:
                await socket.converse(peer.on_text)
            finally:
                table.leave(room_id, peer_id)
                table.broadcast(room_id, {"type": "peer_left", "peer_id": peer_id}, exclude=peer_id)

    @router.get("/webrtc/rooms")
    async def rooms() -> dict[str, Any]:
        """The rooms with somebody in them."""
        ids = table.rooms()
        return {"rooms": ids, "total_rooms": len(ids)}

    @router.get("/webrtc/rooms/{room_id}/peers")
    async def peers(room_id: str) -> dict[str, Any]:
        """Who is in a room; an unknown room is empty."""
        ids = table.peers(room_id)
        return {"peers": ids, "total_peers": len(ids)}

    return router


def _join(table: RoomTable, room_id: str, peer_id: str, outbox: Outbox) -> list[str] | None:
    """The peers already there; None, and the socket closing with the reason, when it cannot join."""
    if not is_identifier(room_id) or not is_identifier(peer_id):
        outbox.close(Close.POLICY, "room and peer ids are 1 to 128 printable characters")
        return None
    try:
        return table.join(room_id, peer_id, outbox)
    except PeerTaken:
        outbox.close(Close.POLICY, "this peer id is taken in this room")
    except RoomFull:
        outbox.close(Close.TRY_LATER, "no room left")
    return None
