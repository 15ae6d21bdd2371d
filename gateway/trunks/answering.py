"""Places of trunks that have answered an OPTIONS, kept in a file: a process that begins knows what others have seen."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path

from gateway.files import LatestFile

logger = logging.getLogger(__name__)

FILE_NAME = "answering.json"


class AnsweringPlaces:
    """URIs, in memory alone where there is no file."""

    def __init__(self, path: Path | None = None) -> None:
        """Read the file; one that cannot be read counts as empty."""
        self._file = None if path is None else LatestFile(path, self._text)
        self._uris = set() if path is None else _read(path)

    def __contains__(self, uri: str) -> bool:
        return uri in self._uris

    def add(self, uri: str) -> None:
        """Keep a place that has answered."""
        if uri not in self._uris:
            self._put(self._uris | {uri})

    def keep(self, uris: Iterable[str]) -> None:
        """Forget the places that are not among these."""
        if not self._uris <= (known := set(uris)):
            self._put(self._uris & known)

    def _put(self, uris: set[str]) -> None:
        self._uris = uris
        if self._file is not None:
            self._file.changed()

    def _text(self) -> str:
        return json.dumps(sorted(self._uris))

    async def close(self) -> None:
        """Wait for the file to be written."""
        if self._file is not None:
            await self._file.written()


def _read(path: Path) -> set[str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return set()
    except (OSError, ValueError):
        found = None
    if not isinstance(found, list):
        logger.warning("the trunks that answered before cannot be read from %s", path.name)
        return set()
    return {uri for uri in found if isinstance(uri, str)}
