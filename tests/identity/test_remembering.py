"""While the server of a store is away, what is known of registrations is served, and changes are refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.identity.model import Binding, Credential
from gateway.identity.provisioned import ProvisionedStore
from gateway.identity.remembering import RememberingStore
from gateway.identity.store import StoreError
from gateway.store.identity_memory import MemoryStore
from gateway.store.identity_redis import RedisStore
from tests.identity.conftest import redis_server
from tests.ports import free_port

NOW = 1_700_000_000.0
AOR = "sip:1001@gateway.local"
OURS = Credential("1001", "gw", {"MD5": "00"})


def binding(contact: str, expires_in: float = 60.0, **more: object) -> Binding:
    return replace(Binding(aor=AOR, contact=contact, expires_at=NOW + expires_in), **more)  # type: ignore[arg-type]


class Away(MemoryStore):
    """A store whose server goes away."""

    is_away = False

    async def bindings(self, aor: str, now: float) -> Sequence[Binding]:
        if self.is_away:
            raise StoreError("no connection")
        return await super().bindings(aor, now)


class Clock:
    """Monotonic seconds, turned by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.wall
async def test_a_redis_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    """What was read or written here is served as long as it lasts; nothing is changed; afterwards Redis is asked."""
    port, clock = free_port(), Clock()
    inner = RedisStore(f"redis://127.0.0.1:{port}/0", timeout=1.0)
    store = ProvisionedStore(RememberingStore(inner, clock), {"1001": OURS})
    first, second = binding("sip:a@h"), binding("sip:b@h", 30.0, q=0.5)
    with redis_server(port, tmp_path):
        await store.open()
        await store.put_binding(first, NOW, 10)
        assert await store.change_bindings(AOR, [first], [], [second], NOW)
    assert await store.bindings(AOR, NOW) == [first, second]
    assert await store.bindings(AOR, NOW + 40) == [first]
    assert await store.credential("1001", "gw") == OURS
    for asked in (store.credential("1002", "gw"), store.bindings("sip:other@gateway.local", NOW)):
        with pytest.raises(StoreError):
            await asked
    for change in (
        store.put_binding(first, NOW, 10),
        store.change_bindings(AOR, [first, second], [second], [], NOW),
        store.remove_all(AOR),
    ):
        with pytest.raises(StoreError):
            await change
    assert await store.bindings(AOR, NOW) == [first, second]
    with redis_server(port, tmp_path):
        assert await store.bindings(AOR, NOW) == [first, second], "it is asked a second after its last failure"
        clock.now += 1.5
        assert await store.bindings(AOR, NOW) == []
        await store.put_binding(second, NOW, 10)
        await store.remove_all(AOR)
    assert await store.bindings(AOR, NOW) == []
    await store.close()


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was asked for longest ago is forgotten, and cannot be called until the store is back."""
    monkeypatch.setattr("gateway.identity.remembering._REMEMBERED", 3)
    inner, clock = Away(), Clock()
    store = RememberingStore(inner, clock)
    aors = [f"sip:{number}@gateway.local" for number in range(5)]
    for aor in aors:
        await store.bindings(aor, NOW)
    await store.bindings(aors[2], NOW)
    await store.bindings(aors[0], NOW)
    inner.is_away = True
    for aor in (aors[0], aors[2], aors[4]):
        assert await store.bindings(aor, NOW) == []
    for aor in (aors[1], aors[3]):
        clock.now += 2.0
        with pytest.raises(StoreError):
            await store.bindings(aor, NOW)


async def test_a_store_that_is_back_is_believed_at_the_first_change() -> None:
    """A phone that registers a moment after is not told that others are quicker, whatever was remembered."""
    inner, clock = Away(), Clock()
    store = RememberingStore(inner, clock)
    known, fresh = binding("sip:a@h"), binding("sip:a@h", 90.0)
    await store.put_binding(known, NOW, 10)
    inner.is_away = True
    assert await store.bindings(AOR, NOW) == [known]
    inner.is_away = False
    await inner.remove_all(AOR)
    assert await store.bindings(AOR, NOW) == [known], "it is not asked for a moment"
    assert not await store.change_bindings(AOR, [known], [], [fresh], NOW)
    assert await store.bindings(AOR, NOW) == []
    assert await store.change_bindings(AOR, [], [], [fresh], NOW)


@pytest.mark.wall
async def test_a_flow_of_a_gateway_that_knew_no_others_is_refreshed(redis_url: str) -> None:
    """What was written before bindings had a node is compared as it was written."""
    store = RedisStore(redis_url, prefix="alone:")
    await store.open()
    alone, ours = binding("sip:a@h"), binding("sip:a@h", 90.0, node="sip:10.0.0.1")
    await store.put_binding(alone, NOW, 10)
    raw = await store._database.client.hvals(f"alone:bindings:{AOR}")
    assert "node" not in raw[0]
    assert await store.change_bindings(AOR, [alone], [], [ours], NOW)
    assert await store.bindings(AOR, NOW) == [ours]
    await store.close()
