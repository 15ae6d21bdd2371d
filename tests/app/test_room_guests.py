"""Who may what in a room, whom wrong PINs keep out, and what becomes of a room nobody came into."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import MagicMock

import pytest

from gateway.call.leg import DigitPressed, HungUp
from gateway.call.status import Cause
from gateway.conference.front import ConferencingFront
from gateway.conference.pins import PlainPin
from gateway.conference.room import RoomSettings
from gateway.conference.tries import FORGIVEN, WRONG_OF_ALL, WRONG_PINS
from gateway.identity.model import User
from gateway.legs.application import Session, SessionError
from gateway.web.conferencing import RefusedError
from tests.app.room_house import House
from tests.rows import by_row

PIN = "4711"


@by_row("moderators", [frozenset(), frozenset({"*"}), frozenset({"1001"}), frozenset({"guest-7"})])
@by_row(("who", "may"), [("1001", True), ("guest-7", False), ("trunk:pbx", False), (None, False)])
async def test_a_room_is_moderated_by_nobody_but_its_moderators(
    moderators: frozenset[str], who: str | None, may: bool
) -> None:
    """*5 and *1 are for moderators: nobody where none is named, "*": each user in it, never a guest of that name."""
    house = House(moderators=moderators)
    session = house.session(who)
    task = asyncio.create_task(house.rooms.attend(session, "team"))
    for digit in "*5*1":
        session.happened(DigitPressed(digit, 100))
    for _ in range(20):
        await asyncio.sleep(0)
    room = house.rooms.room("team")
    may = may and bool(moderators & {"*", "1001"})
    assert (room.locked, house.recorder.room.called) == (may, may)
    assert [member.shown()["user"] for member in room.members.values()] == [None if who == "guest-7" else who]
    session.happened(HungUp(Cause.NORMAL))
    await task


@by_row(
    ("guesser", "same", "another"),
    [
        (("trunk:pbx", "sip:+491@pbx"), ("trunk:pbx", "sip:+491@pbx"), ("trunk:pbx", "sip:+492@pbx")),
        (
            ("guest-1", "sip:guest-1@gw", "192.0.2.1"),
            ("guest-2", "sip:guest-2@gw", "192.0.2.1"),
            ("guest-1", "sip:guest-1@gw", "192.0.2.2"),
        ),
        (("guest-1", "sip:guest-1@gw"), ("guest-2", "sip:guest-2@gw"), ("1001", "sip:1001@gw")),
        ((None, "sip:a@x"), (None, "sip:b@x"), ("trunk:pbx", "sip:a@x")),
        (("node:sip:b", "sip:1@gw"), ("node:sip:b", "sip:1@gw"), ("node:sip:b", "sip:2@gw")),
    ],
)
async def test_wrong_pins_keep_out_who_tried_them_and_nobody_else(
    guesser: tuple[str, ...], same: tuple[str, ...], another: tuple[str, ...]
) -> None:
    """What a guest calls itself is its choice, and a trunk is many callers."""
    house = House(pin=PlainPin(PIN))
    await house.wrong(WRONG_PINS, *guesser)
    assert not await house.tries(house.session(*same), PIN)
    assert await house.tries(house.session(*another), PIN)


async def test_wrong_pins_of_everybody_together_are_few_and_bar_no_user() -> None:
    """Who has another number for each guess is stopped by the room's own count, which time forgives one by one."""
    house = House(pin=PlainPin(PIN))
    for number in range(WRONG_OF_ALL):
        await house.wrong(1, "trunk:pbx", f"sip:{number}@pbx")
    assert not await house.tries(house.session("trunk:pbx", "sip:another@pbx"), PIN)
    assert await house.tries(house.session("1001"), PIN)
    house.now += FORGIVEN
    assert await house.tries(house.session("trunk:pbx", "sip:another@pbx"), PIN)


