"""Rooms that users open: numbers, PINs, limits, how long they stay, and what two gateways of one store see of them."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pydantic import ValidationError

from gateway.app import GatewayApp, room_settings
from gateway.app.opening import Opening
from gateway.call.leg import DigitPressed
from gateway.call.routing import ApplicationTarget, Caller, RoomDoor, Route, RouteError, Router, UserTarget
from gateway.call.status import Cause
from gateway.cluster.cluster import Cluster
from gateway.conference.personal import PersonalRoom, PersonalRooms, PersonalSettings
from gateway.conference.personal_front import PersonalFront
from gateway.conference.pins import HashedPin
from gateway.conference.room import RoomError
from gateway.config import Config
from gateway.identity.mapping import IdentityMap
from gateway.identity.model import User
from gateway.identity.store import StoreError
from gateway.store.identity_memory import MemoryStore
from tests.app.room_house import House
from tests.interop.gateway import config_on_free_ports
from tests.media.engine_support import until
from tests.rows import by_row

HOUR = 3_600.0


_OCTETS = itertools.count(1)


class Away(MemoryStore):
    """A store whose server can be away."""

    away = False
    lost_answer = ""
    """Begin of the entries that are written, and whose writer is told that they are not."""

    async def put_entry(self, name: str, text: str | None, *, new: bool = False, old: str | None = None) -> bool:
        if self.away:
            raise StoreError("away")
        done = await super().put_entry(name, text, new=new, old=old)
        if self.lost_answer and name.startswith(self.lost_answer):
            raise StoreError("no answer in time")
        return done


class Node:
    """What one gateway knows of the rooms."""

    def __init__(self, store: MemoryStore | None = None, name: str = "", **settings: Any) -> None:
        self.now = 1_000_000.0
        self.users = {"alice": "1", "bob": "1"}
        self.taken: set[str] = set()
        self.full: set[str] = set()
        self.ended: list[str] = []
        self.store = store or MemoryStore()
        self.settings = PersonalSettings(**{"numbers": ("8000", "8002")} | settings)
        self.rooms = PersonalRooms(
            self.store,
            lambda: self.now,
            lambda count: next(_OCTETS).to_bytes(count, "big"),
            mark=self.users.get,
            is_free=lambda number: number not in self.taken,
            is_used=lambda number: number in self.full,
            closed=self._closed,
            settings=lambda: self.settings,
            node=name,
        )

    async def _closed(self, number: str) -> None:
        self.ended.append(number)

    async def open(self, by: str = "alice", number: str | None = None, pin: str | None = None) -> str:
        return (await self.rooms.open(by, "Round", number, pin))[0].number

    @property
    def numbers(self) -> list[str]:
        return [room.number for room in self.rooms.listed()]


async def refused(asked: Any) -> int:
    with pytest.raises(RoomError) as error:
        await asked
    return error.value.status


async def test_the_next_free_number_is_given_and_a_wanted_one_that_nobody_has() -> None:
    """400 for a number of no room, 409 for one that somebody has, and where all are taken."""
    node = Node()
    node.taken = {"8001"}
    assert await node.open() == "8000"
    assert await refused(node.open(number="8000")) == 409
    assert await refused(node.open(number="8001")) == 409
    for number in ("7999", "8003", "08000", "80000", "8000 ", "", "٨٠٠٠"):
        assert await refused(node.open(number=number)) == 400
    assert await node.open(number="8002") == "8002"
    assert await refused(node.open()) == 409
    assert node.numbers == ["8000", "8002"]


async def test_numbers_keep_their_zeros() -> None:
    """0098 to 0101 are numbers of four digits."""
    node = Node(numbers=("0098", "0101"))
    assert [await node.open() for _ in range(4)] == ["0098", "0099", "0100", "0101"]


@by_row(
    ("least", "given", "made"),
    [
        (4, None, 6),
        (8, None, 8),
        (0, None, 0),
        (0, "auto", 6),
        (9, "auto", 9),
        (4, "4711", 4),
        (0, "", 0),
        (0, "1", 1),
        (16, "1" * 16, 16),
    ],
)
async def test_a_pin_is_made_where_one_is_needed_and_none_was_given(least: int, given: str | None, made: int) -> None:
    """conference.min_pin; what was given is taken."""
    room, pin = await Node(min_pin=least).rooms.open("alice", "", None, given)
    assert len(pin) == made
    assert given in (None, "auto", pin)
    assert (room.pin is None) == (not pin)
    assert room.pin is None or await room.pin.fits(pin)


@by_row("pin", ["", "123", "12a4", "1" * 17, "٤٧١١", "4711\n"])
async def test_what_is_no_pin_is_refused(pin: str) -> None:
    """400, nothing is opened."""
    node = Node(min_pin=4)
    assert await refused(node.open(pin=pin)) == 400
    await node.open()
    assert await refused(node.rooms.change("8000", None, pin)) == 400


async def test_the_store_has_no_pin_and_no_two_hashes_are_alike() -> None:
    """Each PIN is salted; whoever reads the store or a log has to try."""
    node = Node()
    await node.open(pin="471147")
    await node.open(pin="471147")
    kept = await node.store.entries()
    assert not any("471147" in text for text in kept.values())
    first, second = (room.pin for room in node.rooms.listed())
    assert first is not None
    assert second is not None
    assert first.digest != second.digest
    assert "471147" not in repr(first)
    assert await first.fits("471147")
    assert not await first.fits("471148")
    assert not await first.fits("")


async def test_limits_are_for_each_user_and_for_all() -> None:
    """conference.max_per_user: 409; conference.max_opened: 503. A closed room counts no more."""
    node = Node(per_user=1, most=2, numbers=("8000", "8009"))
    node.users["carol"] = "1"
    await node.open("alice")
    assert await refused(node.open("alice")) == 409
    await node.open("bob")
    assert await refused(node.open("carol")) == 503
    await node.rooms.close("8000")
    assert await node.open("carol") == "8000"


async def test_many_who_open_at_once_get_different_numbers_and_no_more_than_there_may_be() -> None:
    """At two gateways of one store: whoever puts it first has the number."""
    store = MemoryStore()
    nodes = [Node(store, name, numbers=("8000", "8009"), per_user=4) for name in ("sip:a", "sip:b")]
    asked = [node.open(user) for node in nodes for user in ("alice", "bob") for _ in range(2)]
    numbers = await asyncio.gather(*asked)
    assert len(set(numbers)) == 8
    await asyncio.gather(*(node.rooms.look(node.now) for node in nodes))
    assert nodes[0].numbers == nodes[1].numbers == sorted(numbers)
    assert {room.node for room in nodes[0].rooms.listed()} == {"sip:a", "sip:b"}


async def test_rooms_are_there_after_a_restart_and_at_other_gateways() -> None:
    """With their PIN; a change and an end at one is seen by the other, whose members leave."""
    store = MemoryStore()
    first, second = Node(store), Node(store)
    await first.open(pin="471147")
    await second.rooms.look(second.now)
    assert second.numbers == ["8000"]
    assert second.ended == []
    room, _ = await second.rooms.change("8000", "Other", "123456")
    assert (room.title, room.by) == ("Other", "alice")
    await first.rooms.look(first.now)
    [seen] = first.rooms.listed()
    assert seen == room
    assert seen.pin is not None
    assert await seen.pin.fits("123456")
    assert first.ended == []
    await second.rooms.close("8000")
    await first.rooms.look(first.now)
    assert first.numbers == []
    assert first.ended == second.ended == ["8000"]
    assert not any(name.startswith("room") and name != "rooms" for name in await store.entries())


async def test_a_number_that_is_somebody_elses_now_ends_the_room_before() -> None:
    """It was closed and opened anew elsewhere between two looks: who is in it was let in by another PIN."""
    store = MemoryStore()
    first, second = Node(store), Node(store)
    await first.open()
    await second.rooms.look(second.now)
    await second.rooms.close("8000")
    second.now += 1
    await second.open("bob")
    await first.rooms.look(first.now)
    assert first.ended == ["8000"]
    assert [room.by for room in first.rooms.listed()] == ["bob"]


async def test_a_room_that_nobody_comes_to_is_closed() -> None:
    """conference.empty_time after somebody was in it, also where that was before a restart or elsewhere."""
    store = MemoryStore()
    first, second = Node(store, empty_time=10 * HOUR), Node(store, empty_time=10 * HOUR)
    await first.open()
    first.full = {"8000"}
    for hour in range(1, 13):
        for node in (first, second):
            node.now = 1_000_000.0 + hour * HOUR
            assert await node.rooms.look(node.now) == 0
    first.full = set()
    second.now += 9.9 * HOUR
    assert await second.rooms.look(second.now) == 0
    assert second.rooms.ends(second.rooms.listed()[0]) == pytest.approx(second.now + 0.1 * HOUR, abs=61)
    second.now += 0.2 * HOUR
    assert await second.rooms.look(second.now) == 1
    assert second.ended == ["8000"]
    assert second.numbers == []


async def test_a_full_room_does_not_have_the_store_written_at_each_look() -> None:
    """Once a minute at most."""
    node = Node()
    await node.open()
    node.full = {"8000"}
    written: list[str] = []
    put = node.store.put_entry

    async def counted(name: str, text: str | None, *, new: bool = False, old: str | None = None) -> bool:
        written.append(name)
        return await put(name, text, new=new, old=old)

    node.store.put_entry = counted  # type: ignore[method-assign]
    for _ in range(18):
        node.now += 10
        await node.rooms.look(node.now)
    assert written == ["room-used:8000"] * 3


async def test_rooms_of_a_user_who_is_no_more_are_closed() -> None:
    """Also where somebody has the same id next; that one's own stay."""
    node = Node()
    await node.open("alice")
    await node.open("bob")
    del node.users["alice"]
    await node.rooms.forget("alice")
    assert node.numbers == ["8001"]
    assert node.ended == ["8000"]
    node.users["bob"] = "2"
    assert await node.rooms.look(node.now) == 0  # the directory may know of it later
    node.now += 61
    assert await node.rooms.look(node.now) == 1
    assert node.numbers == []
    await node.open("bob")
    await node.rooms.forget("bob")
    assert node.numbers == ["8000"]
    del node.users["bob"]
    assert await refused(node.open("bob")) == 403


