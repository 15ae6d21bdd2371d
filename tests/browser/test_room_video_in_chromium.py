"""Three pages, each in a grey of its own, and a phone with H.264 in one conference room: who sees whom."""

from __future__ import annotations

import pytest

from gateway.media.embedded.describe import SERVICE_DESCRIPTION
from gateway.media.engine import KeyFrameWanted, Kind, Party, Seat
from tests import peers
from tests.browser.bare import blank_page, chromium
from tests.browser.greys import OFFER, TAKE, luma, sees
from tests.media.engine_support import running, until
from tests.media.video_support import VideoPhone

pytestmark = [pytest.mark.wall]

PROGRAM = Party("program", Kind.SERVICE, service="program", video=("h264", "vp8", "vp9", "av1"))
GREYS = (60, 110, 160)
PHONE = 210
"""Luma of the phone's picture; those of the pages are of RGB, and come out a little darker."""


async def test_each_page_and_the_phone_see_who_speaks() -> None:
    """The speaker changes, a page is gone and comes back as after a reload; who speaks sees the one before."""
    async with running() as (engine, _), chromium() as browser, await browser.new_context() as context:
        conference, seats = engine.conference(), list[Seat]()
        pages, phone = [await blank_page(context) for _ in GREYS], await VideoPhone(PHONE).open()

        async def come(name: str, party: Party, offer: str) -> str:
            await engine.offer(name, party, PROGRAM, offer)
            answer = await engine.answer(name, PROGRAM, party, SERVICE_DESCRIPTION)
            seats.append(conference.seat(engine.audio(name, "program"), name))
            seats[-1].muted = True
            return answer

        try:
            for number, page in enumerate(pages):
                offer = await page.evaluate(OFFER, GREYS[number])
                if offer is None:
                    peers.missing("H.264 in Chromium", "the Debian package chromium in place of this one")
                await page.evaluate(TAKE, await come(f"page-{number}", Party("page", Kind.WEBRTC), offer))
            party = Party("phone", Kind.RTP, private_source="127.0.0.1")
            engine.subscribe(lambda event: phone.key_frame() if event == KeyFrameWanted("desk", "phone") else None)
            phone.take(await come("desk", party, phone.sdp()))
            phone.show()
            seats[0].muted = False
            await sees(pages[1], luma(GREYS[0]))
            await sees(pages[2], luma(GREYS[0]))
            await until(lambda: phone.sees(luma(GREYS[0])))
            phone.packets.clear()
            seats[0].muted, seats[2].muted = True, False
            await sees(pages[0], luma(GREYS[2]))
            await sees(pages[1], luma(GREYS[2]))
            await sees(pages[2], luma(GREYS[0]))
            await until(lambda: phone.sees(luma(GREYS[2])))
            await engine.delete("page-2")
            seats[2].leave()
            await sees(pages[1], luma(GREYS[0]))
            await sees(pages[0], luma(GREYS[1]))
            await pages[2].reload()
            offer = await pages[2].evaluate(OFFER, GREYS[2])
            await pages[2].evaluate(TAKE, await come("again", Party("page", Kind.WEBRTC), offer))
            await sees(pages[2], luma(GREYS[0]))
            seats[-1].muted = False
            await sees(pages[1], luma(GREYS[2]))
        finally:
            await phone.close()
