"""The one error of the client."""

from __future__ import annotations


class ClientError(Exception):
    """The API's own error, or a gateway that cannot be reached; `str()` is one sentence."""

    def __init__(self, message: str, code: int = 0, session_id: str | None = None, cause: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        """HTTP status; 0 where there was no answer."""
        self.session_id = session_id
        self.cause = cause
        """Why a call was not possible: "busy", "not-found", …"""