async def test_a_room_outlives_a_restart_of_the_whole_gateway(tmp_path: Path) -> None:
    """With its number, its PIN and its owner, in SQLite; the number leads to it, and nobody else is given it."""
    config = config_on_free_ports(tmp_path, IDENTITY__STORE="sqlite:gateway.sqlite")
    alice = User("alice", web=True)
    app = GatewayApp(config)
    await app.start()
    try:
        made = await app._rooms.open(alice, "Round", None, None)
    finally:
        await app.stop()
    app = GatewayApp(config)
    await app.start()
    try:
        [shown] = app._rooms.listed(alice)
        assert shown == {name: value for name, value in made.items() if name != "pin"}
        settings = app._rooms.settings(made["room"])
        assert settings.pin is not None
        assert await settings.pin.fits(made["pin"])
        assert settings.moderators == {"alice"}
        assert app._rooms.has_number(made["room"])
        assert (await app._rooms.open(alice, "", None, None))["room"] != made["room"]
    finally:
        await app.stop()
    assert made["pin"] not in (tmp_path / "gateway.sqlite").read_bytes().decode("latin-1")


async def test_whose_room_it_is_another_gateway_may_not_know() -> None:
    """It has other users, or does not know of a new one yet: only who made the room judges that."""
    store = MemoryStore()
    first, second = Node(store, "sip:a"), Node(store, "sip:b")
    second.users.clear()
    await first.open()
    for node in (second, first):
        node.now += 3_600
        assert await node.rooms.look(node.now) == 0
    first.users.clear()
    assert await first.rooms.look(first.now) == 1


