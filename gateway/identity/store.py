"""Interface of an identity store, implemented for memory, SQLite and Redis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from gateway.errors import GatewayError
from gateway.identity.model import Binding, Credential


class StoreError(GatewayError):
    """The store is unreachable or rejected the change."""


class IdentityStore(Protocol):
    """Bindings and credentials. Times are arguments in Unix seconds."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def bindings(self, aor: str, now: float) -> Sequence[Binding]:
        """Return the live bindings of `aor`, highest q first, then most recent first."""

    async def put_binding(self, binding: Binding, now: float, limit: int) -> None:
        """Add a binding, or replace the binding with an equal key.

        Raise StoreError if `aor` would have more than `limit` live bindings.
        """

    async def change_bindings(
        self, aor: str, expected: Sequence[Binding], removed: Sequence[Binding], put: Sequence[Binding], now: float
    ) -> bool:
        """Remove `removed` and add or refresh `put` (by key) atomically.

        Return False without any change if the live bindings of `aor` differ from `expected`: after a concurrent change
        the caller must decide again.
        """

    async def remove_all(self, aor: str) -> None: ...

    async def expire(self, now: float) -> int:
        """Drop expired entries; return their number."""

    async def credential(self, username: str, realm: str) -> Credential | None: ...

    async def put_credential(self, credential: Credential) -> None: ...

    async def text(self, name: str, now: float) -> str | None:
        """Return a text with a limited lifetime, None after its expiry."""

    async def put_text(self, name: str, text: str, expires_at: float, now: float) -> None:
        """Store a text until `expires_at`, replacing the text of that name."""

    async def entries(self) -> Mapping[str, str]:
        """Return the directory: entries for users and identities created by administrators, texts by name."""

    async def put_entry(self, name: str, text: str | None, *, new: bool = False, old: str | None = None) -> bool:
        """Store an entry of the directory, or remove the entry for None; with `new` only if absent.

        With `old` only if the present text equals `old`. Return True if done.
        """
