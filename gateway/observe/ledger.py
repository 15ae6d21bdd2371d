"""The ledger of call detail records: an SQLite file in which every answered call has exactly one row, whatever dies.

A call is written when it is answered, before anybody is told so, and again when it ends (waiting.py). What a process
that died left open is closed by the next one. Whoever is sent records (delivery.py) takes them from here and says
which it has.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import sqlite3
import threading
from collections.abc import Collection, Sequence
from contextlib import closing
from errno import EAGAIN
from pathlib import Path

from gateway.observe.records import LOST, Detail
from gateway.observe.waiting import Row, Waiting

logger = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS talking (id TEXT PRIMARY KEY, detail TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS calls (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, ended REAL NOT NULL, detail TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS calls_by_end ON calls (ended);
CREATE TABLE IF NOT EXISTS delivered (name TEXT PRIMARY KEY, sequence INTEGER NOT NULL) WITHOUT ROWID;
"""
_VERSION = 1
"""Of the tables; files of version 0, which said none, are the same."""
_BEGIN = """INSERT OR REPLACE INTO talking (id, detail)
    SELECT :id, :detail WHERE NOT EXISTS (SELECT 1 FROM calls WHERE id = :id)"""
_FORGET = "DELETE FROM talking WHERE id = ?"
_END = "INSERT OR IGNORE INTO calls (id, ended, detail) VALUES (?, ?, ?)"
_WAITING_AT_MOST = 10_000
"""Records that wait for the disk; beyond, they are dropped and counted."""
_AT_ONCE = 500
_PRUNED_EVERY = 1_000
"""Ended calls between two looks for old ones."""
_BUSY_TIMEOUT = 5.0
_RETRY = 1.0
"""Seconds between two tries to write where the disk refuses."""