async def test_a_room_that_is_somebody_elses_by_now_is_neither_changed_nor_closed() -> None:
    """It was closed at another gateway, and its number given to somebody else, a moment before."""
    store = MemoryStore()
    first, second = Node(store), Node(store)
    await first.open("alice")
    await second.rooms.close("8000")
    await second.open("bob")
    assert await refused(first.rooms.change("8000", "x", "123456", _is_alices)) == 404
    assert await refused(first.rooms.close("8000", _is_alices)) == 404
    [room] = first.rooms.listed()
    assert (room.by, room.title) == ("bob", "Round")


def _is_alices(room: PersonalRoom) -> bool:
    return room.by == "alice"


async def test_a_number_out_of_the_range_is_no_room_until_it_is_in_again() -> None:
    """conference.numbers is changed: who dials it finds nobody, and it is closed in time all the same."""
    node = Node()
    await node.open()
    node.settings = PersonalSettings(numbers=("9000", "9009"))
    assert node.rooms.get("8000") is None
    assert node.numbers == []
    node.settings = PersonalSettings()
    assert await refused(node.open()) == 409
    node.settings = PersonalSettings(numbers=("8000", "8009"))
    assert node.rooms.get("8000") is not None


async def test_a_store_that_forgot_everything_is_told_again() -> None:
    """Redis restarted empty: nobody is thrown out."""
    node = Node()
    await node.open()
    node.store = MemoryStore()
    node.rooms._store = node.store
    await node.rooms.look(node.now)
    assert node.numbers == ["8000"]
    assert node.ended == []
    other = Node(node.store)
    await other.rooms.look(other.now)
    assert other.numbers == ["8000"]


