"""Identities kept in an SQLite file: bindings survive a restart, several processes may share it.

All of SQLite runs in one thread of its own, so a slow disk never holds the event loop.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from gateway.identity.model import Binding, Credential
from gateway.identity.store import StoreError

T = TypeVar("T")

BUSY_TIMEOUT = 5.0
"""How long to wait for another process's write (s)."""

# Each entry brings the file from the user_version of its index to the next one; entries never change.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE bindings (
            aor TEXT NOT NULL, contact TEXT NOT NULL, expires_at REAL NOT NULL, call_id TEXT NOT NULL,
            cseq INTEGER NOT NULL, q REAL NOT NULL, instance TEXT, reg_id INTEGER, path TEXT NOT NULL,
            received TEXT, user_agent TEXT NOT NULL, codecs TEXT NOT NULL, sequence INTEGER NOT NULL,
            PRIMARY KEY (aor, contact)) WITHOUT ROWID""",
        "CREATE INDEX bindings_by_expiry ON bindings (expires_at)",
        "CREATE INDEX bindings_by_sequence ON bindings (sequence)",
        """CREATE TABLE credentials (
            username TEXT NOT NULL, realm TEXT NOT NULL, ha1 TEXT NOT NULL,
            PRIMARY KEY (username, realm)) WITHOUT ROWID""",
    ),
)

_COLUMNS = "aor, contact, expires_at, call_id, cseq, q, instance, reg_id, path, received, user_agent, codecs"


class SqliteStore:
    """The IdentityStore contract over one file."""

    def __init__(self, path: Path) -> None:
        """`path` and its folder are made when they do not exist, readable by this user only."""
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._thread: ThreadPoolExecutor | None = None

    async def open(self) -> None:
        if self._thread is not None:
            return
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="identity-sqlite")
        try:
            self._connection = await self._run(lambda: _connect(self._path))
        except BaseException:
            self._thread.shutdown(wait=False)
            self._thread = None
            raise

    async def close(self) -> None:
        if self._thread is None:
            return
        try:
            if self._connection is not None:
                await self._run(self._connection.close)
        finally:
            self._thread.shutdown(wait=False)
            self._connection = self._thread = None

    async def bindings(self, aor: str, now: float) -> Sequence[Binding]:
        rows = await self._execute(
            f"SELECT {_COLUMNS} FROM bindings WHERE aor = ? AND expires_at > ? ORDER BY q DESC, sequence DESC",
            (aor, now),
        )
        return [_binding(row) for row in rows]

    async def put_binding(self, binding: Binding, now: float, limit: int) -> None:
        await self._transaction(lambda connection: _put(connection, binding, now, limit))

    async def change_bindings(
        self, aor: str, expected: Sequence[Binding], removed: Sequence[Binding], put: Sequence[Binding], now: float
    ) -> bool:
        return await self._transaction(lambda connection: _change(connection, aor, expected, removed, put, now))

    async def remove_binding(self, aor: str, contact: str) -> None:
        await self._execute("DELETE FROM bindings WHERE aor = ? AND contact = ?", (aor, contact))

    async def remove_all(self, aor: str) -> None:
        await self._execute("DELETE FROM bindings WHERE aor = ?", (aor,))

    async def expire(self, now: float) -> int:
        def drop(connection: sqlite3.Connection) -> int:
            return connection.execute("DELETE FROM bindings WHERE expires_at <= ?", (now,)).rowcount

        return await self._transaction(drop)

    async def credential(self, username: str, realm: str) -> Credential | None:
        rows = await self._execute("SELECT ha1 FROM credentials WHERE username = ? AND realm = ?", (username, realm))
        return Credential(username, realm, json.loads(rows[0][0])) if rows else None

    async def put_credential(self, credential: Credential) -> None:
        """A credential without any HA1 takes the old one away."""
        key = (credential.username, credential.realm)
        if credential.ha1:
            row = (*key, json.dumps(credential.ha1))
            await self._execute("INSERT OR REPLACE INTO credentials (username, realm, ha1) VALUES (?, ?, ?)", row)
        else:
            await self._execute("DELETE FROM credentials WHERE username = ? AND realm = ?", key)

    async def _execute(self, statement: str, values: tuple[object, ...]) -> list[tuple[str]]:
        connection = self._opened()
        return await self._run(lambda: connection.execute(statement, values).fetchall())

    async def _transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._opened()
        return await self._run(lambda: _in_transaction(connection, work))

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreError("the identity store is not open")
        return self._connection

    async def _run(self, work: Callable[[], T]) -> T:
        if self._thread is None:
            raise StoreError("the identity store is not open")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"the identity store {self._path.name} failed: {error}") from None
        except (UnicodeError, OverflowError):
            raise StoreError("the identity store cannot keep this value") from None


def _connect(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # SQLite gives its -wal and -shm files the rights of the main one; they all hold HA1 values.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        _in_transaction(connection, _migrate)
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise StoreError("the identity store was written by a newer version of the gateway")
    for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
        for statement in statements:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {number}")


def _in_transaction(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    # IMMEDIATE takes the write lock before the first read, so what was counted is still true when it is written.
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = work(connection)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return result


def _put(connection: sqlite3.Connection, binding: Binding, now: float, limit: int) -> None:
    connection.execute("DELETE FROM bindings WHERE aor = ? AND expires_at <= ?", (binding.aor, now))
    connection.execute("DELETE FROM bindings WHERE aor = ? AND contact = ?", (binding.aor, binding.contact))
    if binding.instance is not None and binding.reg_id is not None:
        connection.execute(
            "DELETE FROM bindings WHERE aor = ? AND instance = ? AND reg_id = ?",
            (binding.aor, binding.instance, binding.reg_id),
        )
    if binding.expires_at <= now:
        return
    (held,) = connection.execute("SELECT count(*) FROM bindings WHERE aor = ?", (binding.aor,)).fetchone()
    if held >= limit:
        raise StoreError(f"more than {limit} contacts are not kept for one address")
    _insert(connection, binding)


def _change(
    connection: sqlite3.Connection,
    aor: str,
    expected: Sequence[Binding],
    removed: Sequence[Binding],
    put: Sequence[Binding],
    now: float,
) -> bool:
    rows = connection.execute(f"SELECT {_COLUMNS} FROM bindings WHERE aor = ? AND expires_at > ?", (aor, now))
    live = {binding.contact: binding for binding in map(_binding, rows.fetchall())}
    if live != {binding.contact: binding for binding in expected}:
        return False
    connection.execute("DELETE FROM bindings WHERE aor = ? AND expires_at <= ?", (aor, now))
    for gone in (*removed, *put):
        connection.execute("DELETE FROM bindings WHERE aor = ? AND contact = ?", (aor, gone.contact))
    for binding in put:
        _insert(connection, binding)
    return True


def _insert(connection: sqlite3.Connection, binding: Binding) -> None:
    (sequence,) = connection.execute("SELECT coalesce(max(sequence), 0) + 1 FROM bindings").fetchone()
    marks = ", ".join("?" * 13)
    connection.execute(f"INSERT INTO bindings ({_COLUMNS}, sequence) VALUES ({marks})", (*_row(binding), sequence))


def _row(binding: Binding) -> tuple[object, ...]:
    return (
        binding.aor,
        binding.contact,
        binding.expires_at,
        binding.call_id,
        binding.cseq,
        binding.q,
        binding.instance,
        binding.reg_id,
        json.dumps(binding.path),
        binding.received,
        binding.user_agent,
        json.dumps(binding.codecs),
    )


def _binding(row: tuple[object, ...]) -> Binding:
    values = dict(zip(_COLUMNS.split(", "), row, strict=True))
    values["path"] = tuple(json.loads(str(values["path"])))
    values["codecs"] = tuple(json.loads(str(values["codecs"])))
    return Binding(**values)  # type: ignore[arg-type]  # the columns are the fields, of the types written above
