"""How many messages wait for a user (RFC 3842)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxCounts:
    """What a lamp for waiting messages is made of; a voice mailbox sets its four, kept text messages are `text`."""

    voice_new: int = 0
    voice_old: int = 0
    voice_new_urgent: int = 0
    voice_old_urgent: int = 0
    text: int = 0

    @property
    def is_waiting(self) -> bool:
        """Whether the lamp is on."""
        return self.voice_new + self.text > 0
