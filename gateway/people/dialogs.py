"""Calls of a user as shown by a busy lamp field (RFC 4235)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Progress(Enum):
    """Dialog state, in the terms of RFC 4235 section 3.7.1."""

    TRYING = "trying"
    EARLY = "early"
    CONFIRMED = "confirmed"


@dataclass(frozen=True, slots=True)
class DialogName:
    """Name of a dialog on the user's side."""

    call_id: str
    local_tag: str
    remote_tag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UserDialog:
    """A call of a user."""

    id: str
    """Opaque id chosen by the gateway."""
    is_caller: bool
    progress: Progress
    remote_uri: str
    """SIP URI of the peer."""
    remote_name: str = ""
    name: DialogName | None = None
    """Dialog name on the user's phone; None for pages, and before a dialog exists."""