@pytest.mark.parametrize(
    ("identity", "first", "daily"), [("trunk:pbx", WRONG_OF_ALL, 24), ("1001", WRONG_PINS, 24), (None, WRONG_PINS, 24)]
)
async def test_a_pin_bears_few_guesses_a_day(
    monkeypatch: pytest.MonkeyPatch, identity: str | None, first: int, daily: int
) -> None:
    """A guesser who tries whenever it may is down to one guess an hour, by however many numbers it calls."""
    house, tried, looks = House(pin=PlainPin(PIN)), [0, 0], []

    async def fits(pin: PlainPin, given: str) -> bool:
        looks.append(given)
        return False

    monkeypatch.setattr(PlainPin, "fits", fits)
    for day in (0, 1):
        for number in range(24 * 6):
            house.now += 600
            uri = f"sip:{day * 144 + number}@pbx"
            for _ in range(first + 1 if day == number == 0 else 1):
                await house.tries(house.session(identity, uri, "192.0.2.1"), "0000")
        tried[day] = len(looks) - sum(tried)
    assert tried[0] < first + 7 + daily + 12
    assert daily - 2 <= tried[1] <= daily + 1


async def test_a_stranger_who_knew_the_pin_is_not_barred_by_others() -> None:
    """Its address is; a number that a trunk names can be forged, and is not."""
    house = House(pin=PlainPin(PIN))
    assert await house.tries(house.session("guest-1", "sip:guest-1@gw", "192.0.2.9"), PIN)
    assert await house.tries(house.session("trunk:pbx", "sip:known@pbx"), PIN)
    for number in range(WRONG_OF_ALL):
        await house.wrong(1, "trunk:pbx", f"sip:{number}@pbx")
    assert await house.tries(house.session("guest-2", "sip:guest-2@gw", "192.0.2.9"), PIN)
    assert not await house.tries(house.session("guest-2", "sip:guest-2@gw", "192.0.2.8"), PIN)
    assert not await house.tries(house.session("trunk:pbx", "sip:known@pbx"), PIN)


@pytest.mark.parametrize(("who", "most"), [("1001", WRONG_PINS), ("trunk:pbx", WRONG_OF_ALL)])
async def test_many_calls_at_once_try_no_more_pins_than_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch, who: str, most: int
) -> None:
    """All of them are asked before the first one answers, and answer at once."""
    house, tried = House(pin=PlainPin(PIN)), []

    async def fits(pin: PlainPin, given: str) -> bool:
        tried.append(given)
        await asyncio.sleep(0)
        return False

    monkeypatch.setattr(PlainPin, "fits", fits)
    sessions = [house.session(who, f"sip:{number}@pbx") for number in range(most + 20)]
    tasks = [asyncio.create_task(house.rooms.attend(session, "shut")) for session in sessions]
    for _ in range(5):
        await asyncio.sleep(0)
    for session in sessions:
        for digit in "0000":
            session.happened(DigitPressed(digit, 100))
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(tried) == most
    for session in sessions:
        session.happened(HungUp(Cause.NORMAL))
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_right_pins_count_for_nothing() -> None:
    """However many come in."""
    house = House(pin=PlainPin(PIN))
    for number in range(WRONG_OF_ALL + 1):
        assert await house.tries(house.session("trunk:pbx", f"sip:{number}@pbx"), PIN)


async def test_a_room_whose_first_member_went_before_it_was_in_is_forgotten() -> None:
    """Its conference ends, and it counts for no limit."""
    house = House()
    session = house.session("1001")
    session.join = MagicMock(side_effect=SessionError("the call is over", Cause.NORMAL))  # type: ignore[method-assign]
    with pytest.raises(SessionError):
        await house.rooms.attend(session, "team")
    assert house.rooms._rooms == {}
    assert house.conferences[0].close.called


def _front(house: House) -> ConferencingFront:
    nothing: Any = None
    return ConferencingFront(house.rooms, nothing, nothing, nothing, nothing, None, nothing, nothing, lambda: "1")


