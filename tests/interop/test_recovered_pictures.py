"""kill -9 of `gateway run` with a picture in the call: an aiortc browser and baresip see each other again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.baresip import baresip
from tests.interop.gateway import PASSWORDS
from tests.interop.house import house
from tests.interop.seeing import GREY, SeeingBrowser
from tests.media.engine_support import until

pytestmark = pytest.mark.peer


@pytest.mark.slow
@pytest.mark.timeout(120)  # two starts of a gateway, beside other work
async def test_a_call_with_a_picture_outlives_the_gateway(tmp_path: Path) -> None:
    """Both are offered it again with their picture, and see and hear each other as before."""
    (tmp_path / "phone").mkdir()
    codecs = {"codec": "PCMU/8000/1", "source": "ausine,660", "video": "vp8"}
    async with house(tmp_path) as gateway, SeeingBrowser() as browser:
        place, domain = ("127.0.0.1", gateway.sip), "gateway.example"
        async with baresip(tmp_path / "phone", "1001", PASSWORDS["1001"], place, domain, **codecs) as phone:
            await gateway.open(browser)
            await phone.expect("REGISTER_OK")
            await browser.dial("1001")
            await browser.status("talking")
            await until(lambda: len(browser.seen) >= 20 and abs(browser.seen[-1] - GREY) < 12, 20)
            await gateway.kill()
            await gateway.start()
            assert (await gateway.take_back(browser))["state"] == "answered"
            await gateway.logged("input=offer-answered", 2)
            browser.seen.clear()
            await browser.tone(660)
            await until(lambda: len(browser.seen) >= 20 and abs(browser.seen[-1] - GREY) < 12, 20)
            await browser.hang_up()
            await phone.expect("CALL_CLOSED")
