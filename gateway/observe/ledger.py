"""Ledger of call detail records: an SQLite file with exactly one row for each answered call, even after crashes.

A call is written before its answer is sent, and again at its end (waiting.py). After a crash, the next process closes
open rows. Delivery (delivery.py) reads records and stores its progress here.
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
"""Version of the tables; files of version 0, without a version, have the same tables."""
_BEGIN = """INSERT OR REPLACE INTO talking (id, detail)
    SELECT :id, :detail WHERE NOT EXISTS (SELECT 1 FROM calls WHERE id = :id)"""
_FORGET = "DELETE FROM talking WHERE id = ?"
_END = "INSERT OR IGNORE INTO calls (id, ended, detail) VALUES (?, ?, ?)"
_WAITING_AT_MOST = 10_000
"""Largest number of records waiting for the disk; further ones are dropped and counted."""
_AT_ONCE = 500
_PRUNED_EVERY = 1_000
"""Ended calls between prunings of old records."""
_BUSY_TIMEOUT = 5.0
_RETRY = 1.0
"""Seconds between attempts to write after a disk error."""


def connect(path: Path) -> sqlite3.Connection:
    """Open the file, created with rights 0600. Raises sqlite3.Error, OSError."""
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
    """Writes in its own thread, so that a slow disk blocks no call; see records.Ledger."""

    def __init__(self, path: Path, keep: float) -> None:
        """`keep` is the number of seconds that delivered records stay in the file."""
        self._path = path
        self._keep = keep
        self._waiting = Waiting(path.with_suffix(".waiting"), _WAITING_AT_MOST)
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._lock: int | None = None
        """Descriptor of the lock file, which prevents a second process from closing our calls."""
        self._readers: list[str] = []
        self._since_pruning = 0
        self.dropped = 0
        """Number of dropped records."""
        self.written = threading.Condition()
        """Notified of new records to send."""

    def open(
        self,
        now: float,
        readers: Sequence[str] = (),
        going_on: Collection[str] = (),
        elsewhere: Collection[str] = (),
    ) -> int:
        """Open the file and close, at `now` (Unix seconds), the rows left by a crash.

        Returns the number of closed rows, except calls in `going_on` and `elsewhere` (kept by a remote gateway).
        `readers` are names of delivery marks. Blocks. Raises sqlite3.Error and OSError.
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
        """Write waiting records and stop, within `timeout` seconds, else leave them to the next process; idempotent."""
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
        """Write rows, retrying; return False if closed meanwhile."""
        is_logged = False
        while True:
            try:
                self._store(connection, rows)
                break
            except sqlite3.Error as error:
                if not is_logged:
                    logger.error("call records cannot be written, and wait: %s", error)
                    is_logged = True
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
        """Store all rows or none; repeated rows change nothing."""
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
            if connection.in_transaction:  # SQLite itself rolls back when the disk is full
                connection.execute("ROLLBACK")
            raise

    def _prune(self, connection: sqlite3.Connection, now: float) -> None:
        """Delete old records delivered to all readers."""
        self._since_pruning = 0
        with contextlib.suppress(sqlite3.Error):  # the next pruning will do
            sent = [mark(connection, reader) for reader in self._readers]
            connection.execute(
                "DELETE FROM calls WHERE ended < ? AND sequence <= ?", (now - self._keep, min(sent, default=2**62))
            )


def _lost(detail: str) -> str:
    """Return the record of a call lost in a crash."""
    return json.dumps(json.loads(detail) | LOST)


def _locked(path: Path) -> int:
    """Return the descriptor of a lock bound to the process; raises OSError if a second process holds the lock."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise BlockingIOError(EAGAIN, "another gateway keeps its records there") from None
    return descriptor


def mark(connection: sqlite3.Connection, reader: str) -> int:
    """Return the sequence number of the last record delivered to `reader`."""
    row = connection.execute("SELECT sequence FROM delivered WHERE name = ?", (reader,)).fetchone()
    return 0 if row is None else int(row[0])


def after(connection: sqlite3.Connection, sequence: int, limit: int) -> list[tuple[int, str, str]]:
    """Return the next records: sequence number, call id, JSON."""
    return connection.execute(
        "SELECT sequence, id, detail FROM calls WHERE sequence > ? ORDER BY sequence LIMIT ?", (sequence, limit)
    ).fetchall()


def set_mark(connection: sqlite3.Connection, reader: str, sequence: int) -> None:
    """Store the sequence number of the last record delivered to `reader`."""
    connection.execute("INSERT OR REPLACE INTO delivered (name, sequence) VALUES (?, ?)", (reader, sequence))
