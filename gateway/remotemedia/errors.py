"""What can go wrong with a transport."""

from __future__ import annotations

from typing import Any


class TransportError(Exception):
    """Base of this library's errors; `str()` is one sentence."""


class PeerNotFound(TransportError):
    """No peer of that id is connected to this transport."""


class SignalingError(TransportError):
    """The signalling server answered with an error, or cannot be reached."""

    def __init__(self, message: str, code: int = 0, data: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        """JSON-RPC code, 0 where there was no answer."""
        self.data = data or {}
