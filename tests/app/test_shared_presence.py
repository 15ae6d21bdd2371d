"""Presence of a cluster: who is at one gateway is seen at another, as far as anybody there watches."""

from __future__ import annotations

import json

import pytest

from gateway.cluster.presence import SharedPresence
from gateway.identity.store import StoreError
from gateway.people.presence import Activity, Presences, PresenceState
from gateway.store.identity_memory import MemoryStore

AVAILABLE, TALKING = PresenceState(Activity.AVAILABLE), PresenceState(Activity.ON_THE_PHONE)
AWAY = PresenceState(Activity.AWAY, "lunch")


class Store(MemoryStore):
    """Counts what is written; away where told so."""

    def __init__(self) -> None:
        super().__init__()
        self.written = 0
        self.is_away = False

    async def text(self, name: str, now: float) -> str | None:
        if self.is_away:
            raise StoreError("no connection")
        return await super().text(name, now)

    async def put_text(self, name: str, text: str, expires_at: float, now: float) -> None:
        self.written += 1
        await super().put_text(name, text, expires_at, now)


class Node:
    """One gateway; `talks` are users who turn out to have a call when somebody asks."""

    def __init__(self, house: House, node: str) -> None:
        self.node = node
        self.is_open = True
        self._house = house
        self.presences = Presences()
        self.talks: set[str] = set()
        self.strangers = {"nobody"}
        self.shared = SharedPresence(
            self,
            house.store,
            self.presences,
            self._read,
            lambda user: user not in self.strangers,
            lambda: house.now,
            5.0,
        )

    @property
    def with_calls(self) -> set[str]:
        return {one.node for one in self._house.nodes if one.is_open} - {self.node}

    async def opened(self) -> None:
        return

    async def _read(self, user: str) -> None:
        self.presences.call(user, user in self.talks)

    def watch(self, user: str) -> list[PresenceState]:
        told: list[PresenceState] = []
        self.presences.board.watch(user, told.append)
        return told


class House:
    """Three gateways of one store."""

    def __init__(self) -> None:
        self.store = Store()
        self.now = 1_000.0
        self.nodes: list[Node] = []
        self.nodes += [Node(self, f"sip:10.0.0.{number}") for number in (1, 2, 3)]

    async def look(self, times: int = 2) -> None:
        for _ in range(times):
            for node in self.nodes:
                if node.is_open:
                    await node.shared.look()


@pytest.fixture
async def house() -> House:
    made = House()
    await made.store.open()
    return made


async def test_whoever_is_watched_is_seen_from_the_other_gateway(house: House) -> None:
    """What was so before and what changes; what two gateways say is one state; nobody hears himself from another."""
    one, two, three = house.nodes
    two.talks.add("alice")
    told = one.watch("alice")
    await house.look()
    assert told == [TALKING]
    three.presences.page("alice", True)
    await house.look()
    two.presences.call("alice", False)
    await house.look()
    three.presences.say("alice", AWAY)
    await house.look()
    assert told == [TALKING, AVAILABLE, AWAY]
    one.presences.page("alice", True)
    await house.look()
    assert one.presences.board.of("alice") == AWAY
    assert one.presences.here("alice") == AVAILABLE
    assert three.presences.board.of("alice") == AWAY
    three.presences.page("alice", False)
    one.presences.page("alice", False)
    await house.look()
    assert told[-1] == PresenceState()


async def test_nobody_is_told_of_who_is_not_watched(house: House) -> None:
    """Nor is anything written again that has not changed, but before it ends."""
    one, two, _ = house.nodes
    two.presences.page("alice", True)
    await house.look()
    assert "alice" not in str([await house.store.text(f"presence:{node.node}", house.now) for node in house.nodes])
    written = house.store.written
    await house.look(5)
    assert house.store.written == written
    house.now += 31
    await house.look()
    assert house.store.written == written + 3
    assert not one.presences.board.of("alice").is_open


async def test_with_a_gateway_go_those_who_were_there(house: House) -> None:
    """And whom it watched."""
    one, two, _ = house.nodes
    told = one.watch("alice")
    two.watch("bob")
    two.presences.page("alice", True)
    await house.look()
    assert (told, one.presences.is_watched("bob")) == ([AVAILABLE], True)
    two.is_open = False
    await house.look()
    assert told == [AVAILABLE, PresenceState()]
    assert not one.presences.is_watched("bob")


async def test_while_the_store_is_away_everybody_stands_as_before(house: House) -> None:
    """Nobody goes offline for that."""
    one, two, _ = house.nodes
    told = one.watch("alice")
    two.presences.page("alice", True)
    await house.look()
    house.store.is_away = True
    with pytest.raises(StoreError):
        await one.shared.look()
    assert told == [AVAILABLE]


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        "[]",
        "[" * 5_000,
        '{"watched": 1}',
        '{"states": {"alice": ["bored", ""]}}',
        '{"states": {"alice": "available"}}',
        '{"states": 1}',
    ],
)
async def test_what_cannot_be_read_says_nothing(house: House, text: str) -> None:
    """Others may write into the store."""
    one = house.nodes[0]
    told = one.watch("alice")
    await house.store.put_text("presence:sip:10.0.0.2", text, house.now + 60, house.now)
    await one.shared.look()
    assert told == []


async def test_strangers_to_this_gateway_are_left_out(house: House) -> None:
    """Whom nobody here knows takes no memory; a note is as long as a note is."""
    one = house.nodes[0]
    told = one.watch("alice")
    states = {"nobody": ["available", ""], "alice": ["away", "x" * 1_000]}
    text = json.dumps({"watched": ["nobody"], "states": states})
    await house.store.put_text("presence:sip:10.0.0.2", text, house.now + 60, house.now)
    await one.shared.look()
    assert told == [PresenceState(Activity.AWAY, "x" * 256)]
    assert not one.presences.board.of("nobody").is_open
    assert not one.presences.is_watched("nobody")


async def test_who_is_known_to_this_gateway_later_is_told_of_then(house: House) -> None:
    """A user whom another gateway has made, and who is watched there before this one has heard of it."""
    one, two, _ = house.nodes
    told = one.watch("carol")
    two.strangers = {"carol"}
    await house.look()
    two.strangers = set()
    two.presences.page("carol", True)
    await house.look()
    assert told == [AVAILABLE]
