"""A whole gateway whose media a real rtpengine carries, between an aiortc browser and the pjsua2 phone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from gateway.app import GatewayApp
from gateway.demo.chromium import BrowserError
from gateway.demo.phone import DeskPhone
from gateway.errors import ConfigError
from gateway.media.engine import Kind
from tests.interop.gateway import (
    BROWSER_HZ,
    NEAR,
    PASSWORDS,
    Gateway,
    RpcBrowser,
    config_on_free_ports,
    gateway_beside,
    gateway_with,
    hear_each_other,
)
from tests.media.rtpengine_support import rtpengine

SECOND_HZ = 1000

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """A gateway that drives a daemon of its own."""
    folder = tmp_path_factory.mktemp("rtpengine")
    with rtpengine() as daemon:
        engine = f"rtpengine:{daemon.address[0]}:{daemon.address[1]}"
        config = config_on_free_ports(folder, MEDIA__ENGINE=engine, RECORDING__BY_USERS="true")
        async with gateway_with(config, folder / "gateway.log") as running:
            yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(gateway: Gateway) -> RpcBrowser:
    """Alice."""
    return await gateway.browser("alice")


async def test_a_browser_calls_a_phone_and_hangs_up(gateway: Gateway, browser: RpcBrowser) -> None:
    """Tones both ways, the phone is told, the media is gone, and its statistics are in the record."""
    phone = await gateway.phone("1001")
    phone.on_incoming(200)
    await browser.dial("1001")
    await browser.status("talking")
    await hear_each_other(browser, phone)
    call = next(iter(gateway.app.calls))
    await browser.hang_up()
    await phone.expect("state", state="ended")
    await gateway.idle()
    statistics = call.record.statistics
    assert statistics is not None
    assert len(statistics.parties) == 2
    assert min(party.received.packets for party in statistics.parties.values()) > 10, statistics
    assert call.record.media_after_ms is not None
    await phone.close()


async def test_a_phone_calls_a_browser_and_hangs_up(gateway: Gateway, browser: RpcBrowser) -> None:
    """The daemon writes the browser's offer."""
    phone = await gateway.phone("1002")
    phone.dial(gateway.uri("alice"))
    await browser.status("ringing")
    await browser.accept()
    await phone.expect("state", state="answered")
    await hear_each_other(browser, phone)
    phone.hangup()
    await browser.status("ready")
    await gateway.idle()
    await phone.close()


async def talking(gateway: Gateway, browser: RpcBrowser, phone: DeskPhone) -> None:
    """The phone has called Alice, and each hears the other."""
    phone.dial(gateway.uri("alice"))
    await browser.status("ringing")
    await browser.accept()
    await phone.expect("state", state="answered")
    await hear_each_other(browser, phone)


async def heard(phone: DeskPhone, hz: float) -> None:
    """That tone reaches the phone, after whatever was still on its way."""
    async with asyncio.timeout(20):
        while True:
            await phone.listen()
            if abs(float((await phone.expect("tone")).details["hz"]) - hz) <= NEAR:
                return


async def over(gateway: Gateway, browser: RpcBrowser, *phones: DeskPhone) -> None:
    """Alice hangs up, and nothing is left."""
    await browser.hang_up()
    await gateway.idle()
    for phone in phones:
        await phone.close()


async def test_a_phone_passes_its_call_on_to_another_phone(gateway: Gateway, browser: RpcBrowser) -> None:
    """Blind: the page keeps its media and hears the next phone."""
    phone, second = await gateway.phone("1001"), await gateway.phone("1002", SECOND_HZ)
    second.on_incoming(200)
    await talking(gateway, browser, phone)
    phone.transfer(gateway.uri("1002"))
    await phone.expect("transfer", code=200, final=True)
    await phone.expect("state", state="ended")
    await heard(second, BROWSER_HZ)
    await hear_each_other(browser, second, hz=SECOND_HZ)
    await over(gateway, browser, phone, second)


async def test_a_refused_transfer_leaves_the_call(gateway: Gateway, browser: RpcBrowser) -> None:
    """The phone hears 603, and the two talk on."""
    phone, second = await gateway.phone("1001"), await gateway.phone("1002", SECOND_HZ)
    second.on_incoming(603)
    await talking(gateway, browser, phone)
    phone.transfer(gateway.uri("1002"))
    await phone.expect("transfer", code=603, final=True)
    await hear_each_other(browser, phone)
    await over(gateway, browser, phone, second)


