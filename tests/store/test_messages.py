"""One contract over every store of kept messages."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.people.messages import InstantMessage, MessageStore, MessageStoreError
from gateway.store.messages_memory import MemoryMessages
from gateway.store.messages_sqlite import SqliteMessages


def message(name: str, recipient: str = "alice", expires_at: float = 100.0) -> InstantMessage:
    return InstantMessage(
        id=name,
        sender="sip:bob@gateway.local",
        sender_name="Bob",
        recipient=recipient,
        content_type="text/plain;charset=utf-8",
        body="grüß dich\0".encode(),
        sent_at=5.0,
        expires_at=expires_at,
        hops=69,
        kept=True,
    )


@pytest_asyncio.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MessageStore]:
    made = MemoryMessages() if request.param == "memory" else SqliteMessages(tmp_path / "new" / "messages.sqlite")
    await made.open()
    yield made
    await made.close()


async def test_messages_come_back_as_they_were_in_the_order_they_were_put(store: MessageStore) -> None:
    """Each user's own, all of their fields."""
    first, second, other = message("b"), message("a"), message("c", "carol")
    for each in (first, other, second):
        assert await store.put(each, 10)
    assert list(await store.pending("alice", 0)) == [first, second]
    assert list(await store.pending("carol", 0)) == [other]
    assert await store.recipients() == {"alice", "carol"}


async def test_what_was_delivered_is_gone(store: MessageStore) -> None:
    """Once; twice is no error."""
    await store.put(message("a"), 10)
    await store.put(message("b"), 10)
    await store.remove("a")
    await store.remove("a")
    assert [one.id for one in await store.pending("alice", 0)] == ["b"]


async def test_a_user_with_too_many_gets_no_more(store: MessageStore) -> None:
    """The limit is each user's own, and a delivered one makes room."""
    assert [await store.put(message(name), 2) for name in "abc"] == [True, True, False]
    assert await store.put(message("d", "carol"), 2)
    await store.remove("a")
    assert await store.put(message("e"), 2)
    assert [one.id for one in await store.pending("alice", 0)] == ["b", "e"]


async def test_what_has_expired_is_for_nobody(store: MessageStore) -> None:
    """Neither handed out nor kept."""
    await store.put(message("a", expires_at=10), 10)
    await store.put(message("b", expires_at=20), 10)
    assert [one.id for one in await store.pending("alice", 10)] == ["b"]
    assert await store.expire(10) == 1
    assert await store.expire(10) == 0
    assert [one.id for one in await store.pending("alice", 0)] == ["b"]


async def test_a_file_outlives_the_process_and_is_for_its_user_only(tmp_path: Path) -> None:
    """What one process has put another one finds."""
    path = tmp_path / "messages.sqlite"
    first = SqliteMessages(path)
    await first.open()
    await first.put(message("a"), 10)
    await first.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    second = SqliteMessages(path)
    await second.open()
    await second.open()
    assert list(await second.pending("alice", 0)) == [message("a")]
    await second.close()
    await second.close()


async def test_a_file_that_cannot_be_used_is_the_rooms_own_error(tmp_path: Path) -> None:
    """A damaged file, a store that is not open, an id twice."""
    path = tmp_path / "messages.sqlite"
    path.write_bytes(b"no database at all, but long enough to be looked at" * 40)
    with pytest.raises(MessageStoreError):
        await SqliteMessages(path).open()
    with pytest.raises(MessageStoreError):
        await SqliteMessages(tmp_path / "other").pending("alice", 0)
    store = SqliteMessages(tmp_path / "third")
    await store.open()
    await store.put(message("a"), 10)
    with pytest.raises(MessageStoreError):
        await store.put(replace(message("a"), recipient="bob"), 10)
    await store.close()
