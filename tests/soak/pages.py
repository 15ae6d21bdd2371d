"""A page of the soak: JSON-RPC over a WebSocket, and one WebRTC leg up to its keys."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import closing
from typing import Any, Self

import websockets

from bench.browser import Browser, Identity
from sdp import SessionDescription

PATIENCE = 60.0


class PageError(AssertionError):
    """The gateway said no, or something else than it should."""


class Page:
    """Signed in; places a call, and hangs up."""

    def __init__(self, socket: websockets.ClientConnection, identity: Identity) -> None:
        self._socket, self._identity = socket, identity
        self._number = 0
        self._heard: list[dict[str, Any]] = []
        """What nobody has waited for yet."""

    @classmethod
    async def open(cls, web: int, user: str, password: str, identity: Identity) -> Self:
        made = cls(await websockets.connect(f"ws://127.0.0.1:{web}/rpc", open_timeout=PATIENCE), identity)
        try:
            await made._ask("announce", peer_id=user, token=password, capabilities={"audio": True})
        except BaseException:
            await made.close()
            raise
        return made

    async def call(self, number: str) -> None:
        """Call it, have its keys agreed to, and hang up."""
        browser = Browser(self._identity)
        with closing(browser.socket):
            await self._ask("offer", to_peer_id=number, sdp=browser.offer(), type="offer")
            answer = await self._told("answer")
            await asyncio.to_thread(browser.connect, SessionDescription.parse(answer["sdp"]))
            await self._told("call_state", state="answered")
            await self._ask("disconnect", peer_id=number)

    async def close(self) -> None:
        await self._socket.close()

    async def _ask(self, method: str, **params: Any) -> None:
        self._number += 1
        asked = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": params}
        await self._socket.send(json.dumps(asked))
        reply = await self._next(lambda message: message.get("id") == self._number)
        if "error" in reply:
            raise PageError(f"{method}: {reply['error']}")

    async def _told(self, method: str, **match: Any) -> dict[str, Any]:
        found = await self._next(
            lambda message: message.get("method") == method and match.items() <= message["params"].items()
        )
        params: dict[str, Any] = found["params"]
        return params

    async def _next(self, is_it: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first message that is; TimeoutError where none comes, PageError at the end of the call or the socket."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for message in self._heard:
                    if is_it(message):
                        self._heard.remove(message)
                        return message
                    if message.get("method") == "peer_disconnected":
                        raise PageError(f"the call ended: {message['params']}")
                try:
                    self._heard.append(json.loads(await self._socket.recv()))
                except websockets.ConnectionClosed as error:
                    raise PageError(f"the socket ended: {error}") from None
