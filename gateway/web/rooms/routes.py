"""The gateway's own rooms on one RTCSignaling: both wire forms, REST lists, and who may use them."""

from __future__ import annotations

import uuid
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.websockets import WebSocket

from gateway.web.auth.authenticator import TooManyFailures
from gateway.web.http.bounded import BoundedRoute
from gateway.web.http.errors import RETRY, ApiError
from gateway.web.http.models import RelayPeers, RelayRooms
from gateway.web.rooms.messages import PLAIN, ROOM, Wire
from gateway.web.rooms.signaling import DEFAULT_ROOM
from gateway.web.state import Web, web_of

router = APIRouter(route_class=BoundedRoute, tags=["rooms"])
"""WS /webrtc/signaling/…, WS /rtc/signal, GET /webrtc/rooms…, GET /rtc/stats."""


async def _check(request: Request) -> None:
    authenticator = web_of(request).authenticator
    if authenticator.has_open_rooms(request):
        return
    try:
        user = await authenticator.bearer(request)
    except TooManyFailures:
        raise ApiError(503, "Too many attempts, try again later", headers=RETRY) from None
    if user is None:
        raise ApiError(401, "Sign in to use the rooms", headers={"WWW-Authenticate": "Bearer"})


async def _serve(websocket: WebSocket, room: str, peer: str, wire: Wire) -> None:
    web = web_of(websocket)
    async with web.gate.entered(websocket, partial(web.authenticator.lets_into_room, peer)) as socket:
        if socket is not None:
            await web.signaling.serve(socket, room, peer, wire)


@router.websocket("/webrtc/signaling/{room_id}/{peer_id}")
async def rooms_socket(websocket: WebSocket, room_id: str, peer_id: str) -> None:
    await _serve(websocket, room_id, peer_id, ROOM)


@router.websocket("/rtc/signal")
async def relay_socket(websocket: WebSocket, room: str = DEFAULT_ROOM) -> None:
    await _serve(websocket, room, str(uuid.uuid4()), PLAIN)


@router.get("/webrtc/rooms", response_model=RelayRooms)
async def rooms(web: Web, request: Request) -> dict[str, Any]:
    """The rooms with somebody in them."""
    await _check(request)
    ids = web.signaling.rooms()
    return {"rooms": ids, "total_rooms": len(ids)}


@router.get("/webrtc/rooms/{room_id}/peers", response_model=RelayPeers)
async def peers(web: Web, request: Request, room_id: str) -> dict[str, Any]:
    """Who is in a room; an unknown room is empty."""
    await _check(request)
    ids = web.signaling.get_room_peers(room_id)
    return {"peers": ids, "total_peers": len(ids)}


@router.get("/rtc/stats")
async def stats(web: Web, request: Request) -> dict[str, int]:
    """How many peers and rooms there are, and what was relayed since the start."""
    await _check(request)
    return web.signaling.get_stats()
