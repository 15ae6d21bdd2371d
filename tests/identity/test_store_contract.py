"""One contract over every store: memory, SQLite, and a real Redis."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.identity.model import Binding, Credential
from gateway.identity.store import IdentityStore, StoreError

NOW = 1_700_000_000.0
AOR = "sip:1001@gateway.local"


def binding(contact: str = "sip:1001@192.0.2.7", *, expires_in: float = 60.0, q: float = 1.0) -> Binding:
    return Binding(aor=AOR, contact=contact, expires_at=NOW + expires_in, q=q)


async def contacts(store: IdentityStore, now: float = NOW) -> list[str]:
    return [found.contact for found in await store.bindings(AOR, now)]


async def test_binding_comes_back_with_every_field(store: IdentityStore) -> None:
    """What was put in comes out equal, none of its fields lost or changed."""
    full = Binding(
        aor=AOR,
        contact='sip:1001@[2001:db8::7]:5060;ob?x="ü\n\x00',
        expires_at=NOW + 60.123456789,
        call_id="a84b4c76e66710@pc33",
        cseq=2_147_483_647,
        q=0.3,
        instance="urn:uuid:00000000-0000-1000-8000-000a95a0e128",
        reg_id=1,
        path=("<sip:p1.example.com;lr>", "<sip:p2.example.com;lr>"),
        received="udp:192.0.2.7:5060",
        user_agent='Phone "7" \\ 雪',
        codecs=("pcma", "opus"),
    )
    await store.put_binding(full, NOW, 10)
    assert await store.bindings(AOR, NOW) == [full]
    plain = binding("sip:plain@192.0.2.8")
    await store.put_binding(plain, NOW, 10)
    assert plain in await store.bindings(AOR, NOW)


async def test_entries_of_the_directory_are_put_once_changed_and_taken_away(store: IdentityStore) -> None:
    """A new one only where there is none; each answer says whether anything was done."""
    assert await store.put_entry("user:bob", "ü\n1", new=True)
    assert not await store.put_entry("user:bob", "2", new=True)
    assert await store.entries() == {"user:bob": "ü\n1"}
    assert await store.put_entry("user:bob", "3")
    for old in ("ü\n1", "", "4"):
        assert not await store.put_entry("user:bob", "5", old=old)
    assert not await store.put_entry("user:alice", "5", old="")
    assert await store.put_entry("user:bob", "5", old="3")
    assert await store.put_entry("user:bob", "3", old="5")
    assert await store.put_entry("revision", "r")
    assert await store.entries() == {"user:bob": "3", "revision": "r"}
    assert await store.put_entry("user:bob", None)
    assert not await store.put_entry("user:bob", None)
    assert await store.entries() == {"revision": "r"}


async def test_unknown_address_has_no_bindings(store: IdentityStore) -> None:
    """An address of record nobody registered is empty, and its removal is no error."""
    await store.remove_all("sip:nobody@gateway.local")
    assert list(await store.bindings("sip:nobody@gateway.local", NOW)) == []


async def test_addresses_are_kept_apart(store: IdentityStore) -> None:
    """A binding of one address is never seen at, or removed with, another."""
    other = replace(binding(), aor="sip:1002@gateway.local")
    await store.put_binding(binding(), NOW, 1)
    await store.put_binding(other, NOW, 1)
    await store.remove_all(AOR)
    assert await contacts(store) == []
    assert list(await store.bindings(other.aor, NOW)) == [other]


async def test_highest_q_first_then_most_recent(store: IdentityStore) -> None:
    """Bindings are ordered by q, equal ones by how lately they were put or refreshed."""
    for contact, q in (("sip:a@h", 0.5), ("sip:b@h", 1.0), ("sip:c@h", 0.5), ("sip:d@h", 0.5)):
        await store.put_binding(binding(contact, q=q), NOW, 10)
    assert await contacts(store) == ["sip:b@h", "sip:d@h", "sip:c@h", "sip:a@h"]
    await store.put_binding(binding("sip:a@h", q=0.5), NOW, 10)
    assert await contacts(store) == ["sip:b@h", "sip:a@h", "sip:d@h", "sip:c@h"]


async def test_same_contact_is_refreshed(store: IdentityStore) -> None:
    """A contact put again replaces its binding and does not count against the limit."""
    await store.put_binding(binding(), NOW, 1)
    later = replace(binding(expires_in=600), cseq=2)
    await store.put_binding(later, NOW + 1, 1)
    assert await store.bindings(AOR, NOW + 1) == [later]


async def test_same_instance_and_reg_id_is_refreshed(store: IdentityStore) -> None:
    """A phone that comes back from another address replaces its old contact (RFC 5626)."""
    old = replace(binding("sip:1001@192.0.2.7"), instance="urn:uuid:1", reg_id=1)
    new = replace(binding("sip:1001@198.51.100.9"), instance="urn:uuid:1", reg_id=1)
    await store.put_binding(old, NOW, 1)
    await store.put_binding(new, NOW, 1)
    assert await store.bindings(AOR, NOW) == [new]


async def test_other_flow_of_an_instance_is_kept(store: IdentityStore) -> None:
    """Another reg-id, or an instance without one, is another binding."""
    first = replace(binding("sip:a@h"), instance="urn:uuid:1", reg_id=1)
    second = replace(binding("sip:b@h"), instance="urn:uuid:1", reg_id=2)
    third = replace(binding("sip:c@h"), instance="urn:uuid:1")
    fourth = replace(binding("sip:d@h"), instance="urn:uuid:1")
    for each in (first, second, third, fourth):
        await store.put_binding(each, NOW, 10)
    assert await store.bindings(AOR, NOW) == [fourth, third, second, first]


async def test_flows_of_one_device_may_share_a_contact(store: IdentityStore) -> None:
    """RFC 5626 section 6: what names a flow is its instance and reg-id; a plain contact is none of them."""
    first = replace(binding("sip:a@h"), instance="urn:uuid:1", reg_id=1)
    second = replace(binding("sip:a@h"), instance="urn:uuid:1", reg_id=2)
    plain = binding("sip:a@h")
    for each in (first, second, plain):
        await store.put_binding(each, NOW, 10)
    assert await store.bindings(AOR, NOW) == [plain, second, first]
    again = replace(first, contact="sip:b@h", cseq=2)
    assert await store.change_bindings(AOR, [plain, second, first], [plain], [again], NOW)
    assert await store.bindings(AOR, NOW) == [again, second]
    assert not await store.change_bindings(AOR, [second, first], [second], (), NOW)
    assert await store.change_bindings(AOR, [second, again], [second], (), NOW)
    assert await store.bindings(AOR, NOW) == [again]


async def test_expired_binding_is_never_returned(store: IdentityStore) -> None:
    """A binding is live until its time and not at it, whether or not anybody called expire."""
    await store.put_binding(binding(expires_in=60), NOW, 10)
    assert len(await store.bindings(AOR, NOW + 59.999)) == 1
    assert list(await store.bindings(AOR, NOW + 60)) == []


async def test_put_of_an_expired_binding_removes_it(store: IdentityStore) -> None:
    """A registration of zero seconds leaves nothing behind."""
    await store.put_binding(binding(), NOW, 1)
    await store.put_binding(binding(expires_in=0), NOW, 1)
    assert await contacts(store) == []
    assert await store.expire(NOW + 1_000) == 0


async def test_limit_refuses_one_contact_more(store: IdentityStore) -> None:
    """Over the limit StoreError is raised and everything stays as it was."""
    for name in ("a", "b"):
        await store.put_binding(binding(f"sip:{name}@h"), NOW, 2)
    before = await store.bindings(AOR, NOW)
    with pytest.raises(StoreError, match="more than 2"):
        await store.put_binding(binding("sip:c@h"), NOW, 2)
    assert await store.bindings(AOR, NOW) == before


async def test_limit_counts_only_live_bindings(store: IdentityStore) -> None:
    """An expired contact makes room for a new one."""
    await store.put_binding(binding("sip:a@h", expires_in=10), NOW, 1)
    await store.put_binding(binding("sip:b@h", expires_in=60), NOW + 10, 1)
    assert await contacts(store, NOW + 10) == ["sip:b@h"]


async def test_limit_is_atomic(store: IdentityStore) -> None:
    """Of twenty contacts that come at once exactly the limit is kept, and the others are told."""
    attempts = [store.put_binding(binding(f"sip:{number}@h"), NOW, 5) for number in range(20)]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert sum(isinstance(result, StoreError) for result in results) == 15
    assert sum(result is None for result in results) == 5
    assert len(await contacts(store)) == 5


async def test_changes_are_one_step(store: IdentityStore) -> None:
    """Removed, refreshed and added bindings appear together, the lately put first."""
    for contact in ("sip:a@h", "sip:b@h", "sip:c@h"):
        await store.put_binding(binding(contact), NOW, 10)
    before = await store.bindings(AOR, NOW)
    refreshed = binding("sip:a@h", expires_in=90)
    assert await store.change_bindings(AOR, before, [binding("sip:b@h")], [refreshed, binding("sip:d@h")], NOW)
    assert await contacts(store) == ["sip:d@h", "sip:a@h", "sip:c@h"]
    assert refreshed in await store.bindings(AOR, NOW)
    assert await contacts(store, NOW + 80) == ["sip:a@h"]


async def test_changes_of_what_has_changed_are_refused(store: IdentityStore) -> None:
    """One binding more, one less, or one that says something else: nothing is done, and the caller is told."""
    await store.put_binding(binding("sip:a@h"), NOW, 10)
    now_there = await store.bindings(AOR, NOW)
    another = binding("sip:b@h")
    wrong: tuple[list[Binding], ...] = ([], [*now_there, another], [replace(now_there[0], cseq=7)], [another])
    for expected in wrong:
        assert not await store.change_bindings(AOR, expected, list(now_there), [binding("sip:z@h")], NOW)
    assert await store.bindings(AOR, NOW) == now_there


async def test_changes_pass_over_what_has_expired(store: IdentityStore) -> None:
    """An expired binding is not expected, and leaves no trace; all may go."""
    await store.put_binding(binding("sip:old@h", expires_in=10), NOW, 10)
    assert await store.change_bindings(AOR, [], [], [binding("sip:new@h", expires_in=60)], NOW + 20)
    assert await contacts(store, NOW + 20) == ["sip:new@h"]
    left = await store.bindings(AOR, NOW + 20)
    assert await store.change_bindings(AOR, left, left, [], NOW + 20)
    assert await contacts(store, NOW + 20) == []


async def test_of_changes_at_once_one_is_made(store: IdentityStore) -> None:
    """Twenty that were decided on the same bindings: the first counts, the others are decided again."""
    await store.put_binding(binding("sip:a@h"), NOW, 10)
    before = await store.bindings(AOR, NOW)
    attempts = [store.change_bindings(AOR, before, [], [binding(f"sip:{n}@h")], NOW) for n in range(20)]
    assert sorted(await asyncio.gather(*attempts)) == [False] * 19 + [True]
    assert len(await contacts(store)) == 2


async def test_expire_drops_and_counts(store: IdentityStore) -> None:
    """expire says how many went, and spares the live ones."""
    for number in range(7):
        each = replace(binding(expires_in=10 * (number + 1)), aor=f"sip:{number}@gateway.local")
        await store.put_binding(each, NOW, 10)
    assert await store.expire(NOW + 30) == 3
    assert await store.expire(NOW + 30) == 0
    assert len(await store.bindings("sip:3@gateway.local", NOW + 30)) == 1
    assert list(await store.bindings("sip:2@gateway.local", NOW)) == []


async def test_expire_does_not_drop_what_was_refreshed(store: IdentityStore) -> None:
    """A refresh moves the time of the end."""
    await store.put_binding(binding(expires_in=10), NOW, 10)
    await store.put_binding(binding(expires_in=100), NOW, 10)
    assert await store.expire(NOW + 50) == 0
    assert len(await contacts(store, NOW + 50)) == 1


async def test_credential_comes_back(store: IdentityStore) -> None:
    """Credentials are found by username and realm together, and the last one put counts."""
    await store.put_credential(Credential("1001", "gateway.local", {"MD5": "aa", "SHA-256": "bb"}))
    await store.put_credential(Credential("1001", "other", {"MD5": "cc"}))
    await store.put_credential(Credential("1001", "gateway.local", {"MD5": "dd"}))
    assert await store.credential("1001", "gateway.local") == Credential("1001", "gateway.local", {"MD5": "dd"})
    assert await store.credential("1001", "other") == Credential("1001", "other", {"MD5": "cc"})
    assert await store.credential("1002", "gateway.local") is None


async def test_credential_without_ha1_is_removed(store: IdentityStore) -> None:
    """Putting an empty credential takes the old one away."""
    await store.put_credential(Credential("1001", "gateway.local", {"MD5": "aa"}))
    await store.put_credential(Credential("1001", "gateway.local"))
    assert await store.credential("1001", "gateway.local") is None


async def test_text_that_is_not_unicode_harms_nothing(store: IdentityStore) -> None:
    """A value with half a surrogate pair is kept or refused by StoreError, and the store works on."""
    try:
        await store.put_binding(replace(binding("sip:a@h"), user_agent="\udc80"), NOW, 10)
    except StoreError:
        pass
    await store.put_binding(binding("sip:b@h"), NOW, 10)
    assert "sip:b@h" in await contacts(store)


async def test_opening_and_closing_twice_is_harmless(store: IdentityStore) -> None:
    """open and close may be repeated, and a store can be opened again after it was closed."""
    await store.open()
    await store.close()
    await store.close()
    await store.open()
    await store.put_binding(binding(), NOW, 1)
    assert len(await contacts(store)) == 1


async def test_a_text_is_kept_until_it_expires(store: IdentityStore) -> None:
    """The last one of a name, and no longer than it says."""
    assert await store.text("sign-in:1", NOW) is None
    await store.put_text("sign-in:1", "first", NOW + 60, NOW)
    await store.put_text("sign-in:1", "", NOW + 60, NOW)
    await store.put_text("sign-in:2", "other", NOW + 60, NOW)
    assert [await store.text(f"sign-in:{number}", NOW) for number in (1, 2)] == ["", "other"]
    await store.put_text("sign-in:2", "over", NOW - 1, NOW)
    assert await store.text("sign-in:2", NOW) is None
    assert await store.entries() == {}
