"""Users and identities that administrators make: one store for several gateways, the configuration above all."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import pytest

from gateway.identity.directory import Directory, DirectoryError, Refusal
from gateway.identity.mapping import IdentityMap, Rule
from gateway.identity.model import User
from gateway.store.identity_memory import MemoryStore

ALICE = User("alice", "Alice", aliases=("2001",), web=True)
BOB = User("bob", "Bob", web=True)
REALM = "gateway.test"


class Node:
    """One gateway's directory over a store."""

    def __init__(self, store: MemoryStore, *configured: User) -> None:
        names = count()
        self.identity = IdentityMap(configured or (ALICE,), [Rule("sip:1{user}@*", "{user}")], REALM)
        self.directory = Directory(self.identity, store, REALM, lambda: f"{id(self)}-{next(names)}")

    async def make(self, user: User, password: str | None = "word") -> None:
        await self.directory.make_user(user, password)

    def names(self) -> list[str]:
        return [user.id for user in self.identity.users]


def _named(node: Node, uri: str) -> str | None:
    """The id of the user whom a URI means."""
    user = node.identity.find(uri)
    return None if user is None else user.id


async def test_a_made_user_is_there_at_once_elsewhere_after_a_look_and_after_a_restart() -> None:
    """With its password; by its id, its identity and the rules."""
    store = MemoryStore()
    one, other = Node(store), Node(store)
    await one.make(BOB)
    await one.directory.put_identity("sip:4711@example.com", "bob")
    for node in (one, other, Node(store)):
        await node.directory.load()
        assert node.names() == ["alice", "bob"]
        assert [_named(node, name) for name in ("bob", "sip:4711@example.com", "sip:1bob@x")] == ["bob"] * 3
    credential = await store.credential("bob", REALM)
    assert credential is not None
    assert set(credential.ha1) == {"MD5", "SHA-256", "SHA-512-256"}
    assert await other.directory.load() == frozenset()


async def test_what_two_gateways_change_at_once_both_have_in_the_end() -> None:
    """Neither takes its own change for the last word."""
    store = MemoryStore()
    one, other = Node(store), Node(store)
    await one.make(BOB)
    await other.make(User("carol", web=True))
    assert await one.directory.load() == {"carol"}
    assert await other.directory.load() == {"bob"}
    assert sorted(one.names()) == sorted(other.names()) == ["alice", "bob", "carol"]
    with pytest.raises(DirectoryError) as refused:
        await Node(store).make(BOB)  # has not looked yet
    assert refused.value.refusal is Refusal.TAKEN


async def test_a_removed_user_leaves_nothing_behind() -> None:
    """No identity, no password; whoever has the id next is somebody else."""
    store = MemoryStore()
    one, other = Node(store), Node(store)
    await one.make(BOB)
    mark = one.directory.mark("bob")
    await one.directory.put_identity("4711", "bob")
    await other.directory.load()
    await one.directory.remove_user("bob")
    assert await other.directory.load() == {"bob"}
    assert (other.names(), other.identity.find("4711")) == (["alice"], None)
    assert await store.credential("bob", REALM) is None
    await one.make(BOB)
    assert one.directory.mark("bob") != mark
    assert one.identity.find("4711") is None


async def test_the_configuration_is_changed_there_only() -> None:
    """Its users and identities are refused, and so is whatever is already somebody's."""
    node = Node(MemoryStore())
    await node.make(BOB)
    attempts = [
        (node.directory.change_user("alice", {}, "word", keep_password=False), Refusal.CONFIGURED),
        (node.directory.remove_user("alice"), Refusal.CONFIGURED),
        (node.directory.put_identity("2001", "bob"), Refusal.CONFIGURED),
        (node.directory.remove_identity("sip:2001@gateway.test"), Refusal.CONFIGURED),
        (node.make(User("Alice", web=True)), Refusal.TAKEN),
        (node.make(User("2001", web=True)), Refusal.TAKEN),
        (node.make(BOB), Refusal.TAKEN),
        (node.directory.put_identity("alice", "bob"), Refusal.TAKEN),
        (node.directory.put_identity("4711", "carol"), Refusal.UNKNOWN),
        (node.directory.put_identity("sip:@", "bob"), Refusal.INVALID),
        (node.directory.remove_identity("4711"), Refusal.UNKNOWN),
        (node.directory.remove_user("carol"), Refusal.UNKNOWN),
        (node.directory.change_user("carol", {}, keep_password=True), Refusal.UNKNOWN),
        (node.directory.change_user("bob", {"web": False}, keep_password=True), Refusal.INVALID),
    ]
    for attempt, refusal in attempts:
        with pytest.raises(DirectoryError) as refused:
            await attempt
        assert refused.value.refusal is refusal
    assert node.names() == ["alice", "bob"]


