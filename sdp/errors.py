"""Errors of the library, each with the SIP (and HTTP) status to answer."""

from __future__ import annotations


class SdpError(ValueError):
    """Base of all deliberate errors of the library; `str()` is one sentence and never quotes the input."""

    status: int = 500
    """SIP or HTTP status to answer the sender."""


class SdpSyntaxError(SdpError):
    """Unreadable description.

    `line` and `column` count from 1 (column 1 is the type letter); line 0 means unknown. The text names the place and
    the expected content, never the text found: an ICE password or SRTP key must not reach a log.
    """

    status = 400

    def __init__(self, line: int, column: int, expected: str) -> None:
        where = f"line {line}, column {column}" if line else f"column {column}"
        super().__init__(f"{where}: expected {expected}")
        self.line = line
        self.column = column
        self.expected = expected

    def at(self, line: int, columns: int) -> SdpSyntaxError:
        """Return the error relative to a whole description: in `line`, `columns` further right."""
        return SdpSyntaxError(line, self.column + columns, self.expected)


class SdpLimitError(SdpSyntaxError):
    """Description beyond the reader's `Limits`; `expected` names the limit ("at most 64 media sections")."""


class SdpNegotiationError(SdpError):
    """Well-formed descriptions without anything in common, or against the rules of offer and answer."""

    status = 488

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