async def _in(house: House, identity: str) -> tuple[Session, asyncio.Task[None]]:
    session = house.session(identity)
    task = asyncio.create_task(house.rooms.attend(session, "team"))
    for _ in range(20):
        await asyncio.sleep(0)
    return session, task


async def _press(session: Session, digits: str) -> None:
    for digit in digits:
        session.happened(DigitPressed(digit, 100))
    for _ in range(20):
        await asyncio.sleep(0)


async def test_who_had_a_number_before_hears_nothing_of_the_room_that_has_it_now() -> None:
    """It was closed, and somebody else opened another one by the same number."""
    house, told = House(moderators=frozenset({"1001"})), list[str]()
    _, mine = await _in(house, "1001")
    _front(house).watch_room(User("1001"), "team", lambda event: told.append(event["event"]))
    await house.rooms.end("team")
    await mine
    assert told == ["left"]
    house.rooms._settings = lambda _: RoomSettings(moderators=frozenset({"1002"}))
    other, task = await _in(house, "trunk:pbx")
    other.happened(HungUp(Cause.NORMAL))
    await task
    assert told == ["left"]


async def test_a_watch_ends_with_the_right_to_see_the_room() -> None:
    """Who has left hears that it has, and nothing of what comes after."""
    house, told = House(), list[str]()
    (mine, my_task), (other, task) = await _in(house, "1001"), await _in(house, "trunk:pbx")
    _front(house).watch_room(User("1001"), "team", lambda event: told.append(event["event"]))
    operators = list[str]()
    _front(house).watch_room(User("op", role="operator"), "team", lambda event: operators.append(event["event"]))
    house.rooms.room("team").mute("2", True)
    mine.happened(HungUp(Cause.NORMAL))
    await my_task
    house.rooms.room("team").mute("2", False)
    assert (told, operators) == (["muted", "left"], ["muted", "left", "unmuted"])
    other.happened(HungUp(Cause.NORMAL))
    await task


@pytest.mark.parametrize("record", [True, False])
async def test_members_end_the_recording_that_a_user_began(record: bool) -> None:
    """rooms[].record and an operator's go on until an operator ends them."""
    house = House(record=record, moderators=frozenset({"*"}))
    recording = house.recorder.room.return_value
    session, task = await _in(house, "1001")
    front, user, operator = _front(house), User("1001"), User("op", role="operator")
    if not record:
        await _press(session, "*1*1")
        assert recording.stop.call_count == 1
        await front.change_room(operator, "team", "record")
    recording.stop.reset_mock()
    await _press(session, "*1")
    with pytest.raises(RefusedError) as refused:
        await front.change_room(user, "team", "stop-recording")
    assert (refused.value.status, recording.stop.called) == (403, False)
    await front.change_room(operator, "team", "stop-recording")
    assert recording.stop.called
    session.happened(HungUp(Cause.NORMAL))
    await task


async def test_the_end_of_a_recording_is_not_told_of_the_room_that_has_the_name_next() -> None:
    """The last member leaves and another comes at once: the file of the room before is finished after that."""
    house, ended, told = House(record=True), list[Any](), list[bool]()

    def recording(name: str, conference: object, over: Any) -> MagicMock:
        ended.append(over)
        return MagicMock()

    house.recorder.room.side_effect = recording
    house.rooms.watch(lambda event: told.append(event["on"]) if event["event"] == "recording" else None)
    for count in (1, 2):
        session = house.session("1001")
        task = asyncio.create_task(house.rooms.attend(session, "team"))
        for _ in range(20):
            await asyncio.sleep(0)
        assert told == [True, False, True][: 2 * count - 1]
        if count == 2:
            ended[0]()
            assert told == [True, False, True]
            assert [each["recording"] for each in house.rooms.shown()] == [True]
        session.happened(HungUp(Cause.NORMAL))
        await task
        assert told == [True, False] * count
    ended[1]()
    assert told == [True, False] * 2
