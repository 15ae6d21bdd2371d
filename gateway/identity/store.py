"""What the gateway asks of a store of identities; memory, SQLite and Redis keep the same contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from gateway.errors import GatewayError
from gateway.identity.model import Binding, Credential


class StoreError(GatewayError):
    """The store cannot be reached or refused the change."""


class IdentityStore(Protocol):
    """Bindings and credentials. Times are Unix seconds and come in as arguments."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def bindings(self, aor: str, now: float) -> Sequence[Binding]:
        """The live bindings of `aor`, highest q first, then most recent first."""

    async def put_binding(self, binding: Binding, now: float, limit: int) -> None:
        """Add a binding, in the place of one with the same key.

        Raises StoreError when `aor` would hold more than `limit` live bindings.
        """

    async def change_bindings(
        self, aor: str, expected: Sequence[Binding], removed: Sequence[Binding], put: Sequence[Binding], now: float
    ) -> bool:
        """Take `removed` away and add or refresh `put` (by key) in one step.

        False, and nothing is changed, where the live bindings of `aor` are not `expected` any more: somebody else was
        quicker, and what was decided about the old ones has to be decided again.
        """

    async def remove_all(self, aor: str) -> None: ...

    async def expire(self, now: float) -> int:
        """Drop what has expired; returns how many."""

    async def credential(self, username: str, realm: str) -> Credential | None: ...

    async def put_credential(self, credential: Credential) -> None: ...

    async def text(self, name: str, now: float) -> str | None:
        """A text that is kept for a while, None once that is over."""

    async def put_text(self, name: str, text: str, expires_at: float, now: float) -> None:
        """Keep a text until then, in the place of the one of that name."""

    async def entries(self) -> Mapping[str, str]:
        """The directory: what is kept of users and identities that administrators made, texts by name."""

    async def put_entry(self, name: str, text: str | None, *, new: bool = False, old: str | None = None) -> bool:
        """Keep an entry of the directory, None: take it away; `new`: if there is none yet.

        `old`: if it is that one still. Whether it was done.
        """
