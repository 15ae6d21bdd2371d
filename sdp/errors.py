"""The two errors of this library; each carries the SIP (and HTTP) status that answers it."""

from __future__ import annotations


class SdpError(ValueError):
    """Base of what this library raises on purpose; `str()` is one sentence that never repeats the input."""

    status: int = 500
    """The SIP or HTTP status that answers the sender."""


class SdpSyntaxError(SdpError):
    """A description that cannot be read.

    `line` and `column` count from 1 (column 1 is the type letter); line 0 means "not known".
    The text names the place and what was expected there, never what stood there: an ICE
    password or an SRTP key must not reach a log.
    """

    status = 400

    def __init__(self, line: int, column: int, expected: str) -> None:
        where = f"line {line}, column {column}" if line else f"column {column}"
        super().__init__(f"{where}: expected {expected}")
        self.line = line
        self.column = column
        self.expected = expected

    def at(self, line: int, columns: int) -> SdpSyntaxError:
        """The same error seen from a whole description: in `line`, `columns` further right."""
        return SdpSyntaxError(line, self.column + columns, self.expected)


class SdpLimitError(SdpSyntaxError):
    """A description beyond the reader's `Limits`; `expected` names the limit ("at most 64 media sections")."""


class SdpNegotiationError(SdpError):
    """Two well-formed descriptions that have nothing in common, or break the rules of offer and answer."""

    status = 488

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
