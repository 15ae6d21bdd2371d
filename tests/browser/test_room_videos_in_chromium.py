"""Three pages in one conference room, each of which sees the two others at once, beside a phone that sees one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.media.embedded.describe import SERVICE_DESCRIPTION
from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.engine import Conference, Kind, MediaEvent, OfferWanted, Party, Seat
from tests.browser.bare import blank_page, chromium
from tests.browser.greys import ANSWER, OFFER, TAKE, luma, sees
from tests.media.engine_support import running, until

pytestmark = [pytest.mark.browser]

PROGRAM = Party("program", Kind.SERVICE, service="program", video=("vp8",))
PAGE = Party("page", Kind.WEBRTC)
GREYS = (60, 120, 190)


class Member:
    """A page in the room, which takes every offer it is made."""

    def __init__(self, engine: EmbeddedEngine, conference: Conference, page: Any, name: str, grey: int) -> None:
        self.engine, self.conference, self.page, self.name, self.grey = engine, conference, page, name, grey
        self.wanted = asyncio.Semaphore(0)
        self.seat: Seat

    async def come(self) -> None:
        offer = await self.page.evaluate(OFFER, self.grey)
        await self.engine.offer(self.name, PAGE, PROGRAM, offer)
        await self.page.evaluate(TAKE, await self.engine.answer(self.name, PROGRAM, PAGE, SERVICE_DESCRIPTION))
        self.seat = self.conference.seat(self.engine.audio(self.name, "program"), self.name)

    def heard(self, event: MediaEvent) -> None:
        if event == OfferWanted(self.name, "page"):
            self.wanted.release()

    async def serve(self) -> None:
        """As a front end: one exchange at a time."""
        while True:
            await self.wanted.acquire()
            offer = await self.engine.create_offer(self.name, PAGE, PROGRAM)
            answer = await self.page.evaluate(ANSWER, offer)
            await self.engine.answer(self.name, PAGE, None, answer)


async def sections(member: Member) -> int:
    """Of its sound and of pictures."""
    count: int = await member.page.evaluate("pc.getTransceivers().length")
    return count


async def test_each_page_sees_both_others_and_who_comes_again() -> None:
    """One leaves and another comes in its place, which needs no other section; their pictures are told by mid."""
    async with running() as (engine, _), chromium() as browser, await browser.new_context() as context:
        conference = engine.conference(8)
        pages = [await blank_page(context) for _ in GREYS]
        members = [Member(engine, conference, page, f"m{n}", GREYS[n]) for n, page in enumerate(pages)]
        one, two, three = members
        serving = []
        try:
            for member in members:
                engine.subscribe(member.heard)
                serving.append(asyncio.create_task(member.serve()))
                await member.come()
            for member in members:
                await sees(member.page, *[luma(other.grey) for other in members if other is not member])
            assert set(one.seat.pictures.values()) == {"m1", "m2"}
            assert len(one.seat.pictures) == 2
            assert {await sections(member) for member in members} == {3}
            await engine.delete(two.name)
            two.seat.leave()
            await until(lambda: list(one.seat.pictures.values()) == ["m2"])
            two.name = "again"
            await two.page.reload()
            two.grey = 90
            await two.come()
            await sees(one.page, luma(90), luma(three.grey))
            await sees(two.page, luma(one.grey), luma(three.grey))
            assert {await sections(member) for member in members} == {3}
        finally:
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)
