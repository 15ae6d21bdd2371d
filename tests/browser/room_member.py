"""A page in a conference room of an engine, which takes every offer that it is made."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Protocol

from gateway.media.embedded.describe import SERVICE_DESCRIPTION
from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.engine import Conference, Kind, MediaEvent, OfferWanted, Party, Seat

PROGRAM = Party("program", Kind.SERVICE, service="program", video=("vp8",))
PAGE = Party("page", Kind.WEBRTC)


class Page(Protocol):
    """One with a connection of sound and a picture of one grey."""

    async def offer(self, grey: int) -> str: ...

    async def take(self, answer: str) -> None: ...

    async def answer(self, offer: str) -> str: ...


class Member:
    """One page, by a name."""

    program = PROGRAM

    def __init__(self, engine: EmbeddedEngine, conference: Conference, page: Page, name: str, grey: int) -> None:
        self.engine, self.conference, self.page, self.name, self.grey = engine, conference, page, name, grey
        self.wanted = asyncio.Semaphore(0)
        self.seat: Seat
        engine.subscribe(self._heard)

    async def come(self) -> None:
        offer = await self.page.offer(self.grey)
        await self.engine.offer(self.name, PAGE, self.program, offer)
        await self.page.take(await self.engine.answer(self.name, self.program, PAGE, SERVICE_DESCRIPTION))
        self.seat = self.conference.seat(self.engine.audio(self.name, "program"), self.name)

    def _heard(self, event: MediaEvent) -> None:
        if event == OfferWanted(self.name, "page"):
            self.wanted.release()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Take offers as a front end does: one exchange at a time."""
        task = asyncio.create_task(self._serve())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _serve(self) -> None:
        while True:
            await self.wanted.acquire()
            offer = await self.engine.create_offer(self.name, PAGE, self.program)
            await self.engine.answer(self.name, PAGE, None, await self.page.answer(offer))
