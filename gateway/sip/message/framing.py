"""Framing of a byte stream (TCP, TLS) into SIP messages by Content-Length (RFC 3261 18.3)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from gateway.sip.errors import SipSyntaxError
from gateway.sip.message.message import BrokenMessageError, Fragment, Request, Response
from gateway.sip.message.parser import (
    DEFAULT_LIMITS,
    KeepAlive,
    Limits,
    content_length,
    parse_head,
    skim_content_length,
)

_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Broken:
    """Unusable message of the stream."""

    error: SipSyntaxError
    closes: bool
    """True if the start of the next message is unknown: answer if the error allows, then close the stream."""
    data: bytes = field(default=b"", repr=False)
    """Octets of the message, as far as read."""


Frame = Request | Response | KeepAlive | Broken


class StreamFramer:
    """Framer of one stream: feed bytes, get complete messages; holds at most one unfinished message.

    After a frame with `closes` the framer is `closed` and ignores all further bytes.
    """

    __slots__ = (
        "_body_left",
        "_buffer",
        "_half_ping",
        "_has_ponged",
        "_limits",
        "_pending",
        "_pong_due",
        "_scanned",
        "closed",
    )

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._scanned = 0
        self._pending: Request | Response | Broken | None = None
        self._body_left = 0
        self._half_ping = False
        self._pong_due = False
        self._has_ponged = False
        self.closed = False

    @property
    def unfinished(self) -> int:
        """Return the bytes of the unfinished message; the shell limits the time above 0."""
        return len(self._buffer) + (1 if self._pending is not None else 0)

    def expect_pong(self) -> None:
        """Record a keep-alive sent to the peer: a lone CRLF is its answer, two are the peer's own keep-alive."""
        self._pong_due, self._half_ping = True, False

    def take_pong(self) -> bool:
        """Stop waiting for the answer to a keep-alive; return True if an answer arrived."""
        has_ponged = self._has_ponged
        self._has_ponged = self._pong_due = False
        return has_ponged

    def feed(self, data: bytes) -> list[Frame]:
        """Process bytes in order of arrival; return frames in order. Never raises for a peer's bytes."""
        frames: list[Frame] = []
        if self.closed:
            return frames
        self._buffer += data
        while not self.closed and self._step(frames):
            pass
        return frames

    def _step(self, frames: list[Frame]) -> bool:
        if self._pending is not None:
            return self._finish_body(frames)
        if self._buffer[:2] == b"\r\n":
            self._keepalive(frames)
            return True
        return self._find_head(frames)

    def _keepalive(self, frames: list[Frame]) -> None:
        # An odd CRLF left after pairing is a pong, or the first half of a ping with its second half still in flight.
        # All pairs become one frame, so that a flood costs little.
        count = 1
        while self._buffer.startswith(b"\r\n", 2 * count):
            count += 1
        del self._buffer[: 2 * count]
        is_odd = bool(count % 2)
        if is_odd and self._half_ping and self._has_ponged:
            self._has_ponged, self._pong_due = False, True  # half of a ping, not a pong
        if count > 1 or self._half_ping:
            frames.append(KeepAlive.PING)
        self._half_ping = is_odd and not self._half_ping
        if self._half_ping:
            frames.append(KeepAlive.PONG)
            self._has_ponged |= self._pong_due
            self._pong_due = False

    def _find_head(self, frames: list[Frame]) -> bool:
        buffer, limits = self._buffer, self._limits
        end = buffer.find(_END, max(0, self._scanned - 3))
        if end < 0:
            self._scanned = len(buffer)
            if len(buffer) > limits.head:
                self._break(frames, SipSyntaxError("headers are too large", status=513), bytes(buffer))
            return False
        head = bytes(buffer[:end])
        del buffer[: end + 4]
        self._scanned = 0
        self._half_ping = False
        try:
            message = parse_head(head, limits)
            length = content_length(message)
            if length is None:
                answer = 400 if isinstance(message, Request) and message.method != "ACK" else None
                raise BrokenMessageError(
                    "Content-Length is missing", status=answer, header="Content-Length", partial=Fragment.of(message)
                )
        except SipSyntaxError as error:
            return self._after_bad_head(frames, error, head)
        return self._expect_body(frames, message, length, head)

    def _after_bad_head(self, frames: list[Frame], error: SipSyntaxError, head: bytes) -> bool:
        # A bad message on a trunk's connection must not end its other calls: with a certain length, the body is skipped
        # and the stream continues.
        length = skim_content_length(head, self._limits)
        if length is None:
            self._break(frames, error, head + _END)
            return False
        return self._expect_body(frames, Broken(error, closes=False, data=head + _END), length, head)

    def _expect_body(self, frames: list[Frame], pending: Request | Response | Broken, length: int, head: bytes) -> bool:
        if len(head) + 4 + length > self._limits.message:
            error = pending.error if isinstance(pending, Broken) else _too_large(pending)
            self._break(frames, error, head + _END)
            return False
        self._pending, self._body_left = pending, length
        return True

    def _finish_body(self, frames: list[Frame]) -> bool:
        length = self._body_left
        pending = self._pending
        if pending is None or len(self._buffer) < length:
            return False
        body = bytes(self._buffer[:length])
        if isinstance(pending, Broken):
            pending = replace(pending, data=pending.data + body)
        else:
            pending.body = body
        del self._buffer[:length]
        self._pending = None
        frames.append(pending)
        return bool(self._buffer)

    def _break(self, frames: list[Frame], error: SipSyntaxError, data: bytes) -> None:
        self.closed = True
        self._buffer.clear()
        frames.append(Broken(error, closes=True, data=data))


def _too_large(message: Request | Response) -> SipSyntaxError:
    """Return the error for a message beyond the size limit, with the data to answer 513."""
    answerable = isinstance(message, Request) and message.method != "ACK"
    return BrokenMessageError(
        "message is too large",
        status=513 if answerable else None,
        header="Content-Length",
        partial=Fragment.of(message),
    )
