"""Rooms without a gateway around them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any
from unittest.mock import AsyncMock, MagicMock

from gateway.call.leg import Address, DigitPressed, HungUp
from gateway.call.status import Cause
from gateway.conference.room import RoomSettings
from gateway.conference.rooms import Rooms
from gateway.legs.application import Session, SessionError


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

    def _conference(self, videos: int, speakers: int) -> MagicMock:
        self.conferences.append(MagicMock())
        return self.conferences[-1]

    def session(self, identity: str | None, uri: str = "sip:x@gw.test", source: str = "") -> Session:
        """A call of somebody, which is up as soon as it is answered."""
        sound = MagicMock(play=AsyncMock())
        leg = MagicMock()
        session = Session(leg, Address(uri, source=source))
        leg.over.side_effect = lambda cause: session.happened(HungUp(cause))
        leg.accept.side_effect = lambda: session.came_up("call", sound, identity, MagicMock())
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
