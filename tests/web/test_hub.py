"""Who is told of whom on the JSON-RPC sockets, and what an announcement costs where a thousand are there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Any

import pytest

from gateway.identity.model import User
from gateway.web.rpc.hub import Hub, RelayedSessions
from tests.rows import by_row


class Rights:
    """What the gateway says of who may see and call whom; it counts how often it is asked."""

    def __init__(self) -> None:
        self.visible_to = "users"
        self.users = {"alice": User("alice", pickup_groups=("sales",)), "bob": User("bob", pickup_groups=("sales",))}
        self.users["carol"] = User("carol")
        self.asked = 0

    @property
    def visibility(self) -> Hashable:
        return self.visible_to

    def may_see(self, user: User, peer_id: str) -> bool:
        self.asked += 1
        target = self.users.get(peer_id)
        if target is None or self.visible_to == "users" or user.id == peer_id:
            return True
        return self.visible_to == "groups" and bool({*user.pickup_groups} & {*target.pickup_groups})

    def may_call(self, user: User, target: str) -> bool:
        return "*" in user.may_call or target in user.may_call


class Page:
    """One announced connection; `told` is what it was told."""

    is_guest, listing, dialect_name = False, dict[str, Any](), "plain"

    def __init__(self, user: User, is_guest: bool = False) -> None:
        self.user, self.peer_id, self.is_guest = user, user.id, is_guest
        self.relayed = RelayedSessions(None)
        self.told: list[str] = []
        self.written = Counter[str]()

    def joined_text(self, device: Any) -> str:
        self.written["joined"] += 1
        return f"+{device.peer_id}"

    def left_text(self, peer_id: str) -> str:
        self.written["left"] += 1
        return f"-{peer_id}"

    def tell_text(self, text: str) -> None:
        self.told.append(text)

    def notify_elsewhere(self) -> None: ...

    def relay_offer(self, *args: Any) -> None: ...

    def relay_answer(self, *args: Any) -> None: ...

    def relay_candidate(self, *args: Any) -> None: ...

    def relay_disconnect(self, *args: Any) -> None: ...


def _guest(name: str, *may_call: str) -> Page:
    return Page(User(name, may_call=may_call), is_guest=True)


def test_an_announcement_costs_those_who_are_told_and_no_others() -> None:
    """A thousand guests who may call the echo alone: each is judged once, not once by each of the others."""
    rights = Rights()
    hub = Hub(rights)
    alice, guests = Page(rights.users["alice"]), [_guest(f"guest-{number}", "600") for number in range(1_000)]
    assert hub.join(alice)
    for guest in guests:
        assert hub.join(guest)
        assert hub.others(guest) == []
    assert rights.asked < 3_000
    assert len(alice.told) == 1_000
    assert not any(guest.told for guest in guests)
    for guest in guests:
        hub.leave(guest)
    assert alice.told[1_000:] == [f"-guest-{number}" for number in range(1_000)]
    assert rights.asked < 3_000
    assert hub.others(alice) == []


def test_what_many_are_told_is_written_once() -> None:
    """For each dialect."""
    rights = Rights()
    hub = Hub(rights)
    pages = [Page(User(f"user-{number}")) for number in range(20)]
    pages[3].dialect_name = "other"
    for page in pages:
        hub.join(page)
    last = Page(User("last"))
    before = sum((page.written for page in pages), Counter[str]())["joined"]
    hub.join(last)
    assert sum((page.written for page in pages), Counter[str]())["joined"] == before + 2
    assert all(page.told[-1] == "+last" for page in pages)


@by_row(
    ("visible_to", "alice_sees"),
    [("users", ["bob", "carol", "guest"]), ("groups", ["bob", "guest"]), ("self", ["guest"])],
)
def test_users_see_by_their_groups_and_everybody_sees_itself(visible_to: str, alice_sees: list[str]) -> None:
    """Of one's own other devices nobody is told anew."""
    rights = Rights()
    rights.visible_to = visible_to
    hub = Hub(rights)
    alice, again = Page(rights.users["alice"]), Page(rights.users["alice"])
    bob, carol = Page(rights.users["bob"]), Page(rights.users["carol"])
    for page in (alice, bob, carol, _guest("guest", "bob"), again):
        hub.join(page)
    assert sorted(hub.others(alice)) == alice_sees
    assert sorted(one for one, _ in hub.listing(alice)) == sorted(["alice", *alice_sees])
    assert sorted(alice.told) == [f"+{name}" for name in alice_sees]
    hub.leave(alice)
    assert "-alice" not in bob.told
    hub.leave(again)
    assert ("-alice" in bob.told) is (visible_to != "self")
    hub.leave(again)
    assert bob.told.count("-alice") == (visible_to != "self")


def test_guests_see_whom_they_may_call_each_by_its_own_rights() -> None:
    """Two links are two audiences."""
    rights = Rights()
    hub = Hub(rights)
    one, other = _guest("guest-1", "alice"), _guest("guest-2", "bob")
    for page in (one, other, Page(rights.users["alice"]), Page(rights.users["bob"])):
        hub.join(page)
    assert (one.told, other.told) == (["+alice"], ["+bob"])
    assert (hub.others(one), hub.others(other)) == (["alice"], ["bob"])


def test_rights_that_change_count_from_the_next_question_on() -> None:
    """After a reload."""
    rights = Rights()
    hub = Hub(rights)
    alice, carol = Page(rights.users["alice"]), Page(rights.users["carol"])
    hub.join(alice)
    hub.join(carol)
    assert hub.others(alice) == ["carol"]
    rights.visible_to = "groups"
    assert hub.others(alice) == []
    rights.visible_to = "users"
    hub.join(Page(rights.users["bob"]))
    assert sorted(hub.others(alice)) == ["bob", "carol"]


def test_a_guest_takes_no_name_that_is_there() -> None:
    """Neither of a user nor of another guest, and leaves nothing behind."""
    rights = Rights()
    hub = Hub(rights)
    first = _guest("somebody", "*")
    assert hub.join(first)
    assert not hub.join(_guest("somebody", "*"))
    hub.leave(_guest("somebody", "*"))
    assert hub.devices("somebody") == [first]


@pytest.mark.parametrize(("user_id", "shared"), [(None, False), ("alice", True)])
def test_a_guest_alone_has_its_sessions(user_id: str | None, shared: bool) -> None:
    """Two connections of a user share a name in the sessions of others, two guests never do."""
    one, other, third = (RelayedSessions(each) for each in (user_id, user_id, "bob"))
    third.add(one.key)
    assert third.knows(one.key)
    assert third.knows(other.key) is shared
