"""Call records on their way to the ledger, where the death of the process does not undo them.

Each is appended to one of two files, in the system's hands when `put` returns, while what the other one holds is
written to the ledger. It is not forced to the disk: the ledger does that.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Row:
    """One record."""

    id: str
    """Of the call."""
    detail: str | None
    """JSON; None: whoever has the call now keeps its record."""
    ended: float | None
    """Seconds since 1970; None: the call goes on, or is somebody else's."""


class Waiting:
    """A queue with one thread at each end, whose rows the next process finds."""

    def __init__(self, path: Path, most: int) -> None:
        """The files are called as `path`, with .0 and .1 after it; beyond `most` rows none is taken."""
        self._files = [_File(path.with_name(f"{path.name}.{number}")) for number in range(2)]
        self._most = most
        self._rows: list[Row] = []
        self._news = threading.Condition()
        self._closed = False
        self._number = 0
        self._told = False

    def open(self) -> list[Row]:
        """What a process before has left, in order: it stays until `begin`. Raises OSError."""
        found = [numbered for file in self._files for numbered in file.open()]
        return [row for _, row in sorted(found, key=lambda each: each[0])]

    def begin(self) -> None:
        """What was left is written. Raises OSError."""
        for file in self._files:
            file.empty()

    def put(self, row: Row) -> bool:
        """Whether there was room for it; a file that cannot be written (said once) leaves it in memory alone."""
        line = json.dumps([self._number, row.id, row.ended, row.detail]).encode() + b"\n"
        self._number += 1
        with self._news:
            if self._closed or len(self._rows) >= self._most:
                return False
            try:
                self._files[0].append(line)
                self._told = False
            except OSError as error:
                if not self._told:
                    logger.error("call records would be lost with this process: %s", error.strerror)
                    self._told = True
            self._rows.append(row)
            self._news.notify()
        return True

    def take(self) -> list[Row]:
        """All there are, once there are any; none where it is closed. `done` comes before the next call."""
        with self._news:
            while not self._rows and not self._closed:
                self._news.wait()
            rows, self._rows = self._rows, []
            self._files.reverse()
        return rows

    def done(self) -> None:
        """What was taken is written."""
        with self._news, contextlib.suppress(OSError):  # the ledger knows them when they come again
            self._files[1].empty()

    def close(self) -> None:
        """Take no more."""
        with self._news:
            self._closed = True
            self._news.notify()

    def let_go(self) -> None:
        """Close the files; what is in them stays. Idempotent."""
        with self._news:
            for file in self._files:
                file.close()


class _File:
    """Lines that are whole or not there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._size = 0

    def open(self) -> Iterable[tuple[int, Row]]:
        """The rows in it, each with its number."""
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        for line in self._path.read_bytes().splitlines():
            with contextlib.suppress(ValueError, TypeError):  # cut off
                number, name, ended, detail = json.loads(line)
                yield number, Row(name, detail, ended)

    def append(self, line: bytes) -> None:
        if self._descriptor is None:
            raise OSError(None, "the file is not open")
        try:
            if os.write(self._descriptor, line) < len(line):
                raise OSError(None, "no space is left")
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(line)

    def empty(self) -> None:
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            self._size = 0

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
