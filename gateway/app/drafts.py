"""Drafts of files that a process left as it died, removed wherever the gateway writes whole files."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from gateway.config import Config
from gateway.files import remove_drafts

log = structlog.get_logger(__name__)

LEFT_FOR = 60.0
"""Seconds without a write after which nobody writes to a draft any more."""


class Drafts:
    """Folders of the gateway's own files: of its state, its recordings, and each mailbox."""

    def __init__(self, config: Config) -> None:
        self._mailboxes = config.state_dir / config.voicemail.folder
        self._folders = {config.state_dir, config.state_dir / config.recording.folder, self._mailboxes}

    async def remove(self, now: float) -> int:
        """Remove those that nobody writes to; return how many."""
        return await asyncio.to_thread(self._remove, now - LEFT_FOR)

    def _remove(self, before: float) -> int:
        removed = 0
        mailboxes = self._mailboxes.iterdir() if self._mailboxes.is_dir() else ()
        for folder in (*self._folders, *filter(Path.is_dir, mailboxes)):
            try:
                removed += remove_drafts(folder, before)
            except OSError as error:
                log.warning("drafts are not removed", folder=folder.name, reason=error.strerror)
        return removed
