"""JSON-RPC 2.0 over WebSocket at /rpc: frames in, methods called in order, responses and notifications out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from starlette.websockets import WebSocket

from gateway.web.outbox import Close, Outbox
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
from gateway.web.rpc.methods import Reply
from gateway.web.rpc.peer import Peer
from gateway.web.rpc.table import METHODS
from gateway.web.settings import WebSettings
from gateway.web.state import Web

log = logging.getLogger(__name__)


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
            _after(outcome)

    async def _later(self, entry: Request | Refused, reply: Reply) -> None:
        outcome = await self._awaited(reply)
        self._respond(_response(entry, outcome))
        _after(Reply({}, reply.then, reply.sent if isinstance(outcome, Reply) else None))

    async def _batch(self, frame: Frame) -> None:
        outcomes: list[tuple[Request | Refused, Reply | RpcError]] = []
        failed: list[Callable[[], None]] = []
        for entry in frame.entries:
            outcome = await self._call(entry)
            reply = outcome if isinstance(outcome, Reply) else None
            if reply is not None and not isinstance(reply.value, dict):
                awaited = await self._awaited(reply)
                outcome = Reply(awaited.value, reply.then, reply.sent) if isinstance(awaited, Reply) else awaited
                if reply.then is not None and not isinstance(awaited, Reply):
                    failed.append(reply.then)
            outcomes.append((entry, outcome))
        responses = [body for entry, outcome in outcomes if (body := _response(entry, outcome)) is not None]
        if responses:
            self._outbox.send(encode(responses))
        for _, outcome in outcomes:
            _after(outcome)
        for then in failed:
            then()

    def _respond(self, body: dict[str, Any] | None) -> None:
        if body is not None:
            self._outbox.send(encode(body))

    async def _call(self, entry: Request | Refused) -> Reply | RpcError:
        if isinstance(entry, Refused):
            return entry.error
        method = METHODS.get(entry.method)
        if method is None:
            return RpcError(METHOD_NOT_FOUND, "Method not found")
        try:
            return await method.handler(self._peer, method.params(entry.params))
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


def _after(outcome: Reply | RpcError) -> None:
    """What is told once the response is out."""
    if isinstance(outcome, Reply):
        for step in (outcome.then, outcome.sent):
            if step is not None:
                step()


def _response(entry: Request | Refused, outcome: Reply | RpcError) -> dict[str, Any] | None:
    if isinstance(entry, Request) and entry.notification:
        return None
    if isinstance(outcome, RpcError):
        return failure(entry.id, outcome)
    assert isinstance(outcome.value, dict)  # later results are awaited before
    return result(entry.id, outcome.value)


router = APIRouter()
"""The WebSocket routes /rpc, and / for clients that know the host only."""


@router.websocket("/")
@router.websocket("/rpc")
async def rpc(web: Web, websocket: WebSocket) -> None:
    async with web.gate.entered(websocket) as socket:
        if socket is None:
            return
        peer = Peer(web.rpc, socket)
        peer.local_address = (websocket.scope.get("server") or ("",))[0]
        connection = Connection(peer, socket.outbox, web.settings)
        try:
            await socket.converse(connection.on_text)
        finally:
            connection.close()
