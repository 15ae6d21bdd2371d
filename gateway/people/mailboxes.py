"""Number of waiting messages of a user (RFC 3842)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxCounts:
    """Counts for a message-waiting lamp: four from a voice mailbox, and `text` for stored text messages."""

    voice_new: int = 0
    voice_old: int = 0
    voice_new_urgent: int = 0
    voice_old_urgent: int = 0
    text: int = 0

    @property
    def is_waiting(self) -> bool:
        """True if the lamp is on."""
        return self.voice_new + self.text > 0
