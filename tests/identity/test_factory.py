"""The store that identity.store names."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.store.factory import store_named
from gateway.store.identity_memory import MemoryStore
from gateway.store.identity_redis import RedisStore
from gateway.store.identity_sqlite import SqliteStore
from tests.rows import by_row


async def test_each_name_makes_its_store(tmp_path: Path) -> None:
    """Memory, SQLite in the state directory, Redis by URL."""
    assert isinstance(store_named("memory", tmp_path), MemoryStore)
    assert isinstance(store_named("redis://127.0.0.1/0", tmp_path), RedisStore)
    store = store_named("sqlite:here.sqlite", tmp_path / "state")
    assert isinstance(store, SqliteStore)
    await store.open()
    await store.close()
    assert (tmp_path / "state" / "here.sqlite").exists()


@by_row("name", ["", "sqlite:", "postgres://hunter2@h", "memory2"])
def test_other_names_are_refused(tmp_path: Path, name: str) -> None:
    """An unknown store is a configuration error that does not repeat the URL."""
    with pytest.raises(ConfigError) as caught:
        store_named(name, tmp_path)
    assert caught.value.key == "identity.store"
    assert "hunter2" not in str(caught.value)