@by_row("failing", ["", "room:", "room-used:", "rooms"])
async def test_a_store_that_forgot_everything_is_told_again_when_somebody_was_in_a_room(failing: str) -> None:
    """One that is older than conference.empty_time stays for as long as before, also where telling it fails once."""
    store = Away()
    first, second = (Node(store, name, empty_time=10 * HOUR) for name in "ab")
    await first.open()
    first.full = {"8000"}
    for hours in (24, 5):
        await second.rooms.look(second.now)  # it does not hear of the last time that somebody was there
        first.now += hours * HOUR
        await first.rooms.look(first.now)
        second.now = first.now
    first.full.clear()
    ends = first.rooms.ends(first.rooms.listed()[0])
    first.now = second.now = second.now + HOUR
    for name in await store.entries():
        await store.put_entry(name, None)
    store.lost_answer = failing
    if failing:
        with pytest.raises(StoreError):
            await first.rooms.look(first.now)
    store.lost_answer = ""
    for node in (second, first, second):
        assert await node.rooms.look(node.now) == 0
    for node in (first, second):
        assert node.rooms.ends(node.rooms.listed()[0]) == ends
    assert (first.ended, second.ended) == ([], [])
    assert await second.rooms.look(ends - 1) == 0
    assert await second.rooms.look(ends) == 1


async def test_a_store_that_forgot_everything_is_told_again_where_another_gateway_has_begun_anew() -> None:
    """The new one's room stays, and the old ones' come back, but for a number that the new one has given away."""
    store = MemoryStore()
    first, second = Node(store, "a"), Node(store, "b")
    for number in ("8000", "8002"):
        await first.open(number=number)
    await second.rooms.look(second.now)
    for name in await store.entries():
        await store.put_entry(name, None)
    fresh = Node(store, "c")
    await fresh.rooms.look(fresh.now)
    for number in ("8001", "8002"):
        await fresh.open(by="bob", number=number)
    for node in (first, second, fresh):
        await node.rooms.look(node.now)
        assert node.numbers == ["8000", "8001", "8002"]
    assert (first.ended, second.ended, fresh.ended) == (["8002"], ["8002"], [])
    await second.rooms.close("8000")
    for node in (first, second, fresh):
        await node.rooms.look(node.now)
        assert node.numbers == ["8001", "8002"]


