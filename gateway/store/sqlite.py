"""SQLite file behind a store, with a thread each for writing and reading: a slow disk never blocks the event loop.

Reads do not wait for a write, even one that waits for another process (write-ahead log), so registered users remain
reachable.
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
"""Seconds to wait for another process's write."""

Migrations = Sequence[Sequence[str]]
"""Statements by user_version: each entry upgrades the file to the next version; entries never change."""


@dataclass(frozen=True, slots=True)
class _Thread:
    """Connection with its own thread."""

    executor: ThreadPoolExecutor
    connection: sqlite3.Connection


class SqliteFile:
    """SQLite file of one store; several processes may share the file."""

    def __init__(self, path: Path, what: str, migrations: Migrations, error: type[GatewayError]) -> None:
        """`path` and its folder are created if missing, readable only by the owner.

        `what`: name of the store in `error`, the only exception raised ("the identity store").
        """
        self._path = path
        self._what = what
        self._migrations = migrations
        self._error = error
        self._writing: _Thread | None = None
        self._reading: _Thread | None = None

    async def open(self) -> None:
        """Create or migrate the file; idempotent."""
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
        """Close the file; idempotent."""
        threads, self._writing, self._reading = (self._reading, self._writing), None, None
        for thread in threads:
            if thread is not None:
                try:
                    await self._run(thread.executor, thread.connection.close)
                finally:
                    thread.executor.shutdown(wait=False)

    async def rows(self, statement: str, values: tuple[object, ...] = ()) -> list[Any]:
        """Return the rows of one statement."""
        return await self._ask(self._reading, lambda connection: connection.execute(statement, values).fetchall())

    async def changed(self, statement: str, values: tuple[object, ...] = ()) -> int:
        """Return the number of rows changed by one statement."""
        return await self._ask(self._writing, lambda connection: connection.execute(statement, values).rowcount)

    async def transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` atomically, without writes of other processes in between."""
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
        # SQLite gives its -wal and -shm files the rights of the main file.
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
    # IMMEDIATE takes the write lock before the first read, so a count stays valid until the write.
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = work(connection)
    except BaseException:
        if connection.in_transaction:  # SQLite itself rolls back on a full disk
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return result
