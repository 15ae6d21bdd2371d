"""Users' own accounts in a cluster: all have them, one registers each, and another does when that one is gone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from gateway.identity.model import Binding
from gateway.identity.store import StoreError
from gateway.store.identity_memory import MemoryStore
from gateway.trunks.accounts import Account, Accounts
from gateway.trunks.shared_accounts import SharedAccounts
from gateway.trunks.vault import Vault

KEY = bytes(range(32))
ALICE = Account(user="alice", registrar="office", username="201", password="pa-ss")
BOB = Account(user="bob", registrar="office", username="202", password="wo-rd")
CAROL = Account(user="carol", registrar="office", username="203", password="con-f", configured=True)


class Store(MemoryStore):
    """Shared by all; away where told so."""

    def __init__(self) -> None:
        super().__init__()
        self.is_away = False
        self.reads = 0
        self.meanwhile: Callable[[], Any] | None = None
        """Done once between the reading of a binding and its change."""
        self.once_kept: Callable[[], Any] | None = None
        """Done once as soon as an account stands there."""

    async def bindings(self, aor: str, now: float) -> Sequence[Binding]:
        self._answer()
        self.reads += 1
        return await super().bindings(aor, now)

    async def change_bindings(
        self, aor: str, expected: Sequence[Binding], removed: Sequence[Binding], put: Sequence[Binding], now: float
    ) -> bool:
        self._answer()
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return await super().change_bindings(aor, expected, removed, put, now)

    async def entries(self) -> Mapping[str, str]:
        self._answer()
        return await super().entries()

    async def put_entry(self, name: str, text: str | None, *, new: bool = False, old: str | None = None) -> bool:
        self._answer()
        is_put = await super().put_entry(name, text, new=new, old=old)
        once_kept, self.once_kept = self.once_kept, None
        if once_kept is not None:
            await once_kept()
        return is_put

    def _answer(self) -> None:
        if self.is_away:
            raise StoreError("no connection")


class Registrations:
    """What a gateway has registered, by user; as the real one it leaves what is not ours."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self.now: dict[str, str] = {}
        self.left: list[str] = []
        """Accounts that were left to another gateway, whose flows are not taken back."""
        self.hurried: list[str] = []
        self.is_registered = False

    def put(self, account: Account) -> None:
        self.drop(account.user)
        if self._accounts.is_ours(account.user):
            self.now[account.user] = account.username

    def drop(self, user: str, *, is_others: bool = False) -> None:
        self.now.pop(user, None)
        if is_others:
            self.left.append(user)

    def leave(self, users: Sequence[str]) -> None:
        self.left += users

    def hurry_accounts(self, users: Sequence[str]) -> None:
        self.hurried += users

    def state(self, user: str) -> tuple[str, int]:
        return ("registered", 200) if self.is_registered and user in self.now else ("registering", 0)


class Node:
    """One gateway of the house."""

    def __init__(self, house: House, node: str, kept: Sequence[Account], key: bytes) -> None:
        self.node = node
        self.is_open = True
        self._house = house
        self.accounts = Accounts(KEY)
        for account in kept:
            self.accounts.put(account)
        self.registrations = Registrations(self.accounts)
        registrations: Any = self.registrations
        self.places = {"office": "pbx.test"}
        self.users = {"alice", "bob", "carol"}
        vault = Vault(house.nowhere, key, os.urandom)
        self.shared = SharedAccounts(
            self,
            house.store,
            vault,
            self.accounts,
            registrations,
            lambda: self.places,
            lambda user: user in self.users,
            lambda: house.now,
            0.01,
        )

    @property
    def live(self) -> set[str]:
        return {one.node for one in self._house.nodes if one.is_open} - {self.node}

    async def opened(self) -> None:
        return

    @property
    def known(self) -> set[str]:
        return {account.username for account in self.accounts}


class House:
    """Gateways of one store."""

    def __init__(self, folder: Any) -> None:
        self.nowhere = folder
        self.store = Store()
        self.now = 1_000.0
        self.nodes: list[Node] = []

    def node(self, name: str, *kept: Account, key: bytes = KEY) -> Node:
        self.nodes.append(Node(self, name, kept, key))
        return self.nodes[-1]

    async def look(self) -> None:
        for node in self.nodes:
            if node.is_open:
                await node.shared.look()


@pytest.fixture
async def house(tmp_path: Any) -> House:
    made = House(tmp_path)
    await made.store.open()
    return made


