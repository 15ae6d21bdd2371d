"""The calls of a user as a lamp on a phone shows them (RFC 4235)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Progress(Enum):
    """How far a call of a user is, in the words of RFC 4235 section 3.7.1."""

    TRYING = "trying"
    EARLY = "early"
    CONFIRMED = "confirmed"


@dataclass(frozen=True, slots=True)
class DialogName:
    """What names a dialog, as its own user sees it."""

    call_id: str
    local_tag: str
    remote_tag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UserDialog:
    """One call of one user."""

    id: str
    """The gateway's own name of it, which tells nobody anything."""
    is_caller: bool
    progress: Progress
    remote_uri: str
    """SIP URI of the other side."""
    remote_name: str = ""
    name: DialogName | None = None
    """What the user's phone calls it; None for pages, and before there is a dialog."""
