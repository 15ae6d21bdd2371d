"""WS /api/agents/{name}: programs elsewhere come and wait for a call."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.websockets import WebSocket

from gateway.web.auth.authenticator import client_address, credentials
from gateway.web.state import Web, web_of

router = APIRouter()
"""The route, for `Authorization: Bearer TOKEN`."""


async def _admitted(websocket: WebSocket) -> bool:
    web, name, address = web_of(websocket), websocket.path_params["name"], client_address(websocket)
    given = credentials(websocket.headers.get("authorization"))
    if given is None or web.authenticator.guesses_too_often(address):
        return False
    # A token may hold a colon.
    user, secret = given
    if web.gateway.conferencing.agents.admits(name, f"{user}:{secret}" if user else secret):
        return True
    web.authenticator.refused(name, address, agent=True)
    return False


@router.websocket("/api/agents/{name}")
async def agent_socket(web: Web, websocket: WebSocket, name: str) -> None:
    async with web.gate.entered(websocket, _admitted, for_pages=False) as socket:
        if socket is None:
            return
        connection = web.gateway.conferencing.agents.connected(name, socket.outbox)
        try:
            await socket.converse_unpaced(connection.received)
        finally:
            connection.lost()
