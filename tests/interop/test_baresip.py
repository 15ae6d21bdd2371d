"""baresip as a desk phone at a whole gateway: an independent SIP stack, RTP stack and codecs."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.media.engine import Kind
from tests.interop.baresip import Baresip, baresip
from tests.interop.gateway import BROWSER_HZ, PASSWORDS, Gateway, RpcBrowser

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]

SINE_HZ = 660
"""What baresip says."""
CODECS = ("PCMU/8000/1", "G722/16000/1", "opus/48000/2")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(gateway: Gateway) -> RpcBrowser:
    """Alice."""
    return await gateway.browser("alice")


def desk_phone(
    gateway: Gateway, folder: Path, codec: str, source: str
) -> contextlib.AbstractAsyncContextManager[Baresip]:
    """Baresip as 1001."""
    password = PASSWORDS["1001"]
    return baresip(folder, "1001", password, gateway.sip, gateway.config.domain, codec=codec, source=source)


async def called(browser: RpcBrowser, phone: Baresip) -> None:
    """The browser calls it, it answers by itself."""
    await phone.expect("REGISTER_OK")
    await browser.dial("1001")
    await browser.status("talking")
    await phone.expect("CALL_ESTABLISHED")


@pytest.mark.core
@pytest.mark.parametrize("codec", CODECS)
async def test_a_browser_hears_the_tone_of_baresip(
    gateway: Gateway, browser: RpcBrowser, tmp_path: Path, codec: str
) -> None:
    """It registers with digest, answers by itself, and its sine is found in the browser; the browser hangs up."""
    async with desk_phone(gateway, tmp_path, codec, f"ausine,{SINE_HZ}") as phone:
        await called(browser, phone)
        await browser.tone(SINE_HZ)
        await browser.hang_up()
        await phone.expect("CALL_CLOSED")
        await gateway.idle()


@pytest.mark.parametrize("codec", CODECS)
async def test_what_a_browser_says_comes_back_out_of_baresip(
    gateway: Gateway, browser: RpcBrowser, tmp_path: Path, codec: str
) -> None:
    """Its loudspeaker is bridged to its microphone, so the browser's own tone returns; baresip hangs up."""
    async with desk_phone(gateway, tmp_path, codec, "aubridge,ear") as phone:
        await called(browser, phone)
        await browser.tone(BROWSER_HZ)
        phone.command("hangup")
        await browser.status("ready")
        await gateway.idle()


async def test_a_phone_that_takes_no_plain_rtp_is_offered_what_it_wants(
    gateway: Gateway, browser: RpcBrowser, tmp_path: Path
) -> None:
    """It refuses RTP/AVP; asked again with SDES keys it answers, and its tone is found in the browser."""
    password, place = PASSWORDS["1001"], gateway.sip
    async with baresip(
        tmp_path,
        "1001",
        password,
        place,
        gateway.config.domain,
        codec="PCMU/8000/1",
        source=f"ausine,{SINE_HZ}",
        encryption="srtp-mand",
    ) as phone:
        await called(browser, phone)
        await browser.tone(SINE_HZ)
        await browser.hang_up()
        await phone.expect("CALL_CLOSED")
        await gateway.idle()


async def test_baresip_calls_a_browser_by_dtls(gateway: Gateway, browser: RpcBrowser, tmp_path: Path) -> None:
    """UDP/TLS/RTP/SAVP without ICE (RFC 5763), RTCP apart: the browser's tone returns through its bridge."""
    async with baresip(
        tmp_path,
        "1001",
        PASSWORDS["1001"],
        gateway.sip,
        gateway.config.domain,
        codec="PCMU/8000/1",
        source="aubridge,ear",
        encryption="dtls_srtp",
    ) as phone:
        await phone.expect("REGISTER_OK")
        phone.command("dial", gateway.uri("alice"))
        await browser.status("ringing")
        await browser.accept()
        await phone.expect("CALL_ESTABLISHED")
        (call,) = gateway.app.calls
        assert call.caller.party.kind is Kind.DTLS
        await browser.tone(BROWSER_HZ)
        phone.command("hold")
        phone.command("resume")
        await browser.tone(BROWSER_HZ)
        await browser.hang_up()
        await phone.expect("CALL_CLOSED")
        await gateway.idle()


@pytest.mark.core
async def test_baresip_calls_a_browser(gateway: Gateway, browser: RpcBrowser, tmp_path: Path) -> None:
    """Alice's page rings and says who calls; once accepted, her tone returns through baresip's bridge."""
    async with desk_phone(gateway, tmp_path, "PCMA/8000/1", "aubridge,ear") as phone:
        await phone.expect("REGISTER_OK")
        phone.command("dial", gateway.uri("alice"))
        await browser.status("ringing")
        await phone.expect("CALL_RINGING")
        await browser.accept()
        await phone.expect("CALL_ESTABLISHED")
        await browser.tone(BROWSER_HZ)
        await browser.hang_up()
        await phone.expect("CALL_CLOSED")
        await gateway.idle()


async def test_baresip_dials_the_tone_service(gateway: Gateway, tmp_path: Path) -> None:
    """601 answers and baresip takes in the sound: its RTP stack reports the stream, the gateway counts it."""
    async with desk_phone(gateway, tmp_path, "PCMU/8000/1", "aubridge,ear") as phone:
        await phone.expect("REGISTER_OK")
        phone.command("dial", gateway.uri("601"))
        await phone.expect_all("CALL_ESTABLISHED", "CALL_RTPESTAB")  # its RTP may be there before it has read the 200
        (call,) = gateway.app.calls
        phone.command("hangup")
        await phone.expect("CALL_CLOSED")
        await call.finished()
        sent = call.record.statistics.parties[call.caller.party.tag].sent
        assert sent.codec is not None
        assert sent.codec.lower().startswith("pcmu")
        assert sent.packets > 0


async def test_a_wrong_password_of_baresip_is_refused(gateway: Gateway, tmp_path: Path) -> None:
    """It is told so, and has no binding."""
    async with baresip(
        tmp_path, "1002", "a-guess", gateway.sip, gateway.config.domain, codec="PCMU/8000/1", source="aubridge,ear"
    ) as phone:
        event = await phone.expect("REGISTER_FAIL")
        assert event["param"].startswith(("401", "403"))
