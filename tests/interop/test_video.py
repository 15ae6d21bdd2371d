"""A browser and baresip see each other through a whole gateway: VP8, decoded and encoded again by baresip."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.baresip import baresip
from tests.interop.gateway import PASSWORDS, Gateway
from tests.interop.seeing import GREY, SeeingBrowser
from tests.media.engine_support import until

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]


async def test_a_browser_sees_in_baresip_what_it_shows(gateway: Gateway, tmp_path: Path) -> None:
    """Its picture comes back: opened, decoded and encoded by baresip, with the call's sound beside it."""
    password, place, domain = PASSWORDS["1001"], gateway.sip, gateway.config.domain
    codecs = {"codec": "PCMU/8000/1", "source": "ausine,660", "video": "vp8"}
    async with SeeingBrowser() as browser, baresip(tmp_path, "1001", password, place, domain, **codecs) as phone:
        await browser.open(gateway.app.signed_in_url("alice"))
        await phone.expect("REGISTER_OK")
        await browser.dial("1001")
        await browser.status("talking")
        await phone.expect("CALL_ESTABLISHED")
        await browser.tone(660)
        await until(lambda: len(browser.seen) >= 20 and abs(browser.seen[-1] - GREY) < 12, 20)
        await browser.hang_up()
        await phone.expect("CALL_CLOSED")
        await gateway.idle()
