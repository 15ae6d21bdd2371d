"""What may become of a call."""

from __future__ import annotations

from enum import StrEnum


class Fate(StrEnum):
    """What became of a call."""

    KEPT = "kept"
    """It goes on, on both sides."""
    ENDED = "ended"
    """Both sides were told that it is over."""
    LOST = "lost"
    """Neither: somebody sits there in silence."""
