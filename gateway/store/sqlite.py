"""One SQLite file behind a store, written and read in a thread each: a slow disk never holds the event loop.

Nor does a write that waits for another process hold what is read (write-ahead log): who is known can be called then.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gateway.errors import GatewayError

T = TypeVar("T")

BUSY_TIMEOUT = 5.0
"""How long to wait for another process's write (s)."""

Migrations = Sequence[Sequence[str]]
"""Each entry brings the file from the user_version of its index to the next one; entries never change."""


@dataclass(frozen=True, slots=True)
class _Thread:
    """A connection, and the one thread that uses it."""

    executor: ThreadPoolExecutor
    connection: sqlite3.Connection


class SqliteFile:
    """Opened, closed and asked by one store; several processes may share the file."""

    def __init__(self, path: Path, what: str, migrations: Migrations, error: type[GatewayError]) -> None:
        """`path` and its folder are made when they do not exist, readable by this user only.

        `what` is what it keeps, in the sentences of `error`, the only exception that is raised ("the identity store").
        """
        self._path = path
        self._what = what
        self._migrations = migrations
        self._error = error
        self._writing: _Thread | None = None
        self._reading: _Thread | None = None

    async def open(self) -> None:
        """Make or migrate the file; idempotent."""
        if self._writing is not None:
            return
        try:
            self._writing = await self._opened("write", self._connect)
            self._reading = await self._opened("read", self._connect_to_read)
        except BaseException:
            await self.close()
            raise

    async def _opened(self, what: str, connect: Callable[[], sqlite3.Connection]) -> _Thread:
        made = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"{what}-{self._path.name}")
        try:
            return _Thread(made, await self._run(made, connect))
        except BaseException:
            made.shutdown(wait=False)
            raise

    async def close(self) -> None:
        """Idempotent."""
        threads, self._writing, self._reading = (self._reading, self._writing), None, None
        for thread in threads:
            if thread is not None:
                try:
                    await self._run(thread.executor, thread.connection.close)
                finally:
                    thread.executor.shutdown(wait=False)

    async def rows(self, statement: str, values: tuple[object, ...] = ()) -> list[Any]:
        """What one statement finds."""
        return await self._ask(self._reading, lambda connection: connection.execute(statement, values).fetchall())

    async def changed(self, statement: str, values: tuple[object, ...] = ()) -> int:
        """How many rows one statement changed."""
        return await self._ask(self._writing, lambda connection: connection.execute(statement, values).rowcount)

    async def transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do all of `work` or nothing, with nobody else's write in between."""
        return await self._ask(self._writing, lambda connection: _in_transaction(connection, work))

    async def _ask(self, thread: _Thread | None, work: Callable[[sqlite3.Connection], T]) -> T:
        if thread is None:
            raise self._error(f"{self._what} is not open")
        return await self._run(thread.executor, lambda: work(thread.connection))

    async def _run(self, executor: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, work)
        except (sqlite3.Error, OSError) as error:
            raise self._error(f"{self._what} {self._path.name} failed: {error}") from None
        except (UnicodeError, OverflowError):
            raise self._error(f"{self._what} cannot keep this value") from None

    def _connect_to_read(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT, isolation_level=None)
        connection.execute("PRAGMA query_only = 1")
        return connection

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite gives its -wal and -shm files the rights of the main one.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            _in_transaction(connection, self._migrate)
        except BaseException:
            connection.close()
            raise
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > len(self._migrations):
            raise self._error(f"{self._what} was written by a newer version of the gateway")
        for number, statements in enumerate(self._migrations[version:], start=version + 1):
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")


def _in_transaction(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    # IMMEDIATE takes the write lock before the first read, so what was counted is still true when it is written.
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = work(connection)
    except BaseException:
        if connection.in_transaction:  # SQLite itself has taken it back where the disk is full
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return result
