"""Three pages in one conference room, each of which sees the two others at once."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.browser.bare import blank_page, chromium
from tests.browser.greys import ANSWER, OFFER, TAKE, luma, sees
from tests.browser.room_member import Member
from tests.media.engine_support import running, until

pytestmark = [pytest.mark.browser]

GREYS = (60, 120, 190)


class Page:
    """One of Chromium."""

    def __init__(self, page: Any) -> None:
        self.page = page

    async def offer(self, grey: int) -> str:
        return str(await self.page.evaluate(OFFER, grey))

    async def take(self, answer: str) -> None:
        await self.page.evaluate(TAKE, answer)

    async def answer(self, offer: str) -> str:
        return str(await self.page.evaluate(ANSWER, offer))

    async def sections(self) -> int:
        """Of its sound and of pictures."""
        count: int = await self.page.evaluate("pc.getTransceivers().length")
        return count


async def test_each_page_sees_both_others_and_who_comes_again() -> None:
    """One leaves and another comes in its place, which needs no other section; their pictures are told by mid."""
    async with AsyncExitStack() as stack:
        engine, _ = await stack.enter_async_context(running())
        browser = await stack.enter_async_context(chromium())
        context = await stack.enter_async_context(await browser.new_context())
        conference = engine.conference(8)
        pages = [Page(await blank_page(context)) for _ in GREYS]
        members = [Member(engine, conference, page, f"m{n}", GREYS[n]) for n, page in enumerate(pages)]
        one, two, three = members
        for member in members:
            await stack.enter_async_context(member.serving())
            await member.come()
        for member, page in zip(members, pages, strict=True):
            await sees(page.page, *[luma(other.grey) for other in members if other is not member])
        assert set(one.seat.pictures.values()) == {"m1", "m2"}
        assert len(one.seat.pictures) == 2
        assert {await page.sections() for page in pages} == {3}
        await engine.delete(two.name)
        two.seat.leave()
        await until(lambda: list(one.seat.pictures.values()) == ["m2"])
        two.name = "again"
        await pages[1].page.reload()
        two.grey = 90
        await two.come()
        await sees(pages[0].page, luma(90), luma(three.grey))
        await sees(pages[1].page, luma(one.grey), luma(three.grey))
        assert {await page.sections() for page in pages} == {3}
