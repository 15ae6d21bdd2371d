"""The store that a configuration names."""

from __future__ import annotations

from pathlib import Path

from gateway.errors import ConfigError
from gateway.identity.store import IdentityStore
from gateway.store.identity_memory import MemoryStore
from gateway.store.identity_sqlite import SqliteStore


def store_named(name: str, state_dir: Path) -> IdentityStore:
    """ "memory", "sqlite:FILE" (relative to `state_dir`) or "redis://..."; not opened yet.

    Raises ConfigError for any other name.
    """
    if name == "memory":
        return MemoryStore()
    scheme, _, rest = name.partition(":")
    if scheme == "sqlite" and rest:
        return SqliteStore(state_dir / rest)
    if scheme in ("redis", "rediss", "unix"):
        # Only those who use it pay for loading the driver.
        from gateway.store.identity_redis import RedisStore

        return RedisStore(name)
    raise ConfigError("identity.store", 'must be "memory", "sqlite:FILE" or "redis://HOST:PORT/DATABASE"')
