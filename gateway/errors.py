"""The gateway's own errors. Each room that reads strangers' bytes derives its own from GatewayError."""

from __future__ import annotations

from errno import EAGAIN, EDQUOT, ENOSPC

_PASSING = frozenset((EAGAIN, EDQUOT, ENOSPC))
_PASSING_OF_SQLITE = frozenset((5, 6, 10, 13))
"""SQLITE_BUSY, LOCKED, IOERR and FULL: what is locked is let go, and a full disk has room again."""


class GatewayError(Exception):
    """Base of every error the gateway raises on purpose; `str()` is one sentence, free of secrets."""


class ConfigError(GatewayError):
    """A configuration that cannot be used; `key` is the dotted path of the offending key."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}" if key else reason)
        self.key = key
        self.reason = reason


class AwayError(ConfigError):
    """What a key names does not answer, or somebody else has it; that may pass: to start again is worth a try."""


def may_pass(error: BaseException) -> bool:
    """Whether to try again is worth it: an AwayError, or what came of a disk without room or of another's lock."""
    cause: BaseException | None = error
    while cause is not None:
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF  # an extended code has the plain one in its last octet
        if isinstance(cause, AwayError) or getattr(cause, "errno", None) in _PASSING or code in _PASSING_OF_SQLITE:
            return True
        cause = cause.__cause__ or cause.__context__
    return False