async def test_a_configured_user_can_have_more_identities() -> None:
    """A number of its own, beside those of the configuration; the last word counts."""
    node = Node(MemoryStore())
    await node.make(BOB)
    await node.directory.put_identity("sip:4711@GATEWAY.test", "alice")
    assert node.directory.identities() == [
        ("sip:2001@gateway.test", "alice", True),
        ("sip:4711@gateway.test", "alice", False),
    ]
    await node.directory.put_identity("4711", "bob")
    assert _named(node, "sip:4711@gateway.test") == "bob"


async def test_a_store_that_has_forgotten_gets_it_all_back() -> None:
    """Redis may restart empty: nobody was removed by that."""
    store = MemoryStore()
    node = Node(store)
    await node.make(BOB)
    await node.directory.put_identity("4711", "bob")
    for name in list(await store.entries()):
        await store.put_entry(name, None)
    assert await node.directory.load() == frozenset()
    again = Node(store)
    await again.directory.load()
    assert _named(again, "4711") == "bob"


async def test_what_contradicts_a_changed_configuration_or_cannot_be_read_is_left_out() -> None:
    """The configuration wins; the rest of the directory is in force, and back when the contradiction goes."""
    store = MemoryStore()
    node = Node(store)
    for user in (BOB, User("carol", web=True), User("dave", web=True)):
        await node.make(user)
    await node.directory.put_identity("4711", "dave")
    await store.put_entry("user:dave", '{"user": {"id": 5')
    await store.put_entry("user:eve", await entry(store, "user:carol"))
    changed = Node(store, ALICE, User("bob", "Configured", web=True))
    await changed.directory.load()
    assert changed.names() == ["alice", "bob", "carol"]
    found = changed.identity.by_id("bob")
    assert found is not None
    assert found.display_name == "Configured"


async def entry(store: MemoryStore, name: str) -> str:
    return (await store.entries())[name]


async def test_a_change_keeps_the_password_unless_another_is_given() -> None:
    """And none at all is possible, for those who sign in by other means."""
    store = MemoryStore()
    node = Node(store)
    await node.make(BOB)
    first = await store.credential("bob", REALM)
    await node.directory.change_user("bob", {"display_name": "Robert"}, keep_password=True)
    assert await store.credential("bob", REALM) == first
    await node.directory.change_user("bob", {}, "another", keep_password=False)
    second = await store.credential("bob", REALM)
    assert second not in (None, first)
    await node.directory.change_user("bob", {}, None, keep_password=False)
    assert await store.credential("bob", REALM) is None


async def test_a_change_is_made_of_what_the_store_holds_now() -> None:
    """Another gateway's copy may be old: what was removed or demoted meanwhile does not come back by it."""
    store = MemoryStore()
    one, other = Node(store), Node(store)
    await one.make(replace(BOB, role="admin"))
    await one.make(User("carol", web=True))
    await other.directory.load()
    await one.directory.change_user("bob", {"role": "user"}, "another", keep_password=False)
    credential = await store.credential("bob", REALM)
    before, after = await other.directory.change_user("bob", {"display_name": "Robert"}, keep_password=True)
    assert (before.role, after.role, after.display_name) == ("user", "user", "Robert")
    assert await store.credential("bob", REALM) == credential
    await one.directory.remove_user("carol")
    for change in (
        other.directory.change_user("carol", {"display_name": "C"}, keep_password=True),
        other.directory.put_identity("4711", "carol"),
        other.directory.remove_user("carol"),
    ):
        with pytest.raises(DirectoryError) as refused:
            await change
        assert refused.value.refusal is Refusal.UNKNOWN
    assert "user:carol" not in await store.entries()
    assert await other.directory.load() == {"bob", "carol"}
    assert other.directory.take_gone() == {"carol"}


async def test_who_was_removed_and_made_again_elsewhere_has_gone() -> None:
    """Though the id is there before and after; once, and not whoever was only changed."""
    store = MemoryStore()
    one, other = Node(store), Node(store)
    await one.make(BOB)
    await one.make(User("carol", web=True))
    await other.directory.load()
    await one.directory.remove_user("bob")
    await one.make(BOB)
    await one.directory.change_user("carol", {"display_name": "C"}, keep_password=True)
    assert await other.directory.load() == {"bob", "carol"}
    assert other.directory.take_gone() == {"bob"}
    assert other.directory.take_gone() == frozenset()
