"""What the HTTP API takes and gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class IceServer:
    """RTCIceServer."""

    urls: list[str]
    username: str | None = None
    credential: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class IceCandidate:
    """RTCIceCandidateInit; an empty candidate ends the list."""

    candidate: str
    sdp_mid: str | None = None
    sdp_m_line_index: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an offer was answered."""

    session_id: str
    sdp: str
    metadata: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo:
    """A live session of ours."""

    session_id: str
    to: str
    state: str
    """"calling", "ringing" or "answered"."""
    created_at: float
    """Unix seconds."""
    user: str | None = None
    metadata: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionState:
    """What a session of ours is at."""

    session_id: str
    state: str
    """"calling", "ringing", "answered" or "ended"."""
    cause: str | None = None
    """Why it has ended: "normal", "busy", "declined", …"""
    reason: str | None = None
    """The same as a sentence."""
