"""WS /api/agents/{name}: programs elsewhere come and wait for a call."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.websockets import WebSocket

from gateway.web.auth.authenticator import Authenticator, client_address, credentials
from gateway.web.facade import Gateway
from gateway.web.sockets import SocketGate


def create_router(gateway: Gateway, authenticator: Authenticator, gate: SocketGate) -> APIRouter:
    """The route, for `Authorization: Bearer TOKEN`."""
    router, agents = APIRouter(), gateway.conferencing.agents

    async def admitted(websocket: WebSocket) -> bool:
        name, address = websocket.path_params["name"], client_address(websocket)
        given = credentials(websocket.headers.get("authorization"))
        if given is None or authenticator.guesses_too_often(address):
            return False
        # A token may hold a colon.
        user, secret = given
        if agents.admits(name, f"{user}:{secret}" if user else secret):
            return True
        authenticator.refused(name, address, agent=True)
        return False

    @router.websocket("/api/agents/{name}")
    async def agent_socket(websocket: WebSocket, name: str) -> None:
        async with gate.entered(websocket, admitted, for_pages=False) as socket:
            if socket is None:
                return
            connection = agents.connected(name, socket.outbox)
            try:
                await socket.converse_unpaced(connection.received)
            finally:
                connection.lost()

    return router
