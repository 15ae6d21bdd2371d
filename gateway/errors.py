"""The gateway's own errors. Each room that reads strangers' bytes derives its own from GatewayError."""

from __future__ import annotations


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
