"""A store that restarts empty: the configured credentials are there again when somebody proves who it is."""

from __future__ import annotations

from gateway.identity.model import Credential
from gateway.identity.provisioned import ProvisionedStore
from gateway.store.identity_memory import MemoryStore

ALICE = Credential("alice", "gateway.local", {"MD5": "0" * 32})


async def test_a_credential_that_has_gone_is_put_back() -> None:
    """Where it was asked for; nobody else's, and none of another realm."""
    inner = MemoryStore()
    store = ProvisionedStore(inner, {"alice": ALICE})
    await store.open()
    assert await inner.credential("alice", "gateway.local") is None
    assert await store.credential("alice", "gateway.local") == ALICE
    assert await inner.credential("alice", "gateway.local") == ALICE
    assert await store.credential("bob", "gateway.local") is None
    assert await store.credential("alice", "elsewhere") is None
    await store.close()


async def test_a_credential_that_is_there_is_left_as_it_is() -> None:
    """The store's word counts: another gateway may have written it."""
    store = ProvisionedStore(MemoryStore(), {"alice": ALICE})
    await store.open()
    other = Credential("alice", "gateway.local", {"MD5": "f" * 32})
    await store.put_credential(other)
    assert await store.credential("alice", "gateway.local") == other
    await store.close()
