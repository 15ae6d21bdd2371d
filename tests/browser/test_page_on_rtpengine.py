"""The page in Chromium on a gateway whose media a real rtpengine carries."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page

from gateway.demo.browser import SoftphoneBrowser
from gateway.demo.phone import DeskPhone
from tests.browser.softphone import phone_hears, says, sees, talk
from tests.interop.gateway import PHONE_HZ, Gateway, config_on_free_ports, gateway_with
from tests.media.rtpengine_support import rtpengine

COLLECT = """
window.connections = [];
window.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(...how) { super(...how); window.connections.push(this); }
};
"""
FAIL = """() => {
  const connection = window.connections.at(-1);
  Object.defineProperty(connection, "connectionState", { configurable: true, get: () => "failed" });
  connection.dispatchEvent(new Event("connectionstatechange"));
  delete connection.connectionState;
}"""
"""Have the page believe that its way to the gateway is gone."""
CREDENTIALS = """() => {
  const { localDescription, remoteDescription } = window.connections.at(-1);
  return [localDescription, remoteDescription].map(({ sdp }) => /a=ice-ufrag:(\\S+)/.exec(sdp)[1]);
}"""

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """A gateway that drives a daemon of its own."""
    folder = tmp_path_factory.mktemp("rtpengine")
    with rtpengine() as daemon:
        engine = f"rtpengine:{daemon.address[0]}:{daemon.address[1]}"
        config = config_on_free_ports(folder, MEDIA__ENGINE=engine)
        async with gateway_with(config, folder / "gateway.log") as running:
            yield running


@pytest_asyncio.fixture(loop_scope="module")
async def bob(gateway: Gateway, page: SoftphoneBrowser) -> AsyncIterator[Page]:
    """Bob's page, in a profile of its own; alice's may use the camera, too."""
    await page.page.context.grant_permissions(["microphone", "camera"])
    browser = page.page.context.browser
    assert browser is not None
    context = await browser.new_context(permissions=["microphone", "camera"])
    other = await context.new_page()
    await other.goto(gateway.app.signed_in_url("bob"))
    await other.locator("body[data-view=idle]").wait_for()
    yield other
    await context.close()


async def test_the_page_calls_a_phone_holds_it_and_resumes(page: SoftphoneBrowser, phone: DeskPhone) -> None:
    """rtpengine knows no BUNDLE (RFC 9143): the page does not insist on one. Then hold, and resume."""
    await page.page.fill("#dial", "1001")
    await page.page.click("#call")
    await says(page.page, "Connected.")
    await phone_hears(phone)
    await page.page.click("#hold")
    await says(page.page, "On hold.")
    await page.page.click("#hold")
    await says(page.page, "Connected.")
    await phone_hears(phone)
    await page.page.click("#hangup")
    await says(page.page, "The call ended.")


async def test_two_pages_see_each_other(page: SoftphoneBrowser, bob: Page) -> None:
    """Voice and picture on a transport each."""
    alice = page.page
    await alice.fill("#dial", "bob")
    await alice.click("#video")
    await bob.click("#accept-video")
    await sees(alice, bob)
    await bob.click("#hangup")
    await says(alice, "The call ended.")


async def test_a_camera_that_comes_later_is_seen_as_well(page: SoftphoneBrowser, bob: Page) -> None:
    """The picture gets a transport of its own beside the voice's."""
    alice = page.page
    await alice.fill("#dial", "bob")
    await alice.click("#call")
    await bob.click("#accept")
    await says(alice, "Connected.")
    await alice.click("#camera")
    await sees(bob)
    await bob.click("#hangup")
    await says(alice, "The call ended.")


async def test_a_page_that_is_loaded_again_takes_its_call_back(page: SoftphoneBrowser, phone: DeskPhone) -> None:
    """Over a connection of its own, with other ICE credentials and another certificate, and then once more."""
    await talk(page, phone)
    for _ in range(2):
        await page.page.reload()
        await says(page.page, "Connected.")
        await phone_hears(phone)
        await page.tone(PHONE_HZ)
    await page.page.click("#hangup")
    await says(page.page, "The call ended.")


async def test_ice_begins_anew_and_the_call_goes_on(page: SoftphoneBrowser, phone: DeskPhone) -> None:
    """With other credentials of both sides; then each hears the other."""
    await page.page.add_init_script(COLLECT)
    await page.page.reload()
    await talk(page, phone)
    known = await page.page.evaluate(CREDENTIALS)
    await page.page.evaluate(FAIL)
    await page.page.wait_for_function(f"known => ({CREDENTIALS})().every(each => !known.includes(each))", arg=known)
    await phone_hears(phone)
    await page.tone(PHONE_HZ)
    await page.page.click("#hangup")
    await says(page.page, "The call ended.")
