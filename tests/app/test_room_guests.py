"""Who has no account in a room: what it may not, and whom its wrong PINs keep out."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import pytest

from gateway.call.leg import Address, DigitPressed, HungUp
from gateway.call.status import Cause
from gateway.conference.room import RoomSettings
from gateway.conference.rooms import FORGIVEN, WRONG_OF_ALL, WRONG_PINS, Rooms
from gateway.legs.application import Session, SessionError

PIN = "4711"


class House:
    """Rooms with one user, 1001."""

    def __init__(self, **settings: Any) -> None:
        self.now = 0.0
        self.recorder = MagicMock()
        self.conferences: list[MagicMock] = []
        self.rooms = Rooms(
            self._conference,
            lambda _: RoomSettings(**settings),
            self.recorder,
            lambda: self.now,
            lambda who: who == "1001",
        )

    def _conference(self) -> MagicMock:
        self.conferences.append(MagicMock())
        return self.conferences[-1]

    def session(self, identity: str | None, uri: str = "sip:x@gw.test", source: str = "") -> Session:
        """A call of somebody, which is up as soon as it is answered."""
        sound = MagicMock(play=AsyncMock())
        leg = MagicMock()
        session = Session(leg, Address(uri, source=source))
        leg.accept.side_effect = lambda: session.came_up(sound, identity, MagicMock())
        return session

    async def tries(self, session: Session, digits: str) -> bool:
        """Whether those digits let it in; then it goes again."""
        task = asyncio.create_task(self.rooms.attend(session, "shut"))
        for digit in digits:
            session.happened(DigitPressed(digit, 100))
        for _ in range(20):
            await asyncio.sleep(0)
        inside = bool(self.rooms.shown())
        session.happened(HungUp(Cause.NORMAL))
        with contextlib.suppress(SessionError):  # it went while it was asked again
            await task
        return inside

    async def wrong(self, times: int, identity: str | None, uri: str = "sip:x@gw.test", source: str = "") -> None:
        for _ in range(times):
            assert not await self.tries(self.session(identity, uri, source), "0000")


@pytest.mark.parametrize("moderators", [frozenset(), frozenset({"guest-7"})])
@pytest.mark.parametrize(("who", "may"), [("1001", True), ("guest-7", False), ("trunk:pbx", False), (None, False)])
async def test_who_has_no_account_neither_locks_nor_records(
    moderators: frozenset[str], who: str | None, may: bool
) -> None:
    """*5 and *1, also where a guest calls itself as a moderator is called; lists show it as nobody's."""
    house = House(moderators=moderators)
    session = house.session(who)
    task = asyncio.create_task(house.rooms.attend(session, "team"))
    for digit in "*5*1":
        session.happened(DigitPressed(digit, 100))
    for _ in range(20):
        await asyncio.sleep(0)
    room = house.rooms.room("team")
    may = may and not moderators
    assert (room.locked, house.recorder.room.called) == (may, may)
    assert [member.shown()["user"] for member in room.members.values()] == [None if who == "guest-7" else who]
    session.happened(HungUp(Cause.NORMAL))
    await task


@pytest.mark.parametrize(
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
    ],
)
async def test_wrong_pins_keep_out_who_tried_them_and_nobody_else(
    guesser: tuple[str, ...], same: tuple[str, ...], another: tuple[str, ...]
) -> None:
    """What a guest calls itself is its choice, and a trunk is many callers."""
    house = House(pin=PIN)
    await house.wrong(WRONG_PINS, *guesser)
    assert not await house.tries(house.session(*same), PIN)
    assert await house.tries(house.session(*another), PIN)


async def test_wrong_pins_of_everybody_together_are_few_and_bar_no_user() -> None:
    """Who has another number for each guess is stopped by the room's own count, which time forgives one by one."""
    house = House(pin=PIN)
    for number in range(WRONG_OF_ALL):
        await house.wrong(1, "trunk:pbx", f"sip:{number}@pbx")
    assert not await house.tries(house.session("trunk:pbx", "sip:another@pbx"), PIN)
    assert await house.tries(house.session("1001"), PIN)
    house.now += FORGIVEN
    assert await house.tries(house.session("trunk:pbx", "sip:another@pbx"), PIN)