@pytest.mark.parametrize("entry", ["room:", "rooms"])
async def test_a_room_whose_opener_was_told_that_it_failed_is_taken_back(entry: str) -> None:
    """Nobody knows its PIN: the number is free again, here and elsewhere."""
    store = Away()
    node, other = Node(store, "a"), Node(store, "b")
    store.lost_answer = entry
    with pytest.raises(StoreError):
        await node.open(number="8000")
    store.lost_answer = ""
    await node.rooms.look(node.now)
    assert node.numbers == []
    assert await other.open(number="8000") == "8000"
    await node.rooms.look(node.now)
    assert node.numbers == other.numbers == ["8000"]


async def test_taking_back_leaves_the_room_of_somebody_else_alone() -> None:
    """It failed because somebody else has the number."""
    store = Away()
    node, other = Node(store, "a"), Node(store, "b")
    store.lost_answer = "room:"
    with pytest.raises(StoreError):
        await node.open(number="8000")
    store.lost_answer = ""
    await store.put_entry("room:8000", None)
    await other.open(by="bob", number="8000")
    await node.rooms.look(node.now)
    assert [room.by for room in node.rooms.listed()] == ["bob"]


async def test_a_change_that_crosses_another_gateways_is_of_the_room_as_it_is_then() -> None:
    """One that is closed meanwhile is not there again; one that got a PIN meanwhile keeps it."""
    store = Crossed()
    first, second = Node(store, "a"), Node(store, "b")
    await first.open(pin="471147")
    await second.rooms.look(second.now)

    async def closing() -> None:
        await second.rooms.close("8000")

    async def changing() -> None:
        await second.rooms.change("8000", None, "123456")

    store.meanwhile = changing
    room, _ = await first.rooms.change("8000", "Other", None)
    assert room.title == "Other"
    assert room.pin is not None
    assert await room.pin.fits("123456")
    store.meanwhile = closing
    assert await refused(first.rooms.change("8000", "Back", None)) == 404
    assert not any(name.startswith("room:") for name in await store.entries())
    assert first.ended == ["8000"]


class Crossed(MemoryStore):
    """Somebody else is quicker."""

    meanwhile: Any = None

    async def put_entry(self, name: str, text: str | None, *, new: bool = False, old: str | None = None) -> bool:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return await super().put_entry(name, text, new=new, old=old)


async def test_what_cannot_be_read_is_no_room() -> None:
    """Somebody wrote into the store."""
    node = Node()
    await node.open()
    good = (await node.store.entries())["room:8000"]
    for number, text in enumerate(
        ["", "[]", "{}", good, good.replace("1000000.0", '"soon"'), good.replace("salt", "x")]
    ):
        await node.store.put_entry(f"room:{8001 + number}", text)
    await node.store.put_entry("room-used:8000", "now")
    await node.rooms.look(node.now)
    assert node.numbers == ["8000"]


async def test_a_room_is_not_opened_while_the_store_is_away() -> None:
    """The caller is told; the number is free again afterwards."""
    store = Away()
    node = Node(store)
    store.away = True
    with pytest.raises(StoreError):
        await node.open()
    assert node.numbers == []
    store.away = False
    assert await node.open() == "8000"


