"""uvicorn's protocols for strangers: hard limits on heads, fragments, pings, and nothing of theirs in the error log."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from gateway.web.connections import ConnectionTable
from gateway.web.limits import TokenBucket
from gateway.web.outbox import ABORT_EXTENSION, HOLD_EXTENSION

_MAX_FRAGMENTS = 64
_MAX_UNREAD_PONGS = 262_144
_PINGS_PER_SECOND = 10.0
_PING_BURST = 50.0
_BITE = 2_048
_MAX_AFTER_CLOSE = 65_536
_MAX_HEAD = 32_768
_NO_HOST = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


_quiet = logging.getLogger("gateway.web.protocol")
_quiet.setLevel(logging.ERROR)
"""uvicorn warns of every request that is no HTTP: a stranger could fill the log with it. Our own mistakes stay."""


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket for strangers: small bites, a cap on fragments and on unread pongs, a way to drop it.

    One read can hold tens of thousands of tiny frames, a second's work: they are parsed a bite at a
    time, and not before the application has taken the messages of the bite before. The pong of a peer whose
    messages wait unread is behind them: the backlog alone, `longest_backlog` seconds of it, ends the connection.
    """

    table: ConnectionTable
    longest_backlog = 60.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.table.give_way(self.transport)
        self._backlog = bytearray()
        self._feeding = False
        self._after_close = 0
        self._read_at = self.loop.time()
        self._pings = TokenBucket(_PINGS_PER_SECOND, _PING_BURST, _PING_BURST, self.loop.time())

    def data_received(self, data: bytes) -> None:
        if self.close_sent:
            self._after_close += len(data)
            if self._after_close > _MAX_AFTER_CLOSE:
                self.transport.abort()
                return
        self._backlog += data
        self._read_at = self.loop.time()
        if not self._feeding:
            self._feed()

    def _feed(self) -> None:
        self._feeding = False
        bite = bytes(self._backlog[:_BITE])
        del self._backlog[:_BITE]
        super().data_received(bite)
        self._feed_later()

    def _feed_later(self) -> None:
        if self.transport.is_closing():
            self._backlog.clear()
        elif self._backlog:
            # Nothing more is read from the network meanwhile: what waits here stays below one read.
            self.transport.pause_reading()
            if not self._feeding and not self.read_paused:
                self._feeding = True
                self.loop.call_soon(self._feed)
        elif not self.read_paused:
            self.transport.resume_reading()

    async def receive(self) -> ASGIReceiveEvent:
        message = await super().receive()
        self._feed_later()
        return message

    def connection_lost(self, exc: Exception | None) -> None:
        self.table.leave(self.transport)
        super().connection_lost(exc)

    def send_receive_event_to_app(self) -> None:
        # Whole messages alone: every client's library answers our pings.
        self.table.heard(self.transport)
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                # A stranger's bytes are no exception of ours, so no traceback (RFC 6455 section 8.1).
                self.conn.fail(1007, "invalid UTF-8")
                self._fail(1007)
                return
        super().send_receive_event_to_app()

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and self.close_sent:
            # A handshake that was refused is complete; uvicorn would take it for a mistake of the application.
            self.handshake_complete = True

    def _fail(self, code: int) -> None:
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.transport.close()

    async def run_asgi(self) -> None:
        extensions: dict[str, Any] = self.scope["extensions"]
        extensions[ABORT_EXTENSION] = self.transport.abort
        extensions[HOLD_EXTENSION] = self._hold
        await super().run_asgi()

    def _hold(self, holds: bool) -> None:
        if holds:
            self.table.hold(self.transport)
        else:
            self.table.give_way(self.transport)

    def handle_cont(self, event: Frame) -> None:
        if self.close_sent:
            return
        if len(self.frames) >= _MAX_FRAGMENTS:
            self.conn.fail(1009, "too many fragments")
            self._fail(1009)
            return
        super().handle_cont(event)

    def keepalive_timeout(self) -> None:
        if self.close_sent or self.transport.is_closing():
            return
        now = self.loop.time()
        is_behind = self.read_paused or bool(self._backlog)
        left = self.ping_sent_at + self.longest_backlog - now
        if left > 0 and (is_behind or now - self._read_at < (self.ping_timeout or 0)):
            self.pong_timer = self.loop.call_later(min(left, self.ping_timeout or left), self.keepalive_timeout)
        elif is_behind:
            self._cut("too many messages")
        else:
            super().keepalive_timeout()

    def _cut(self, reason: str) -> None:
        """Close with 1008, and read on for the peer's close frame: data left unread would reset the connection."""
        self.stop_keepalive()
        self._backlog.clear()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": 1008, "reason": reason})
        self.conn.send_close(1008, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.read_paused = False
        self.transport.resume_reading()
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.close)

    def handle_ping(self) -> None:
        unread = self.transport.get_write_buffer_size()
        if unread > _MAX_UNREAD_PONGS or not self._pings.take(self.loop.time()):
            self.transport.abort()
            return
        super().handle_ping()


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP, with a limit on the size of a request's head, on the time it may take, and on connections."""

    head_seconds = 10.0
    table: ConnectionTable

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn's own
        super().connection_made(transport)
        self.logger = _quiet
        self._begin_head()
        if not self.table.enter(transport, self.client[0] if self.client else ""):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_timer.cancel()
        self.table.leave(self.transport)
        super().connection_lost(exc)

    def _begin_head(self) -> None:
        self._in_head = True
        self._unparsed = 0
        self._parsed = 0
        self._head_timer = self.loop.call_later(self.head_seconds, self.transport.abort)

    def data_received(self, data: bytes) -> None:
        self.table.heard(self.transport)
        if self._in_head:
            self._unparsed += len(data)
        super().data_received(data)
        # What the parser still holds back is one endless line.
        if self._in_head and self._unparsed > _MAX_HEAD:
            self._refuse(_TOO_LARGE)

    def _refuse(self, answer: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if not self._in_head:
            self._begin_head()

    def on_url(self, url: bytes) -> None:
        self._parsed += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._parsed += len(name) + len(value) + 4
        if self._parsed <= _MAX_HEAD:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_timer.cancel()
        # The head may have come whole in one read: what counts is what the parser saw.
        if self._parsed > _MAX_HEAD:
            self._refuse(_TOO_LARGE)
        if not self._names_its_host():
            self._refuse(_NO_HOST)
        if not self.transport.is_closing():
            super().on_headers_complete()

    def _names_its_host(self) -> bool:
        """Return True for one Host field, or none in HTTP/1.0 (RFC 9112 section 3.2)."""
        count = sum(name == b"host" for name, _ in self.headers)
        return count == 1 or (count == 0 and self.parser.get_http_version() == "1.0")

    def on_body(self, body: bytes) -> None:
        if self.cycle is not None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self.cycle is not None:
            if not self.pipeline:
                self.table.hold(self.transport)
            super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.table.give_way(self.transport)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.cycle is not None and not self.cycle.response_complete:
            self.table.hold(self.transport)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # Requests behind the first one hold nothing: a stranger could send them without end.
        self.table.give_way(self.transport)
