"""kill -9 of `gateway run` with a picture in the call: an aiortc browser and baresip see each other again."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from gateway.client.call import Call
from gateway.client.http import GatewayClient
from gateway.demo.aiortc_browser import ToneTrack
from tests.interop.baresip import baresip
from tests.interop.gateway import BROWSER_HZ, PASSWORDS
from tests.interop.house import house
from tests.interop.seeing import GREY, SeeingBrowser
from tests.media.engine_support import until
from tests.media.video_support import GreyTrack

pytestmark = pytest.mark.wall


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


@pytest.mark.timeout(120)  # two starts of a gateway, beside other work
async def test_a_session_with_a_picture_ends_with_the_gateway_and_both_are_told(tmp_path: Path) -> None:
    """The HTTP API carries no offer of the gateway's: the phone gets a BYE, the program hears why when it asks."""
    (tmp_path / "phone").mkdir()
    codecs = {"codec": "PCMU/8000/1", "source": "ausine,660", "video": "vp8"}
    async with house(tmp_path) as gateway:
        url = f"http://{gateway.environ['GATEWAY_WEB__LISTEN']}"
        place, domain = ("127.0.0.1", gateway.sip), "gateway.example"
        async with (
            baresip(tmp_path / "phone", "1001", PASSWORDS["1001"], place, domain, **codecs) as phone,
            httpx.AsyncClient(base_url=url, timeout=30.0) as http,
        ):
            await phone.expect("REGISTER_OK")
            client = GatewayClient(url, user="alice", password=PASSWORDS["alice"], http=http)
            call = Call([], ToneTrack(BROWSER_HZ))
            call.connection.addTrack(GreyTrack(GREY))
            await client._place(call, "1001", None)
            await call.answered()
            await phone.expect("CALL_ESTABLISHED")
            await gateway.kill()
            await gateway.start()
            await phone.expect("CALL_CLOSED")
            assert await call.ended() == "media-failed"
            await call.connection.close()
