"""Three pages in one conference room, each of which sees the two others at once."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest

from gateway.media.embedded.describe import SERVICE_DESCRIPTION
from gateway.media.engine import KeyFrameWanted, Kind, Party
from sdp.extensions import ORIENTATION
from tests.browser.bare import blank_page, chromium
from tests.browser.greys import ANSWER, OFFER, TAKE, luma, sees
from tests.browser.room_member import PROGRAM, Member
from tests.media.engine_support import running, until
from tests.media.video_support import VideoPhone

pytestmark = [pytest.mark.wall]

GREYS = (60, 120, 190)
PHONE = Party("phone", Kind.RTP, private_source="127.0.0.1")


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

    async def levels(self, side: str) -> set[str]:
        """Of H.264 in packetization mode 1, in a description of the "local" or the "remote" side."""
        text = str(await self.page.evaluate(f"pc.{side}Description.sdp"))
        said = [line for line in text.splitlines() if "packetization-mode=1" in line]
        return {line.partition("profile-level-id=")[2][4:6] for line in said}

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


ORIENTED = f"() => pc.remoteDescription.sdp.includes('{ORIENTATION}')"


async def test_pages_turn_their_own_pictures_once_a_phone_that_cannot_sees_one() -> None:
    """All are offered anew without it, and go on to be seen; a page that comes later is so, too."""
    async with AsyncExitStack() as stack:
        engine, _ = await stack.enter_async_context(running())
        browser = await stack.enter_async_context(chromium())
        context = await stack.enter_async_context(await browser.new_context())
        conference, phone = engine.conference(8), await VideoPhone(luma(GREYS[2]), codec="VP8").open()
        stack.push_async_callback(phone.close)
        engine.subscribe(lambda event: phone.key_frame() if event == KeyFrameWanted("phone", PHONE.tag) else None)
        pages = [Page(await blank_page(context)) for _ in GREYS]
        members = [Member(engine, conference, page, f"m{n}", 40 + 40 * n) for n, page in enumerate(pages)]
        for member in members[:2]:
            await stack.enter_async_context(member.serving())
            await member.come()
        for page, other in zip(pages, members[1::-1], strict=False):
            await sees(page.page, luma(other.grey))
            assert await page.page.evaluate(ORIENTED)
        await engine.offer("phone", PHONE, PROGRAM, phone.sdp())
        phone.take(await engine.answer("phone", PROGRAM, PHONE, SERVICE_DESCRIPTION))
        seat = conference.seat(engine.audio("phone", PROGRAM.tag), "phone")
        phone.show()
        await until(lambda: phone.sees(luma(members[0].grey)))
        for page in pages[:2]:
            await page.page.wait_for_function(f"!({ORIENTED})()")
        await stack.enter_async_context(members[2].serving())
        await members[2].come()
        for page, member in zip(pages, members, strict=True):
            await page.page.wait_for_function(f"!({ORIENTED})()")
            await page.page.evaluate("seen = {}")
            others = [luma(other.grey) for other in members if other is not member]
            await sees(page.page, luma(GREYS[2]), *others)
        seat.leave()


async def test_a_page_is_told_the_level_of_a_phone_that_takes_less_and_goes_on_to_be_seen() -> None:
    """H.264 of level 1.2: Chromium takes the offer, says its own level as before, and both see each other."""
    async with AsyncExitStack() as stack:
        engine, _ = await stack.enter_async_context(running())
        browser = await stack.enter_async_context(chromium())
        context = await stack.enter_async_context(await browser.new_context())
        conference, phone = engine.conference(8), await VideoPhone(luma(GREYS[2])).open()
        stack.push_async_callback(phone.close)
        engine.subscribe(lambda event: phone.key_frame() if event == KeyFrameWanted("phone", PHONE.tag) else None)
        page = Page(await blank_page(context))
        member = Member(engine, conference, page, "page", GREYS[0])
        member.program = program = Party("program", Kind.SERVICE, service="program", video=("h264",))
        await stack.enter_async_context(member.serving())
        await member.come()
        assert await page.levels("remote") == {"1f"}
        slow = phone.sdp().replace("42e01f", "42e00c")
        await engine.offer("phone", PHONE, program, slow)
        phone.take(await engine.answer("phone", program, PHONE, SERVICE_DESCRIPTION))
        seat = conference.seat(engine.audio("phone", program.tag), "phone")
        phone.show()
        await sees(page.page, luma(GREYS[2]))
        await until(lambda: phone.sees(luma(GREYS[0])))
        await page.page.wait_for_function("/mode=1.*profile-level-id=....0c/.test(pc.currentRemoteDescription.sdp)")
        assert await page.levels("remote") == {"0c"}
        assert await page.levels("local") == {"1f"}
        known = len(phone.packets)
        await until(lambda: len(phone.packets) > known + 20)
        assert phone.sees(luma(GREYS[0]))
        await page.page.evaluate("seen = {}")
        await sees(page.page, luma(GREYS[2]))
        seat.leave()
