"""Stores by configured name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gateway.errors import ConfigError
from gateway.identity.store import IdentityStore
from gateway.people.messages import MessageStore
from gateway.store.identity_memory import MemoryStore
from gateway.store.identity_sqlite import SqliteStore
from gateway.store.journal_shared import SharedStore
from gateway.store.messages_memory import MemoryMessages
from gateway.store.messages_sqlite import SqliteMessages

_REDIS = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")


def store_named(name: str, state_dir: Path) -> IdentityStore:
    """Return the unopened store for "memory", "sqlite:FILE" (relative to `state_dir`) or "redis://...".

    Raise ConfigError for any other name.
    """
    if name == "memory":
        return MemoryStore()
    scheme, _, rest = name.partition(":")
    if scheme == "sqlite" and rest:
        return SqliteStore(state_dir / rest)
    if scheme in _REDIS:
        # Only users of Redis load the driver.
        from gateway.store.identity_redis import RedisStore

        return RedisStore(name)
    raise ConfigError("identity.store", 'must be "memory", "sqlite:FILE" or "redis://HOST:PORT/DATABASE"')


def journal_named(name: str, node: str, key: bytes, random: Callable[[int], bytes]) -> SharedStore:
    """Return the unopened cluster journal for "redis://..." with the calls of gateway `node`, sealed by `key` (32
    octets)."""
    from gateway.store.journal_redis import RedisJournal

    return RedisJournal(name, node, key, random)


def messages_named(name: str, state_dir: Path) -> MessageStore:
    """Return the unopened message store for "memory", "sqlite:FILE" (relative to `state_dir`) or "redis://..."."""
    scheme, _, rest = name.partition(":")
    if scheme == "sqlite":
        return SqliteMessages(state_dir / rest)
    if scheme in _REDIS:
        from gateway.store.messages_redis import RedisMessages

        return RedisMessages(name)
    return MemoryMessages()
