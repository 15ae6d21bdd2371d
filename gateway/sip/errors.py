"""Errors of the SIP room: protocol violations of a peer, and misuse by our own code."""

from __future__ import annotations

from gateway.errors import GatewayError


class SipError(GatewayError):
    """Base of every error of this room."""


class SipSyntaxError(SipError):
    """Malformed bytes of a peer, or a limit exceeded.

    `status`: the response to send (400, 414, 416, 505, 513 ...), None to stay silent (malformed responses, ACK, noise).
    `line` counts from 1, the start line. `header`: the long header name. The text never quotes the peer's bytes.
    """

    def __init__(
        self,
        reason: str,
        *,
        status: int | None = 400,
        line: int | None = None,
        header: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.line = line
        self.header = header

    def __str__(self) -> str:
        where = [f"line {self.line}"] if self.line is not None else []
        if self.header is not None:
            where.append(self.header)
        return f"{', '.join(where)}: {self.reason}" if where else self.reason


class SipBuildError(SipError, ValueError):
    """Invalid message requested by our own code (a control byte, a bad token, a bad number)."""


class DialogError(SipError):
    """Request not allowed in the present dialog, offer/answer or session state; `status` answers the request.

    `retry_after`: seconds for Retry-After, if set (RFC 3261 14.2: 500 with 0..10 s).
    """

    def __init__(self, reason: str, *, status: int = 500, retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.retry_after = retry_after
