"""Users' forwarding rules in a JSON file of the state directory, written whole and put in place at once."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from dataclasses import asdict
from pathlib import Path

from gateway.call.rules import NO_RULES, MemoryRules, Rules

logger = logging.getLogger(__name__)


class FileRules(MemoryRules):
    """Read once; each change is written by a thread, the latest state last."""

    def __init__(self, path: Path) -> None:
        """A file that cannot be read counts as empty, and says so in the log."""
        super().__init__()
        self._path = path
        self._writing: asyncio.Task[None] | None = None
        self._is_stale = False
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
            self._rules = {user: Rules(**rules) for user, rules in saved.items()}
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, AttributeError):
            logger.warning("forwarding rules cannot be read from %s", path)

    def put(self, user_id: str, rules: Rules) -> None:
        super().put(user_id, rules)
        self._is_stale = True
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        try:
            while self._is_stale:
                self._is_stale = False
                text = json.dumps({user: asdict(rules) for user, rules in self._rules.items() if rules != NO_RULES})
                await asyncio.to_thread(self._replace, text)
        except OSError as error:
            logger.error("forwarding rules cannot be kept: %s", error.strerror)
        finally:
            self._writing = None

    def _replace(self, text: str) -> None:
        new = self._path.with_suffix(".new")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)

    async def close(self) -> None:
        """Wait for what is being written."""
        if self._writing is not None:
            await self._writing
