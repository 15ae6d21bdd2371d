"""The signalling client: JSON-RPC 2.0 over WebSocket, requests as futures, notifications to one callback."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from gateway.remotemedia.config import WebRtcTransportConfig
from gateway.remotemedia.errors import SignalingError

log = logging.getLogger(__name__)

_LONGEST_DELAY = 30.0
OnNotice = Callable[[str, dict[str, Any]], Coroutine[Any, Any, None]]


class SignalingClient:
    """Announces itself, and again after every reconnection."""

    def __init__(self, config: WebRtcTransportConfig, on_notice: OnNotice) -> None:
        self._config = config
        self._on_notice = on_notice
        self._socket: ClientConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._handlers: set[asyncio.Task[None]] = set()
        self._pending: dict[int, asyncio.Future[Any]] = {}
        self._id = 0
        self._closed = False
        self.lost = asyncio.Event()
        """The connection is lost and `reconnect_tries` new ones have failed; `start` may be tried again."""

    @property
    def connected(self) -> bool:
        """Whether requests can be sent now."""
        return self._socket is not None

    async def start(self) -> None:
        """Connect and announce. Raises SignalingError."""
        await self._connect()
        self.lost.clear()
        self._task = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Close; idempotent."""
        self._closed = True
        if self._socket is not None:
            await self._socket.close()
        for task in (self._task, *self._handlers):
            if task is not None:
                task.cancel()
        await asyncio.gather(*filter(None, (self._task, *self._handlers)), return_exceptions=True)

    async def request(self, method: str, **params: Any) -> dict[str, Any]:
        """The result. Raises SignalingError."""
        if self._socket is None:
            raise SignalingError("not connected to the signalling server")
        self._id += 1
        request_id = self._id
        future = self._pending[request_id] = asyncio.get_running_loop().create_future()
        given = {name: value for name, value in params.items() if value is not None}
        body = {"jsonrpc": "2.0", "method": method, "params": given, "id": request_id}
        try:
            async with asyncio.timeout(self._config.connect_timeout):
                await self._socket.send(json.dumps(body))
                result: dict[str, Any] = await future
                return result
        except TimeoutError:
            raise SignalingError(f"no answer to {method} in time") from None
        except ConnectionClosed:
            raise SignalingError("the connection to the signalling server was lost") from None
        finally:
            self._pending.pop(request_id, None)

    async def _connect(self) -> None:
        config = self._config
        try:
            socket = await connect(config.signaling_url, open_timeout=config.connect_timeout, max_size=1 << 20)
        except (OSError, InvalidHandshake, TimeoutError) as error:
            raise SignalingError(f"the signalling server cannot be reached: {error}") from None
        self._socket = socket
        self._reader = asyncio.create_task(self._read(socket))
        capabilities = {"audio": True, "video": True, "data": config.enable_data_channel}
        try:
            await self.request("announce", peer_id=config.peer_id, capabilities=capabilities, token=config.token)
        except SignalingError:
            await socket.close()
            raise

    async def _keep(self) -> None:
        """Read until the socket ends, then try again with growing delays."""
        while True:
            await self._reader
            if self._closed:
                return
            delay = self._config.reconnect_delay
            for attempt in range(self._config.reconnect_tries):
                await asyncio.sleep(delay)
                try:
                    await self._connect()
                    break
                except SignalingError as error:
                    log.warning("signalling try %d failed: %s", attempt + 1, error)
                    delay = min(delay * 2, _LONGEST_DELAY)
            else:
                log.error("the signalling server does not come back")
                self.lost.set()
                return

    async def _read(self, socket: ClientConnection) -> None:
        try:
            async for text in socket:
                try:
                    frame = json.loads(text)
                except (ValueError, RecursionError):
                    log.warning("the signalling server sent what is no JSON")
                    continue
                self._take(frame)
        except ConnectionClosed:
            pass
        finally:
            if self._socket is socket:
                self._socket = None
            for future in self._pending.values():
                if not future.done():
                    future.set_exception(SignalingError("the connection to the signalling server was lost"))

    def _take(self, frame: Any) -> None:
        if not isinstance(frame, dict):
            return
        method, params, request_id = frame.get("method"), frame.get("params"), frame.get("id")
        if isinstance(method, str):
            task = asyncio.create_task(self._notice(method, params if isinstance(params, dict) else {}))
            self._handlers.add(task)
            task.add_done_callback(self._handlers.discard)
            return
        future = self._pending.get(request_id) if isinstance(request_id, int) else None
        if future is None or future.done():
            return
        error, result = frame.get("error"), frame.get("result")
        if error is None:
            future.set_result(result if isinstance(result, dict) else {})
        else:
            future.set_exception(_refusal(error if isinstance(error, dict) else {}))

    async def _notice(self, method: str, params: dict[str, Any]) -> None:
        try:
            await self._on_notice(method, params)
        except Exception:
            log.exception("a notice of the signalling server could not be used")


def _refusal(error: dict[str, Any]) -> SignalingError:
    code, data = error.get("code"), error.get("data")
    return SignalingError(
        str(error.get("message", "")),
        code if isinstance(code, int) else 0,
        data if isinstance(data, dict) else None,
    )
