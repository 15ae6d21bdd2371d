"""In-process identity store, lost at exit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.identity.model import Binding, Credential
from gateway.identity.store import StoreError


class MemoryStore:
    """IdentityStore over dictionaries."""

    def __init__(self) -> None:
        # Oldest first: a refreshed binding moves to the end.
        self._bindings: dict[str, list[Binding]] = {}
        self._credentials: dict[tuple[str, str], Credential] = {}
        self._entries: dict[str, str] = {}
        self._texts: dict[str, tuple[str, float]] = {}

    async def open(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing; the content stays as long as the object."""

    async def bindings(self, aor: str, now: float) -> Sequence[Binding]:
        live = [binding for binding in reversed(self._bindings.get(aor, ())) if binding.expires_at > now]
        return sorted(live, key=lambda binding: -binding.q)

    async def put_binding(self, binding: Binding, now: float, limit: int) -> None:
        others = [
            other
            for other in self._bindings.get(binding.aor, ())
            if other.expires_at > now and other.key != binding.key
        ]
        if binding.expires_at > now:
            if len(others) >= limit:
                raise StoreError(f"more than {limit} contacts are not kept for one address")
            others.append(binding)
        self._keep(binding.aor, others)

    async def change_bindings(
        self, aor: str, expected: Sequence[Binding], removed: Sequence[Binding], put: Sequence[Binding], now: float
    ) -> bool:
        live = {binding.key: binding for binding in self._bindings.get(aor, ()) if binding.expires_at > now}
        if live != {binding.key: binding for binding in expected}:
            return False
        for replaced in (*removed, *put):
            live.pop(replaced.key, None)
        self._keep(aor, [*live.values(), *put])
        return True

    async def remove_all(self, aor: str) -> None:
        self._keep(aor, [])

    async def expire(self, now: float) -> int:
        dropped = 0
        for aor, bindings in list(self._bindings.items()):
            live = [binding for binding in bindings if binding.expires_at > now]
            dropped += len(bindings) - len(live)
            self._keep(aor, live)
        texts = {name: kept for name, kept in self._texts.items() if kept[1] > now}
        dropped += len(self._texts) - len(texts)
        self._texts = texts
        return dropped

    async def text(self, name: str, now: float) -> str | None:
        text, expires_at = self._texts.get(name, ("", now))
        return text if expires_at > now else None

    async def put_text(self, name: str, text: str, expires_at: float, now: float) -> None:
        self._texts[name] = (text, expires_at)

    async def credential(self, username: str, realm: str) -> Credential | None:
        return self._credentials.get((username, realm))

    async def put_credential(self, credential: Credential) -> None:
        """Store a credential; without any HA1 remove the present credential."""
        key = (credential.username, credential.realm)
        if credential.ha1:
            self._credentials[key] = credential
        else:
            self._credentials.pop(key, None)

    async def entries(self) -> Mapping[str, str]:
        return dict(self._entries)

    async def put_entry(self, name: str, text: str | None, *, new: bool = False, old: str | None = None) -> bool:
        if (new and name in self._entries) or (old is not None and self._entries.get(name) != old):
            return False
        if text is None:
            return self._entries.pop(name, None) is not None
        self._entries[name] = text
        return True

    def _keep(self, aor: str, bindings: list[Binding]) -> None:
        if bindings:
            self._bindings[aor] = bindings
        else:
            self._bindings.pop(aor, None)
