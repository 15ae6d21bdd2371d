"""Store wrapper that restores lost credentials of configured users on demand.

Redis may restart empty. Phones register again by themselves, but authentication would fail if HA1 values were written
only at our start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from gateway.identity.model import Binding, Credential
from gateway.identity.store import IdentityStore, StoreError

log = structlog.get_logger(__name__)


class ProvisionedStore:
    """IdentityStore over another store."""

    def __init__(self, store: IdentityStore, credentials: Mapping[str, Credential]) -> None:
        """`credentials`: by user name, all of one realm."""
        self._store = store
        self.credentials = dict(credentials)
        """Credentials in force."""

    async def open(self) -> None:
        await self._store.open()

    async def close(self) -> None:
        await self._store.close()

    async def bindings(self, aor: str, now: float) -> Sequence[Binding]:
        return await self._store.bindings(aor, now)

    async def put_binding(self, binding: Binding, now: float, limit: int) -> None:
        await self._store.put_binding(binding, now, limit)

    async def change_bindings(
        self, aor: str, expected: Sequence[Binding], removed: Sequence[Binding], put: Sequence[Binding], now: float
    ) -> bool:
        return await self._store.change_bindings(aor, expected, removed, put, now)

    async def remove_all(self, aor: str) -> None:
        await self._store.remove_all(aor)

    async def expire(self, now: float) -> int:
        return await self._store.expire(now)

    async def credential(self, username: str, realm: str) -> Credential | None:
        ours = self.credentials.get(username)
        is_ours = ours is not None and ours.realm == realm
        try:
            found = await self._store.credential(username, realm)
        except StoreError:
            if not is_ours:
                raise
            return ours
        if found is not None or ours is None or not is_ours:
            return found
        log.warning("a credential had gone from the store and was put back", user=username)
        await self._store.put_credential(ours)
        return ours

    async def put_credential(self, credential: Credential) -> None:
        await self._store.put_credential(credential)
        if credential.ha1:
            self.credentials[credential.username] = credential
        else:
            self.credentials.pop(credential.username, None)

    async def text(self, name: str, now: float) -> str | None:
        return await self._store.text(name, now)

    async def put_text(self, name: str, text: str, expires_at: float, now: float) -> None:
        await self._store.put_text(name, text, expires_at, now)

    async def entries(self) -> Mapping[str, str]:
        return await self._store.entries()

    async def put_entry(self, name: str, text: str | None, *, new: bool = False, old: str | None = None) -> bool:
        return await self._store.put_entry(name, text, new=new, old=old)
