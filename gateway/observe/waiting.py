"""Crash-safe queue of call records on their way to the ledger.

Each record is appended to one of two files before `put` returns, while the content of the second file is written to the
ledger. No fsync here: the ledger syncs.
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
    """A record."""

    id: str
    """Id of the call."""
    detail: str | None
    """JSON; None to drop the record, now kept by a remote gateway."""
    ended: float | None
    """Unix seconds; None for a current call or a dropped record."""


class Waiting:
    """Queue between two threads with rows that survive a crash."""

    def __init__(self, path: Path, most: int) -> None:
        """File names are `path` with .0 and .1 appended; `most` bounds the number of rows."""
        self._files = [_File(path.with_name(f"{path.name}.{number}")) for number in range(2)]
        self._most = most
        self._rows: list[Row] = []
        self._news = threading.Condition()
        self._closed = False
        self._number = 0
        self._is_logged = False

    def open(self) -> list[Row]:
        """Return the rows left by a previous process, in order; kept until `begin`. Raises OSError."""
        found = [numbered for file in self._files for numbered in file.open()]
        return [row for _, row in sorted(found, key=lambda each: each[0])]

    def begin(self) -> None:
        """Drop the rows of the previous process, once written. Raises OSError."""
        for file in self._files:
            file.empty()

    def put(self, row: Row) -> bool:
        """Queue a row; return False if full. After a file error, logged once, the row is in memory only."""
        line = json.dumps([self._number, row.id, row.ended, row.detail]).encode() + b"\n"
        self._number += 1
        with self._news:
            if self._closed or len(self._rows) >= self._most:
                return False
            try:
                self._files[0].append(line)
                self._is_logged = False
            except OSError as error:
                if not self._is_logged:
                    logger.error("call records would be lost with this process: %s", error.strerror)
                    self._is_logged = True
            self._rows.append(row)
            self._news.notify()
        return True

    def take(self) -> list[Row]:
        """Wait for rows and return all; empty when closed. Call `done` before the next call."""
        with self._news:
            while not self._rows and not self._closed:
                self._news.wait()
            rows, self._rows = self._rows, []
            self._files.reverse()
        return rows

    def done(self) -> None:
        """Drop the rows of the last `take` from the file."""
        with self._news, contextlib.suppress(OSError):  # the ledger ignores repeated rows
            self._files[1].empty()

    def close(self) -> None:
        """Stop accepting rows."""
        with self._news:
            self._closed = True
            self._news.notify()

    def let_go(self) -> None:
        """Close the files and keep their content; idempotent."""
        with self._news:
            for file in self._files:
                file.close()


class _File:
    """File of complete lines: a partial write is undone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._size = 0

    def open(self) -> Iterable[tuple[int, Row]]:
        """Yield the rows with their numbers."""
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        for line in self._path.read_bytes().splitlines():
            with contextlib.suppress(ValueError, TypeError):  # partial line
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