def connect(path: Path) -> sqlite3.Connection:
    """The file, made readable for its user only where it was not there. Raises sqlite3.Error, OSError."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > _VERSION:
        connection.close()
        raise sqlite3.DatabaseError("it was written by a newer version of the gateway")
    connection.executescript(_SCHEMA)
    if version < _VERSION:
        connection.execute(f"PRAGMA user_version = {_VERSION}")
    return connection


class SqliteLedger:
    """Writes in a thread of its own, so that a slow disk holds nobody up; see records.Ledger."""

    def __init__(self, path: Path, keep: float) -> None:
        """`keep`: seconds for which records stay in the file once everybody has been sent them."""
        self._path = path
        self._keep = keep
        self._waiting = Waiting(path.with_suffix(".waiting"), _WAITING_AT_MOST)
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._lock: int | None = None
        """Descriptor of a file that one process at a time has: another's calls are not ours to close."""
        self._readers: list[str] = []
        self._since_pruning = 0
        self.dropped = 0
        """Records that found no place."""
        self.written = threading.Condition()
        """Notified whenever there is something new to be sent."""

    def open(
        self,
        now: float,
        readers: Sequence[str] = (),
        going_on: Collection[str] = (),
        elsewhere: Collection[str] = (),
    ) -> int:
        """Make the file, and close at `now` (seconds since 1970) what a gateway that died left open.

        Returns how many calls that were, without those `going_on`, by their ids; of those `elsewhere` another gateway
        keeps the record.

        `readers` are the names by which records are marked as sent. Blocks; call it before there are calls.
        Raises sqlite3.Error and OSError.
        """
        self._readers = list(readers)
        self._lock = _locked(self._path.with_suffix(".lock"))
        connection = connect(self._path)
        try:
            self._store(connection, [*self._waiting.open(), *(Row(name, None, None) for name in elsewhere)])
            self._waiting.begin()
            left = connection.execute("SELECT id, detail FROM talking").fetchall()
            rows = [Row(name, _lost(text), now) for name, text in left if name not in going_on]
            self._store(connection, rows)
            self._prune(connection, now)
        except BaseException:
            connection.close()
            raise
        self._thread = threading.Thread(target=self._work, args=(connection,), name="cdr-ledger", daemon=True)
        self._thread.start()
        return len(rows)

    def begin(self, detail: Detail) -> None:
        self._put(Row(detail["id"], json.dumps(detail), None))

    def end(self, detail: Detail, at: float) -> None:
        self._put(Row(detail["id"], json.dumps(detail), at))

    def forget(self, call_id: str) -> None:
        self._put(Row(call_id, None, None))

    def close(self, timeout: float = 5.0) -> None:
        """Write what waits and stop, within `timeout` seconds, or leave it to the next process; idempotent."""
        if self._thread is not None:
            self._closing.set()
            self._waiting.close()
            self._thread.join(timeout)
            self._thread = None
        self._waiting.let_go()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _put(self, row: Row) -> None:
        self.dropped += not self._waiting.put(row)

    def _work(self, connection: sqlite3.Connection) -> None:
        with closing(connection):
            while rows := self._waiting.take():
                for begin in range(0, len(rows), _AT_ONCE):
                    if not self._write(connection, rows[begin : begin + _AT_ONCE]):
                        logger.error("%d call records wait for the next start", len(rows) - begin)
                        return
                self._waiting.done()

    def _write(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> bool:
        """Whether they are written; otherwise it is time to stop."""
        told = False
        while True:
            try:
                self._store(connection, rows)
                break
            except sqlite3.Error as error:
                if not told:
                    logger.error("call records cannot be written, and wait: %s", error)
                    told = True
                if self._closing.wait(_RETRY):
                    return False
        with self.written:
            self.written.notify_all()
        ends = [row.ended for row in rows if row.ended is not None]
        self._since_pruning += len(ends)
        if self._since_pruning >= _PRUNED_EVERY:
            self._prune(connection, max(ends, default=0.0))
        return True

    def _store(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
        """All of them or none; those that are there already change nothing."""
        connection.execute("BEGIN IMMEDIATE")
        try:
            for row in rows:
                if row.detail is None:
                    connection.execute(_FORGET, (row.id,))
                elif row.ended is None:
                    connection.execute(_BEGIN, {"id": row.id, "detail": row.detail})
                else:
                    connection.execute(_FORGET, (row.id,))
                    connection.execute(_END, (row.id, row.ended, row.detail))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # SQLite itself has taken it back where the disk is full
                connection.execute("ROLLBACK")
            raise

    def _prune(self, connection: sqlite3.Connection, now: float) -> None:
        """Forget what is old and has been sent to everybody."""
        self._since_pruning = 0
        with contextlib.suppress(sqlite3.Error):  # the next time will do
            sent = [mark(connection, reader) for reader in self._readers]
            connection.execute(
                "DELETE FROM calls WHERE ended < ? AND sequence <= ?", (now - self._keep, min(sent, default=2**62))
            )


def _lost(detail: str) -> str:
    """The record of a call whose gateway died."""
    return json.dumps(json.loads(detail) | LOST)


def _locked(path: Path) -> int:
    """The descriptor of a lock that ends with the process; raises OSError where another has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise BlockingIOError(EAGAIN, "another gateway keeps its records there") from None
    return descriptor


def mark(connection: sqlite3.Connection, reader: str) -> int:
    """The sequence number up to which `reader` has every record."""
    row = connection.execute("SELECT sequence FROM delivered WHERE name = ?", (reader,)).fetchone()
    return 0 if row is None else int(row[0])


def after(connection: sqlite3.Connection, sequence: int, limit: int) -> list[tuple[int, str, str]]:
    """The next records: sequence number, call id, JSON."""
    return connection.execute(
        "SELECT sequence, id, detail FROM calls WHERE sequence > ? ORDER BY sequence LIMIT ?", (sequence, limit)
    ).fetchall()


def set_mark(connection: sqlite3.Connection, reader: str, sequence: int) -> None:
    """`reader` has everything up to there."""
    connection.execute("INSERT OR REPLACE INTO delivered (name, sequence) VALUES (?, ?)", (reader, sequence))
