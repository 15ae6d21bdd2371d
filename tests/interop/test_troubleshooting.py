"""docs/troubleshooting.md: each symptom is caused, and the command under its heading tells which cause it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.sip.invite import events
from tests.app.ws_phone import WebSocketPhone
from tests.interop.gateway import PASSWORDS
from tests.interop.symptoms import PCMU, Rig, command, rigged, shell
from tests.net.peers import OFFER

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]

ORIGIN = "https://phone.example.com"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    async with rigged(tmp_path_factory.mktemp("gateway")) as running:
        yield running


async def test_a_phone_that_sends_nothing_has_received_0(rig: Rig) -> None:
    """One side hears nothing: the phone's audio does not come."""
    _, answered = await rig.calls("600", PCMU)
    assert isinstance(answered, events.Answered)
    [call] = rig.gateway.app.calls
    told = await rig.tells("One side hears nothing", "CALL_ID", call.id)
    [phone] = [one for one in told["media"] if one["party"].startswith("sip:1001@")]
    assert phone["received"]["packets"] == 0
    call.stop()
    await rig.gateway.idle()


async def test_a_dull_call_has_a_codec_of_telephones(rig: Rig) -> None:
    """The sound is dull or choppy: what tells which it is stands there, in both directions."""
    await rig.calls("600", PCMU)
    [call] = rig.gateway.app.calls
    told = await rig.tells("The sound is dull or choppy", "CALL_ID", call.id)
    [phone] = [one for one in told["media"] if one["party"].startswith("sip:1001@")]
    for way in ("received", "sent"):
        assert phone[way]["codec"] == "pcmu"
        assert {"lost", "jitter_ms", "mos"} <= phone[way].keys()
    call.stop()
    await rig.gateway.idle()


async def test_how_digits_come_is_in_the_messages_of_the_call(rig: Rig) -> None:
    """Digits are not understood: by INFO, where no telephone-event was agreed."""
    recorder, _ = await rig.calls("600", PCMU)
    [call] = rig.gateway.app.calls
    answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    recorder.session.info("application/dtmf-relay", b"Signal=5\r\n", done=answered.set_result)
    await asyncio.wait_for(answered, 30)
    told = await rig.tells("Digits are not understood", "CALL_ID", call.id)
    assert [one["title"] for one in told["messages"] if one["title"].startswith("INFO ")]
    assert not [one for one in told["messages"] if "telephone-event" in one["text"]]
    call.stop()
    await rig.gateway.idle()


async def test_a_user_whose_phone_is_not_registered_has_no_phones(rig: Rig) -> None:
    """It does not ring; once the phone is there, it is counted."""

    async def phones() -> int:
        told = await rig.tells("It does not ring", "/api/users")
        return int(next(user["phones"] for user in told["users"] if user["id"] == "1002"))

    assert await phones() == 0
    url, domain = rig.gateway.web.replace("http", "ws", 1) + "/sip", rig.gateway.config.domain
    phone = await WebSocketPhone.open(url, "1002", domain, PASSWORDS["1002"])
    try:
        assert (await phone.register()).status == 200
        assert await phones() == 1
        assert (await rig.tells("It does not ring", "2001", "1002"))["user"] == "1002"
        assert "error" in await rig.tells("It does not ring", "2001")
    finally:
        await phone.close()


async def test_an_offer_of_nothing_that_we_know_is_488_and_shown_by_its_codecs(rig: Rig, tmp_path: Path) -> None:
    """The page's two commands on that offer."""
    offer = OFFER.replace(b"AVP 0", b"AVP 18") + b"a=rtpmap:18 G729/8000\r\n"
    _, failed = await rig.calls("600", offer)
    assert isinstance(failed, events.Failed)
    assert failed.status == 488
    (tmp_path / "offer.sdp").write_bytes(offer)
    shown = await asyncio.to_thread(shell, command("488 Not Acceptable Here", "sdp show"), tmp_path)
    assert "G729" in shown
    assert "RTP/AVP" in shown
    linted = await asyncio.to_thread(shell, command("488 Not Acceptable Here", "sdp lint"), tmp_path)
    assert "0 errors" in linted


async def test_a_page_of_another_origin_gets_403_and_ours_101(rig: Rig) -> None:
    """Pages get 403, or the WebSocket closes at once."""
    line = command("Pages get 403, or the WebSocket closes at once", "curl")
    assert ORIGIN in line
    line = line.replace("http://127.0.0.1:8080", rig.gateway.web)
    assert (await asyncio.to_thread(shell, line)).startswith("HTTP/1.1 403 ")
    assert (await asyncio.to_thread(shell, line.replace(ORIGIN, rig.gateway.web))).startswith("HTTP/1.1 101 ")
