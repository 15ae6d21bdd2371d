"""One contract over every store of kept messages."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.people.messages import InstantMessage, MessageStore, MessageStoreError
from gateway.store import messages_redis
from gateway.store.messages_memory import MemoryMessages
from gateway.store.messages_redis import RedisMessages
from gateway.store.messages_sqlite import SqliteMessages
from tests.ports import free_port
from tests.virtual import outside


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


@pytest_asyncio.fixture(params=["memory", "sqlite", outside("redis")])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MessageStore]:
    made: MessageStore
    if request.param == "memory":
        made = MemoryMessages()
    elif request.param == "sqlite":
        made = SqliteMessages(tmp_path / "new" / "messages.sqlite")
    else:
        made = RedisMessages(request.getfixturevalue("redis_url"), prefix=f"{tmp_path}:")
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


async def test_an_id_twice_is_refused(store: MessageStore) -> None:
    """By the stores that outlive a process; nothing is lost by it."""
    await store.put(message("a"), 10)
    if not isinstance(store, MemoryMessages):
        with pytest.raises(MessageStoreError):
            await store.put(message("a", "carol"), 10)
    assert [one.id for one in await store.pending("alice", 0)] == ["a"]


async def test_a_claim_is_given_back_or_goes_with_its_message(store: MessageStore) -> None:
    """Who has claimed a message may deliver it; where it is shared nobody else may, now or later."""
    await store.put(message("a"), 10)
    assert await store.claim("a", 60)
    assert await store.claim("a", 60) is not store.is_shared
    await store.release("a")
    assert await store.claim("a", 60)
    await store.remove("a")
    assert await store.claim("a", 60) is not store.is_shared
    await store.put(message("a"), 10)
    assert await store.claim("a", 60)


@pytest.mark.wall
async def test_more_than_one_batch_of_messages_expires(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them, and all are counted."""
    monkeypatch.setattr(messages_redis, "_EXPIRE_BATCH", 2)
    store = RedisMessages(redis_url, prefix=f"{tmp_path}:")
    await store.open()
    try:
        for number in range(5):
            await store.put(message(str(number)), 10)
        assert await store.expire(101.0) == 5
    finally:
        await store.close()


@pytest.mark.wall
async def test_two_gateways_share_what_is_kept(redis_url: str, tmp_path: Path) -> None:
    """What one keeps the other finds, in order, and a claim counts for both; a claim that nobody ends runs out."""
    one, two = (RedisMessages(redis_url, prefix=f"{tmp_path}:") for _ in range(2))
    await one.open()
    await two.open()
    try:
        await one.put(message("b"), 10)
        await two.put(message("a"), 10)
        assert [each.id for each in await one.pending("alice", 0)] == ["b", "a"]
        assert await one.claim("b", 0.05)
        assert not await two.claim("b", 60)
        async with asyncio.timeout(30):
            # Redis ends it by its own clock and tells nobody.
            while not await two.claim("b", 60):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert await two.expire(1_000) == 2
        assert await one.recipients() == set()
    finally:
        await one.close()
        await two.close()


async def test_a_redis_that_is_away_is_the_rooms_own_error() -> None:
    """Without the password of its URL."""
    store = RedisMessages(f"redis://:secret@127.0.0.1:{free_port()}/0", timeout=0.5)
    with pytest.raises(MessageStoreError) as raised:
        await store.open()
    assert "secret" not in str(raised.value)
    for use in (store.pending("alice", 0), store.put(message("a"), 1), store.remove("a"), store.claim("a", 1)):
        with pytest.raises(MessageStoreError):
            await use
