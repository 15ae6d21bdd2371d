"""Identity store in an SQLite file, which survives a restart and may be shared by several processes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.identity.model import Binding, Credential
from gateway.identity.store import StoreError
from gateway.store.sqlite import SqliteFile

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
    ("CREATE TABLE directory (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",),
    (
        """CREATE TABLE flows (
            aor TEXT NOT NULL, contact TEXT NOT NULL, expires_at REAL NOT NULL, call_id TEXT NOT NULL,
            cseq INTEGER NOT NULL, q REAL NOT NULL, instance TEXT, reg_id INTEGER, path TEXT NOT NULL,
            received TEXT, user_agent TEXT NOT NULL, codecs TEXT NOT NULL, sequence INTEGER NOT NULL, key TEXT NOT NULL,
            PRIMARY KEY (aor, key)) WITHOUT ROWID""",
        """INSERT OR REPLACE INTO flows SELECT *, CASE WHEN instance IS NULL OR reg_id IS NULL THEN contact
            ELSE reg_id || ' ' || instance END FROM bindings""",
        "DROP TABLE bindings",
        "ALTER TABLE flows RENAME TO bindings",
        "CREATE INDEX bindings_by_expiry ON bindings (expires_at)",
        "CREATE INDEX bindings_by_sequence ON bindings (sequence)",
    ),
    ("ALTER TABLE bindings ADD COLUMN node TEXT NOT NULL DEFAULT ''",),
    (
        "CREATE TABLE texts (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL, expires_at REAL NOT NULL) "
        "WITHOUT ROWID",
    ),
)

_COLUMNS = "aor, contact, expires_at, call_id, cseq, q, instance, reg_id, path, received, user_agent, codecs, node"


class SqliteStore:
    """IdentityStore over one file."""

    def __init__(self, path: Path) -> None:
        """`path` and its folder are created if missing; the file holds HA1 values."""
        self._file = SqliteFile(path, "the identity store", MIGRATIONS, StoreError)
        self.open = self._file.open
        self.close = self._file.close

    async def bindings(self, aor: str, now: float) -> Sequence[Binding]:
        rows = await self._file.rows(
            f"SELECT {_COLUMNS} FROM bindings WHERE aor = ? AND expires_at > ? ORDER BY q DESC, sequence DESC",
            (aor, now),
        )
        return [_binding(row) for row in rows]

    async def put_binding(self, binding: Binding, now: float, limit: int) -> None:
        await self._file.transaction(lambda connection: _put(connection, binding, now, limit))

    async def change_bindings(
        self, aor: str, expected: Sequence[Binding], removed: Sequence[Binding], put: Sequence[Binding], now: float
    ) -> bool:
        return await self._file.transaction(lambda connection: _change(connection, aor, expected, removed, put, now))

    async def remove_all(self, aor: str) -> None:
        await self._file.changed("DELETE FROM bindings WHERE aor = ?", (aor,))

    async def expire(self, now: float) -> int:
        texts = await self._file.changed("DELETE FROM texts WHERE expires_at <= ?", (now,))
        return texts + await self._file.changed("DELETE FROM bindings WHERE expires_at <= ?", (now,))

    async def text(self, name: str, now: float) -> str | None:
        rows = await self._file.rows("SELECT value FROM texts WHERE name = ? AND expires_at > ?", (name, now))
        return rows[0][0] if rows else None

    async def put_text(self, name: str, text: str, expires_at: float, now: float) -> None:
        await self._file.changed("INSERT OR REPLACE INTO texts VALUES (?, ?, ?)", (name, text, expires_at))

    async def credential(self, username: str, realm: str) -> Credential | None:
        rows = await self._file.rows("SELECT ha1 FROM credentials WHERE username = ? AND realm = ?", (username, realm))
        return Credential(username, realm, json.loads(rows[0][0])) if rows else None

    async def put_credential(self, credential: Credential) -> None:
        """Store a credential; without any HA1 remove the present credential."""
        key = (credential.username, credential.realm)
        if credential.ha1:
            row = (*key, json.dumps(credential.ha1))
            await self._file.changed("INSERT OR REPLACE INTO credentials (username, realm, ha1) VALUES (?, ?, ?)", row)
        else:
            await self._file.changed("DELETE FROM credentials WHERE username = ? AND realm = ?", key)

    async def entries(self) -> Mapping[str, str]:
        return dict(await self._file.rows("SELECT name, value FROM directory"))

    async def put_entry(self, name: str, text: str | None, *, new: bool = False, old: str | None = None) -> bool:
        if text is None:
            return await self._file.changed("DELETE FROM directory WHERE name = ?", (name,)) > 0
        if old is not None:
            statement = "UPDATE directory SET value = ? WHERE name = ? AND value = ?"
            return await self._file.changed(statement, (text, name, old)) > 0
        how = "IGNORE" if new else "REPLACE"
        statement = f"INSERT OR {how} INTO directory (name, value) VALUES (?, ?)"
        return await self._file.changed(statement, (name, text)) > 0


def _put(connection: sqlite3.Connection, binding: Binding, now: float, limit: int) -> None:
    connection.execute("DELETE FROM bindings WHERE aor = ? AND expires_at <= ?", (binding.aor, now))
    connection.execute("DELETE FROM bindings WHERE aor = ? AND key = ?", (binding.aor, binding.key))
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
    live = {binding.key: binding for binding in map(_binding, rows.fetchall())}
    if live != {binding.key: binding for binding in expected}:
        return False
    connection.execute("DELETE FROM bindings WHERE aor = ? AND expires_at <= ?", (aor, now))
    for replaced in (*removed, *put):
        connection.execute("DELETE FROM bindings WHERE aor = ? AND key = ?", (aor, replaced.key))
    for binding in put:
        _insert(connection, binding)
    return True


def _insert(connection: sqlite3.Connection, binding: Binding) -> None:
    (sequence,) = connection.execute("SELECT coalesce(max(sequence), 0) + 1 FROM bindings").fetchone()
    marks = ", ".join("?" * 15)
    values = (*_row(binding), sequence, binding.key)
    connection.execute(f"INSERT INTO bindings ({_COLUMNS}, sequence, key) VALUES ({marks})", values)


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
        binding.node,
    )


def _binding(row: tuple[object, ...]) -> Binding:
    values = dict(zip(_COLUMNS.split(", "), row, strict=True))
    values["path"] = tuple(json.loads(str(values["path"])))
    values["codecs"] = tuple(json.loads(str(values["codecs"])))
    return Binding(**values)  # type: ignore[arg-type]  # the columns are the fields, of the types written above