def test_a_room_comes_after_routes_and_users_and_is_opened_by_no_number_of_theirs() -> None:
    """What the configuration says of a number holds, also where it says so later."""
    opened = {"8000", "8001", "8002", "8003"}
    users = IdentityMap([User("8001", sip=True), User("alice", web=True, aliases=("8002",))], [], "gw.test")
    routes = [Route("8003", "service:echo"), Route("81??", "room:{user}"), Route("8200", "user:nobody")]
    router = Router(users, routes, ["gw.test"], rooms=RoomDoor(has_number=opened.__contains__))
    caller = Caller("bob", ("80*",))
    assert router.route("8000", caller) == ApplicationTarget("room:8000", "8000")
    assert router.route("sip:8000@gw.test", caller) == ApplicationTarget("room:8000", "8000")
    assert isinstance(router.route("8001", caller), UserTarget)
    assert isinstance(router.route("8002", caller), UserTarget)
    free = [number for number in ("8001", "8002", "8003", "8004", "8100", "8200") if router.is_free(number)]
    assert free == ["8004", "8100"]
    for dialled in ("sip:8000@elsewhere.test", "8004"):
        with pytest.raises(RouteError):
            router.route(dialled, Caller("bob", ("*",)))
    with pytest.raises(RouteError) as refused:
        router.route("8000", Caller("bob", ("1*",)))
    assert refused.value.cause is Cause.FORBIDDEN


def test_another_gateway_sends_a_call_to_a_room_that_is_here() -> None:
    """It goes nowhere else from here, and nowhere at all where the room is no more."""
    users = IdentityMap([], [], "gw.test")
    router = Router(users, [], ["gw.test"], rooms=RoomDoor(has_number={"8000"}.__contains__))
    there = router.route("8000", Caller("node:sip:b", (), transit=False, room="8000"))
    assert there == ApplicationTarget("room:8000", "8000", is_sent_on=True)
    with pytest.raises(RouteError):
        router.route("8001", Caller("node:sip:b", (), transit=False, room="8001"))


@by_row(
    ("least", "can", "may"),
    [
        ("user", True, ["user", "operator", "admin"]),
        ("operator", True, ["operator", "admin"]),
        ("admin", True, ["admin"]),
        ("user", False, []),
    ],
)
def test_the_keys_of_the_configuration_reach_the_rooms(least: str, can: bool, may: list[str]) -> None:
    """conference.opened_by is the least role; an engine without conferences has no rooms; each key is read anew."""
    keys = {"opened_by": least, "min_pin": 5, "max_per_user": 6, "max_opened": 7, "empty_time": 80, "numbers": "07-09"}
    config = Config.model_validate({"conference": keys})
    opening = cast(Opening, SimpleNamespace(config=config))
    front = PersonalFront(opening, Node().rooms, cast(Cluster, None), can=can)
    roles: tuple[Any, ...] = ("user", "operator", "admin")
    assert [role for role in roles if front.may_open(User("alice", role=role))] == may
    wanted = PersonalSettings(numbers=("07", "09"), min_pin=5, per_user=6, most=7, empty_time=80)
    assert room_settings.personal(config) == wanted
    opening.config = Config.model_validate({"conference": keys | {"numbers": ""}})
    assert not front.may_open(User("root", role="admin"))
    assert room_settings.personal(opening.config).numbers is None


@by_row("numbers", ["8000", "8100-8000", "80-8000", "a-b", "8000-", "0000-9999", "-"])
def test_what_is_no_range_of_numbers_is_an_error(numbers: str) -> None:
    """conference.numbers, by name."""
    with pytest.raises(ValidationError, match=r"conference\.numbers"):
        Config.model_validate({"conference": {"numbers": numbers}})


async def test_who_is_in_a_room_that_ends_or_on_the_way_in_hears_why() -> None:
    """Everybody leaves with that cause; whoever comes next comes into another room."""
    house = House(pin=await HashedPin.of("4711", b"salt"))
    inside, outside = house.session("1001"), house.session("guest-7")
    tasks = [asyncio.create_task(house.rooms.attend(one, "8000")) for one in (inside, outside)]
    for digit in "4711":
        inside.happened(DigitPressed(digit, 100))
    await until(lambda: house.rooms.is_used("8000"))  # the PIN is looked at in a thread
    await house.rooms.end("8000")
    await asyncio.gather(*tasks, return_exceptions=True)
    for one in (inside, outside):
        assert one.ended is Cause.ROOM_CLOSED
    assert not house.rooms.is_used("8000")
    assert [conference.close.called for conference in house.conferences] == [True]
    await house.rooms.end("8000")
