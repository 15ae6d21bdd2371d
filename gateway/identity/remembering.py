"""Store wrapper that caches bindings, so that registered users remain reachable during a store outage."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

import structlog

from gateway.identity.latency import Latency
from gateway.identity.model import Binding, Credential
from gateway.identity.store import IdentityStore, StoreError

log = structlog.get_logger(__name__)

_REMEMBERED = 50_000
"""Addresses of record cached; the least recently read is dropped first."""
_PAUSE = 1.0
"""Seconds after a failure during which cached bindings are used without asking the server."""


class RememberingStore:
    """IdentityStore over another store: cached bindings are read during an outage.

    Changes fail during an outage, as no other gateway would learn of them.
    """

    def __init__(self, store: IdentityStore, clock: Callable[[], float]) -> None:
        """`clock` returns monotonic seconds."""
        self._store = store
        self._clock = clock
        self._known: OrderedDict[str, tuple[Binding, ...]] = OrderedDict()
        self._away_until = float("-inf")
        self._is_away = False
        self._latency = Latency(clock)

    def took(self) -> float:
        """Return the store's median response time in seconds; 0 during an outage, when no request waits for the
        store."""
        return 0.0 if self._is_away else self._latency.median()

    async def open(self) -> None:
        await self._store.open()

    async def close(self) -> None:
        await self._store.close()

    async def bindings(self, aor: str, now: float) -> Sequence[Binding]:
        known = self._known.get(aor)
        if known is not None and self._clock() < self._away_until:
            return _live(known, now)
        try:
            with self._latency.question():
                found = await self._store.bindings(aor, now)
        except StoreError as error:
            self._failed(error)
            if known is None:
                raise
            return _live(known, now)
        self._answered()
        self._remember(aor, tuple(found))
        return found

    async def put_binding(self, binding: Binding, now: float, limit: int) -> None:
        await self._store.put_binding(binding, now, limit)
        self._answered()
        others = (one for one in self._known.get(binding.aor, ()) if one.key != binding.key)
        self._remember(binding.aor, (binding, *others))

    async def change_bindings(
        self, aor: str, expected: Sequence[Binding], removed: Sequence[Binding], put: Sequence[Binding], now: float
    ) -> bool:
        done = await self._store.change_bindings(aor, expected, removed, put, now)
        # The expected bindings may come from the cache: the next attempt reads the store again.
        self._answered()
        if done:
            replaced = {one.key for one in (*removed, *put)}
            self._remember(aor, (*put, *(one for one in expected if one.key not in replaced)))
        return done

    async def remove_all(self, aor: str) -> None:
        await self._store.remove_all(aor)
        self._remember(aor, ())

    async def expire(self, now: float) -> int:
        return await self._store.expire(now)

    async def credential(self, username: str, realm: str) -> Credential | None:
        with self._latency.question():
            return await self._store.credential(username, realm)

    async def put_credential(self, credential: Credential) -> None:
        await self._store.put_credential(credential)

    async def text(self, name: str, now: float) -> str | None:
        return await self._store.text(name, now)

    async def put_text(self, name: str, text: str, expires_at: float, now: float) -> None:
        await self._store.put_text(name, text, expires_at, now)

    async def entries(self) -> Mapping[str, str]:
        return await self._store.entries()

    async def put_entry(self, name: str, text: str | None, *, new: bool = False, old: str | None = None) -> bool:
        return await self._store.put_entry(name, text, new=new, old=old)

    def _remember(self, aor: str, bindings: tuple[Binding, ...]) -> None:
        self._known[aor] = bindings
        self._known.move_to_end(aor)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    def _failed(self, error: StoreError) -> None:
        self._away_until = self._clock() + _PAUSE
        if not self._is_away:
            self._is_away = True
            log.error("registrations are read from memory until the store is back", reason=str(error))

    def _answered(self) -> None:
        self._away_until = float("-inf")
        if self._is_away:
            self._is_away = False
            log.info("the store is back")


def _live(bindings: Sequence[Binding], now: float) -> list[Binding]:
    return sorted((one for one in bindings if one.expires_at > now), key=lambda one: -one.q)
