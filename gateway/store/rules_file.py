"""Users' forwarding rules in a JSON file of the state directory, replaced atomically."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path

from gateway.call.rules import NO_RULES, MemoryRules, Rules
from gateway.files import LatestFile

logger = logging.getLogger(__name__)


class FileRules(MemoryRules):
    """Forwarding rules read once; each change is written by a thread, the latest state last."""

    def __init__(self, path: Path) -> None:
        """An unreadable file counts as empty, and is logged."""
        super().__init__()
        self._file = LatestFile(path, self._text)
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
            self._rules = {user: Rules(**rules) for user, rules in saved.items()}
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, AttributeError):
            logger.warning("forwarding rules cannot be read from %s", path)

    def put(self, user_id: str, rules: Rules) -> None:
        super().put(user_id, rules)
        self._file.changed()

    def _text(self) -> str:
        return json.dumps({user: asdict(rules) for user, rules in self._rules.items() if rules != NO_RULES})

    async def close(self) -> None:
        """Wait for the write in progress."""
        await self._file.written()
