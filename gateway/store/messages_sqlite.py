"""Kept messages in an SQLite file of their own: they survive a restart.

All of SQLite runs in one thread of its own, so a slow disk never holds the event loop.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from gateway.people.messages import InstantMessage, MessageStoreError

T = TypeVar("T")

_COLUMNS = "id, sender, sender_name, recipient, content_type, body, sent_at, expires_at, hops"
_TABLE = """CREATE TABLE IF NOT EXISTS messages (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, sender TEXT NOT NULL,
    sender_name TEXT NOT NULL, recipient TEXT NOT NULL, content_type TEXT NOT NULL, body BLOB NOT NULL,
    sent_at REAL NOT NULL, expires_at REAL NOT NULL, hops INTEGER NOT NULL)"""
_INDEX = "CREATE INDEX IF NOT EXISTS messages_by_recipient ON messages (recipient, sequence)"


class SqliteMessages:
    """The MessageStore contract over one file, which only this user can read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._thread: ThreadPoolExecutor | None = None

    async def open(self) -> None:
        if self._thread is not None:
            return
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="messages-sqlite")
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

    async def put(self, message: InstantMessage, limit: int) -> bool:
        row = (
            message.id,
            message.sender,
            message.sender_name,
            message.recipient,
            message.content_type,
            message.body,
            message.sent_at,
            message.expires_at,
            message.hops,
        )
        # One statement counts and writes, so that two processes do not pass the limit together.
        statement = (
            f"INSERT INTO messages ({_COLUMNS}) SELECT {', '.join('?' * 9)} "
            "WHERE (SELECT count(*) FROM messages WHERE recipient = ?) < ?"
        )
        return await self._changed(statement, (*row, message.recipient, limit)) > 0

    async def pending(self, user: str, now: float) -> Sequence[InstantMessage]:
        statement = f"SELECT {_COLUMNS} FROM messages WHERE recipient = ? AND expires_at > ? ORDER BY sequence"
        connection = self._opened()
        rows = await self._run(lambda: connection.execute(statement, (user, now)).fetchall())
        names = _COLUMNS.split(", ")
        return [InstantMessage(kept=True, **dict(zip(names, row, strict=True))) for row in rows]

    async def recipients(self) -> set[str]:
        connection = self._opened()
        rows = await self._run(lambda: connection.execute("SELECT DISTINCT recipient FROM messages").fetchall())
        return {row[0] for row in rows}

    async def remove(self, message_id: str) -> None:
        await self._changed("DELETE FROM messages WHERE id = ?", (message_id,))

    async def expire(self, now: float) -> int:
        return await self._changed("DELETE FROM messages WHERE expires_at <= ?", (now,))

    async def _changed(self, statement: str, values: tuple[object, ...]) -> int:
        connection = self._opened()
        return await self._run(lambda: connection.execute(statement, values).rowcount)

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise MessageStoreError("the message store is not open")
        return self._connection

    async def _run(self, work: Callable[[], T]) -> T:
        if self._thread is None:
            raise MessageStoreError("the message store is not open")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except (sqlite3.Error, OSError, UnicodeError) as error:
            raise MessageStoreError(f"the message store {self._path.name} failed: {error}") from None


def _connect(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = sqlite3.connect(path, timeout=5.0, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(_TABLE)
        connection.execute(_INDEX)
    except BaseException:
        connection.close()
        raise
    return connection