async def test_an_account_is_known_to_all_and_registered_by_one(house: House) -> None:
    """The one where it was brought; the others say how it stands there; no password is in the store."""
    one, two = house.node("sip:10.0.0.1"), house.node("sip:10.0.0.2")
    await house.look()
    await one.shared.put(ALICE)
    await house.look()
    assert (one.known, two.known) == ({"201"}, {"201"})
    assert two.accounts.of("alice") == ALICE
    assert (one.registrations.now, two.registrations.now) == ({"alice": "201"}, {})
    assert (one.shared.stands("alice"), two.shared.stands("alice")) == (None, ("registering", 0))
    one.registrations.is_registered = True
    await house.look()
    await house.look()
    assert two.shared.stands("alice") == ("registered", 200)
    assert "pa-ss" not in str(await house.store.entries())


async def test_an_account_is_registered_where_it_was_brought_however_soon_another_gateway_finds_it(
    house: House,
) -> None:
    """Another one that looks in the middle of it leaves it alone."""
    one, two = house.node("sip:10.0.0.1"), house.node("sip:10.0.0.2")
    await house.look()
    house.store.once_kept = two.shared.look
    await one.shared.put(ALICE)
    assert two.known == {"201"}
    await house.look()
    assert (one.registrations.now, two.registrations.now) == ({"alice": "201"}, {})


async def test_an_account_of_the_configuration_is_registered_by_one_as_well(house: House) -> None:
    """It is kept by none: every gateway has it anyway."""
    one, two = house.node("sip:10.0.0.1", CAROL), house.node("sip:10.0.0.2", CAROL)
    for _ in range(3):
        await house.look()
    assert [*one.registrations.now, *two.registrations.now] == ["carol"]
    assert "account:carol" not in await house.store.entries()


async def test_another_gateway_takes_over_when_one_is_gone_and_keeps_what_it_has_taken(house: House) -> None:
    """One of the others, whoever is first; the one that was cut off gives up what is not its any more."""
    nodes = one, two, three = [house.node(f"sip:10.0.0.{number}") for number in (1, 2, 3)]
    await one.shared.put(ALICE)
    await house.look()
    one.is_open = False
    await asyncio.gather(two.shared.look(), three.shared.look())
    await house.look()
    assert [len(each.registrations.now) for each in nodes].count(1) == 2  # the one that is cut off does not know
    one.is_open = True
    await house.look()
    assert one.registrations.now == {}
    assert len(two.registrations.now) + len(three.registrations.now) == 1
    # What takes its flows back would take those of the other, of the same instance; that one writes over them once.
    assert one.registrations.left == ["alice"]
    await house.look()
    assert [each.registrations.hurried for each in nodes if each.registrations.now] == [["alice"]]
    assert one.registrations.hurried == []


async def test_a_gateway_that_ends_or_drains_leaves_its_accounts_to_the_others(house: House) -> None:
    """It takes no flow back, which another one may have by then; and where nobody else is there it takes all back."""
    one, two = house.node("sip:10.0.0.1"), house.node("sip:10.0.0.2")
    await one.shared.put(ALICE)
    await house.look()
    one.is_open = False  # as while its calls are drained
    await asyncio.wait_for(one.shared.run(), 30)
    assert (one.registrations.now, one.registrations.left) == ({}, ["alice"])
    await house.look()
    assert two.registrations.now == {"alice": "201"}
    two.shared.close()
    assert two.registrations.left == []
    one.is_open = True
    two.shared.close()
    assert two.registrations.left == ["alice"]


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("back", [("1", "2"), ("2",), ("3", "4")])
async def test_accounts_of_gateways_that_are_all_gone_at_once_are_registered_by_one_of_those_that_come(
    house: House, killed: bool, back: tuple[str, ...]
) -> None:
    """At their first look, whoever they are, whether the others were stopped or killed; and it stays that one."""
    first = [house.node(f"sip:10.0.0.{number}") for number in (1, 2)]
    await first[0].shared.put(ALICE)
    await house.look()
    await first[1].shared.put(BOB)
    await house.look()
    assert [each.registrations.now for each in first] == [{"alice": "201"}, {"bob": "202"}]
    if not killed:
        for each in first:  # each still sees the other
            each.shared.close()
        assert [each.registrations.left for each in first] == [["alice"], ["bob"]]
    for each in first:
        each.is_open = False
    house.nodes.clear()
    now = [house.node(f"sip:10.0.0.{number}") for number in back]
    await asyncio.gather(*(each.shared.look() for each in now))
    there = sorted(user for each in now for user in each.registrations.now)
    assert there == ["alice", "bob"]
    held = [dict(each.registrations.now) for each in now]
    await house.look()
    assert [each.registrations.now for each in now] == held


async def test_of_two_that_take_an_account_at_once_one_has_it(house: House) -> None:
    """Though both have read that it was nobody's."""
    one, two = house.node("sip:10.0.0.1", CAROL), house.node("sip:10.0.0.2", CAROL)
    house.store.meanwhile = two.shared.look
    await one.shared.look()
    assert (one.registrations.now, two.registrations.now) == ({}, {"carol": "203"})
    await house.look()
    assert (one.registrations.now, two.registrations.now) == ({}, {"carol": "203"})


