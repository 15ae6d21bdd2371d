"""Errors of the SIP room: what a peer did wrong on the wire, and what our own code asked for wrongly."""

from __future__ import annotations

from gateway.errors import GatewayError


class SipError(GatewayError):
    """Base of every error of this room."""


class SipSyntaxError(SipError):
    """A peer's bytes do not follow the grammar, or go beyond a limit.

    `status` is the response that answers it (400, 414, 416, 505, 513 ...), or None where only silence is
    right (malformed responses, ACK, noise). `line` counts from 1, the start line being 1. `header` is the
    long header name. The text never repeats the peer's bytes.
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
    """Our own code asked for a message that must not be written (a control byte, a bad token, a bad number)."""


class DialogError(SipError):
    """A request that the dialog, offer/answer or session state does not allow now; `status` answers it.

    `retry_after` is in seconds and goes into Retry-After when it is set (RFC 3261 14.2: 500 to 0..10 s).
    """

    def __init__(self, reason: str, *, status: int = 500, retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.retry_after = retry_after