@pytest.mark.parametrize("consulted", ["phone", "page"])
async def test_a_phone_connects_the_two_it_talks_with(gateway: Gateway, browser: RpcBrowser, consulted: str) -> None:
    """Attended, whichever it has called last: the phone among the two gets a re-INVITE, the page keeps its media."""
    phone, second = await gateway.phone("1001"), await gateway.phone("1002", SECOND_HZ)
    second.on_incoming(200)
    if consulted == "phone":
        await talking(gateway, browser, phone)
        phone.consult(gateway.uri("1002"))
        await second.expect("state", state="answered")
    else:
        phone.dial(gateway.uri("1002"))
        await phone.expect("state", state="answered")
        await second.expect("tone")
        phone.consult(gateway.uri("alice"))
        await browser.status("ringing")
        await browser.accept()
        await browser.status("talking")
    await phone.expect("state", state="answered")
    phone.connect()
    await heard(second, BROWSER_HZ)
    await hear_each_other(browser, second, hz=SECOND_HZ)
    await phone.expect("state", state="ended")
    await over(gateway, browser, phone, second)


async def test_a_phone_holds_a_page_and_takes_it_back(gateway: Gateway, browser: RpcBrowser) -> None:
    """The page is told, hears nothing, and hears it again."""
    phone = await gateway.phone("1001")
    phone.codecs("PCMU")  # of several it asks for one by an UPDATE, and lets its next re-INVITE cross that
    await talking(gateway, browser, phone)
    phone.hold()
    await browser.notified("call_held", held=True)
    phone.unhold()
    await browser.notified("call_held", held=False)
    await hear_each_other(browser, phone)
    await over(gateway, browser, phone)


async def test_recording_is_refused_in_a_sentence(gateway: Gateway, browser: RpcBrowser) -> None:
    """The page that wants to record hears why it cannot, over HTTP as well (501); the call goes on."""
    phone = await gateway.phone("1001")
    await talking(gateway, browser, phone)
    call = next(iter(gateway.app.calls))
    leg = next(leg for leg in call.legs if leg.party.kind is Kind.WEBRTC)
    with pytest.raises(BrowserError, match="does not record"):
        await browser.ask("call.record", call_id=leg.party.tag, on=True)
    auth = {"Authorization": f"Bearer alice:{PASSWORDS['alice']}"}
    async with httpx.AsyncClient(base_url=gateway.web, headers=auth, timeout=30) as http:
        refused = await http.put(f"/api/calls/{leg.party.tag}/recording", json={})
    assert refused.status_code == 501
    assert "does not record" in refused.text
    await hear_each_other(browser, phone)
    await over(gateway, browser, phone)


async def test_a_service_the_engine_does_not_have_is_unavailable(gateway: Gateway, browser: RpcBrowser) -> None:
    """Said to the caller as that, and not as a fault; the next call works."""
    said = await browser.refused("600")
    assert said is not None
    assert "not reachable" in said or said == "unavailable"


async def test_a_gateway_whose_rtpengine_is_away_says_which_setting(tmp_path: Path) -> None:
    """It does not start; the error names the key and the address."""
    with rtpengine() as daemon:
        host, port = daemon.address
    app = GatewayApp(config_on_free_ports(tmp_path, MEDIA__ENGINE=f"rtpengine:{host}:{port}"))
    with pytest.raises(ConfigError) as raised:
        await app.start()
    await app.stop()
    assert "media.engine" in str(raised.value)
    assert f"{host}:{port}" in str(raised.value)


async def test_who_finds_no_port_left_is_told_and_those_who_talk_go_on(gateway: Gateway, tmp_path: Path) -> None:
    """The ports of a rtpengine are enough for one call: a second one is refused, and made once that is over."""
    with rtpengine(ports=4) as daemon:
        engine = f"rtpengine:{daemon.address[0]}:{daemon.address[1]}"
        async with gateway_beside(gateway, config_on_free_ports(tmp_path, MEDIA__ENGINE=engine)) as few:
            alice, bob, phone = await few.browser("alice"), await few.browser("bob"), await few.phone("1001")
            phone.on_incoming(200)
            await alice.dial("1001")
            await alice.status("talking")
            await hear_each_other(alice, phone)
            assert await bob.refused("1001") == "limit"
            await hear_each_other(alice, phone)
            await alice.hang_up()
            await phone.expect("state", state="ended")
            await few.idle()
            await bob.dial("1001")
            await bob.status("talking")
            await hear_each_other(bob, phone)
            await bob.hang_up()
            await few.idle()