async def test_a_change_at_one_gateway_is_registered_where_the_account_is(house: House) -> None:
    """Another password or name, and an account that is given up: everywhere at the next look."""
    one, two = house.node("sip:10.0.0.1"), house.node("sip:10.0.0.2")
    await one.shared.put(ALICE)
    await house.look()
    await two.shared.put(replace(ALICE, username="299"))
    assert two.registrations.now == {}
    await house.look()
    assert (one.registrations.now, one.known, two.known) == ({"alice": "299"}, {"299"}, {"299"})
    await two.shared.remove("alice")
    await house.look()
    assert (one.registrations.now, one.known, two.known) == ({}, set(), set())
    await two.shared.put(ALICE)
    await house.look()
    await house.look()
    assert len(one.registrations.now) + len(two.registrations.now) == 1


async def test_accounts_of_before_the_cluster_are_taken_along_once(house: House) -> None:
    """Those of its file go to a store that has none; what others gave up meanwhile does not come back from a file."""
    one = house.node("sip:10.0.0.1", ALICE)
    await one.shared.look()
    two = house.node("sip:10.0.0.2", BOB)
    await house.look()
    assert (one.known, two.known) == ({"201"}, {"201"})
    assert two.registrations.now == {}


async def test_what_is_brought_before_the_first_look_loses_nothing_of_the_file(house: House) -> None:
    """A page may be quicker than the look."""
    one = house.node("sip:10.0.0.1", ALICE)
    await one.shared.put(BOB)
    await house.look()
    assert one.registrations.now == {"alice": "201", "bob": "202"}


async def test_a_store_that_has_lost_everything_is_told_again(house: House) -> None:
    """A Redis without a disk; nobody's account is given up for that."""
    one, two = house.node("sip:10.0.0.1"), house.node("sip:10.0.0.2")
    await one.shared.put(ALICE)
    await house.look()
    for name in list(await house.store.entries()):
        await house.store.put_entry(name, None)
    await house.store.remove_all("account:alice")
    for _ in range(3):
        await house.look()
    assert (one.known, two.known) == ({"201"}, {"201"})
    assert len(one.registrations.now) + len(two.registrations.now) == 1
    assert "account:alice" in await house.store.entries()


async def test_while_the_store_is_away_all_stays_and_nothing_is_changed(house: House) -> None:
    """And goes on by itself afterwards."""
    one, two = house.node("sip:10.0.0.1"), house.node("sip:10.0.0.2")
    await one.shared.put(ALICE)
    await house.look()
    house.store.is_away = True
    running = [asyncio.create_task(node.shared.run()) for node in house.nodes]
    for change in (one.shared.put(BOB), one.shared.remove("alice")):
        with pytest.raises(StoreError):
            await change
    assert (one.registrations.now, one.known, two.known) == ({"alice": "201"}, {"201"}, {"201"})
    one.is_open, house.store.is_away = False, False
    async with asyncio.timeout(30):
        while two.registrations.now != {"alice": "201"}:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    two.is_open = False
    await asyncio.wait_for(asyncio.gather(*running), 30)


@pytest.mark.parametrize("text", ["", "[]", "{}", "x" * 100, '{"version": 9}', "[" * 5_000])
async def test_what_cannot_be_read_in_the_store_is_nobodys_account(house: House, text: str) -> None:
    """Others may write into it; whoever has another key as well."""
    one = house.node("sip:10.0.0.1")
    other = house.node("sip:10.0.0.2", key=bytes(32))
    await other.shared.put(BOB)
    await house.store.put_entry("account:alice", text)
    await one.shared.look()
    assert one.known == set()


async def test_an_account_whose_user_or_registrar_is_not_here_waits_for_it(house: House) -> None:
    """A reload may bring it back."""
    one, two = house.node("sip:10.0.0.1"), house.node("sip:10.0.0.2")
    two.places = {}
    await one.shared.put(ALICE)
    await house.look()
    assert two.known == set()
    two.places = {"office": "pbx.test"}
    await house.look()
    assert two.known == {"201"}
    three = house.node("sip:10.0.0.3")
    three.users = set()
    await house.look()
    assert three.known == set()
    three.users = {"alice"}
    await house.look()
    assert three.known == {"201"}


async def test_a_look_asks_for_few_of_many_accounts(house: House) -> None:
    """However many there are; each has its turn, and is written again before it ends."""
    many = [replace(CAROL, user=f"u{number}", username=str(number)) for number in range(500)]
    one = house.node("sip:10.0.0.1", *many)
    await one.shared.look()
    house.store.reads = 0
    await one.shared.look()
    assert house.store.reads <= 100
    house.now += 1_900
    await one.shared.look()
    house.now += 1_900
    assert all([await house.store.bindings(f"account:u{number}", house.now) for number in range(500)])
