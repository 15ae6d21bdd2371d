"""Message store in its own SQLite file, which survives a restart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gateway.people.messages import InstantMessage, MessageStoreError
from gateway.store.sqlite import SqliteFile

_COLUMNS = "id, sender, sender_name, recipient, content_type, body, sent_at, expires_at, hops"
MIGRATIONS = (
    (
        """CREATE TABLE IF NOT EXISTS messages (
            sequence INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, sender TEXT NOT NULL,
            sender_name TEXT NOT NULL, recipient TEXT NOT NULL, content_type TEXT NOT NULL, body BLOB NOT NULL,
            sent_at REAL NOT NULL, expires_at REAL NOT NULL, hops INTEGER NOT NULL)""",
        "CREATE INDEX IF NOT EXISTS messages_by_recipient ON messages (recipient, sequence)",
    ),
)


class SqliteMessages:
    """MessageStore over one file, readable only by its owner."""

    is_shared = False

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path, "the message store", MIGRATIONS, MessageStoreError)
        self.open = self._file.open
        self.close = self._file.close

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
        # One statement counts and writes, so that two processes cannot pass the limit together.
        statement = (
            f"INSERT INTO messages ({_COLUMNS}) SELECT {', '.join('?' * 9)} "
            "WHERE (SELECT count(*) FROM messages WHERE recipient = ?) < ?"
        )
        return await self._file.changed(statement, (*row, message.recipient, limit)) > 0

    async def pending(self, user: str, now: float) -> Sequence[InstantMessage]:
        statement = f"SELECT {_COLUMNS} FROM messages WHERE recipient = ? AND expires_at > ? ORDER BY sequence"
        rows = await self._file.rows(statement, (user, now))
        names = _COLUMNS.split(", ")
        return [InstantMessage(kept=True, **dict(zip(names, row, strict=True))) for row in rows]

    async def recipients(self) -> set[str]:
        rows = await self._file.rows("SELECT DISTINCT recipient FROM messages")
        return {row[0] for row in rows}

    async def remove(self, message_id: str) -> None:
        await self._file.changed("DELETE FROM messages WHERE id = ?", (message_id,))

    async def expire(self, now: float) -> int:
        return await self._file.changed("DELETE FROM messages WHERE expires_at <= ?", (now,))

    async def claim(self, message_id: str, seconds: float) -> bool:
        """Succeed, as no other gateway shares the store."""
        return True

    async def release(self, message_id: str) -> None:
        """Do nothing, as no other gateway shares the store."""
