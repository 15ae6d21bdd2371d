"""JSON-RPC 2.0 over WebSocket at /rpc: frames in, methods called in order, responses and notifications out."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from fastapi import APIRouter
from starlette.websockets import WebSocket

from gateway.web.auth.authenticator import Authenticator
from gateway.web.facade import Gateway
from gateway.web.outbox import Close, Outbox
from gateway.web.rpc import methods, remotemedia
from gateway.web.rpc.codec import (
    INTERNAL_ERROR,
    METHOD_NOT_FOUND,
    Frame,
    Refused,
    Request,
    RpcError,
    encode,
    failure,
    parse,
    result,
)
from gateway.web.rpc.dialects import RemoteMediaDialect
from gateway.web.rpc.hub import Hub
from gateway.web.rpc.methods import Handler, Reply
from gateway.web.rpc.params import Params
from gateway.web.rpc.peer import Context, Peer
from gateway.web.settings import WebSettings
from gateway.web.sockets import SocketGate

log = logging.getLogger(__name__)


async def _list_peers(peer: Peer, params: Params) -> Reply:
    """list_peers{}: in the shape of the dialect the peer announced itself in."""
    second = isinstance(peer.dialect, RemoteMediaDialect)
    return await (remotemedia.peer_list if second else methods.list_peers)(peer, params)


METHODS: dict[str, Handler] = {**methods.METHODS, **remotemedia.METHODS, "list_peers": _list_peers}


class Connection:
    """One socket: every message is a frame, its requests are handled one after the other."""

    def __init__(self, peer: Peer, outbox: Outbox, settings: WebSettings) -> None:
        self._peer = peer
        self._outbox = outbox
        self._settings = settings
        self._tasks: set[asyncio.Task[None]] = set()
        self._expect_announce()

    def _expect_announce(self) -> None:
        delay = self._settings.announce_timeout
        self._timer = asyncio.get_running_loop().call_later(delay, self._check_announced)

    def _check_announced(self) -> None:
        if self._peer.user is not None:
            return
        if len(self._peer.calls):
            self._expect_announce()
        else:
            self._outbox.close(Close.POLICY, "announce first")

    async def on_text(self, text: str) -> None:
        """Handle one message."""
        frame = parse(text, self._settings.max_batch, self._settings.max_depth)
        if frame.batch:
            await self._batch(frame)
            return
        for entry in frame.entries:
            await self._single(entry)

    async def _single(self, entry: Request | Refused) -> None:
        outcome = await self._call(entry)
        if isinstance(outcome, Reply) and not isinstance(outcome.value, dict):
            task = asyncio.create_task(self._later(entry, outcome))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._respond(_response(entry, outcome))
        if isinstance(outcome, Reply) and outcome.then is not None:
            outcome.then()

    async def _later(self, entry: Request | Refused, reply: Reply) -> None:
        outcome = await self._awaited(reply)
        self._respond(_response(entry, outcome))
        if reply.sent is not None and isinstance(outcome, Reply):
            reply.sent()

    async def _batch(self, frame: Frame) -> None:
        outcomes: list[tuple[Request | Refused, Reply | RpcError]] = []
        for entry in frame.entries:
            outcome = await self._call(entry)
            if isinstance(outcome, Reply) and not isinstance(outcome.value, dict):
                # The call must be released first: its answer is one of the events that are held.
                if outcome.then is not None:
                    outcome.then()
                awaited = await self._awaited(outcome)
                outcome = Reply(awaited.value, outcome.sent) if isinstance(awaited, Reply) else awaited
            outcomes.append((entry, outcome))
        responses = [body for entry, outcome in outcomes if (body := _response(entry, outcome)) is not None]
        if responses:
            self._outbox.send(encode(responses))
        for _, outcome in outcomes:
            if isinstance(outcome, Reply) and outcome.then is not None:
                outcome.then()

    def _respond(self, body: dict[str, Any] | None) -> None:
        if body is not None:
            self._outbox.send(encode(body))

    async def _call(self, entry: Request | Refused) -> Reply | RpcError:
        if isinstance(entry, Refused):
            return entry.error
        handler = METHODS.get(entry.method)
        if handler is None:
            return RpcError(METHOD_NOT_FOUND, "Method not found")
        try:
            return await handler(self._peer, Params(entry.params))
        except RpcError as error:
            return error
        except Exception:
            log.exception("a JSON-RPC method failed")
            return RpcError(INTERNAL_ERROR, "Internal error")

    async def _awaited(self, reply: Reply) -> Reply | RpcError:
        assert not isinstance(reply.value, dict)  # callers have looked
        try:
            return Reply(await reply.value())
        except RpcError as error:
            return error
        except Exception:
            log.exception("a JSON-RPC method failed")
            return RpcError(INTERNAL_ERROR, "Internal error")

    def close(self) -> None:
        """The socket has gone."""
        self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        self._peer.gone()


def _response(entry: Request | Refused, outcome: Reply | RpcError) -> dict[str, Any] | None:
    if isinstance(entry, Request) and entry.notification:
        return None
    if isinstance(outcome, RpcError):
        return failure(entry.id, outcome)
    assert isinstance(outcome.value, dict)  # later results are awaited before
    return result(entry.id, outcome.value)


def create_router(gateway: Gateway, authenticator: Authenticator, gate: SocketGate, settings: WebSettings) -> APIRouter:
    """The WebSocket route /rpc."""
    router = APIRouter()
    context = Context(gateway, Hub(), authenticator, settings)

    @router.websocket("/rpc")
    async def rpc(websocket: WebSocket) -> None:
        async with gate.entered(websocket) as socket:
            if socket is None:
                return
            peer = Peer(context, socket.outbox, socket.address)
            peer.local_address = (websocket.scope.get("server") or ("",))[0]
            connection = Connection(peer, socket.outbox, settings)
            try:
                await socket.converse(connection.on_text)
            finally:
                connection.close()

    return router
