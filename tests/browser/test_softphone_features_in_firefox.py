"""What people do in a call, in Firefox: to a desk phone through the whole gateway, and with pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.demo.browser import SoftphoneBrowser
from tests import peers
from tests.browser.firefox import Firefox
from tests.browser.firefox_page import TEXT, press, until
from tests.browser.softphone import sees, silent
from tests.interop.gateway import BROWSER_HZ, config_on_free_ports, gateway_with

pytestmark = [pytest.mark.wall, pytest.mark.nightly]

INSERTED = """
  const insert = RTCDTMFSender.prototype.insertDTMF;
  window.inserted = [];
  RTCDTMFSender.prototype.insertDTMF = function (digits, ...given) {
    inserted.push(digits);
    insert.call(this, digits, ...given);
  };
"""


async def test_firefox_holds_presses_keys_reloads_and_transfers(executable: str, tmp_path: Path) -> None:
    """The phone hears Firefox's tone, nothing on hold, the keys, the tone again after a reload; then it has another."""
    peers.network()
    async with (
        gateway_with(config_on_free_ports(tmp_path), tmp_path / "gateway.log") as gateway,
        Firefox(executable) as firefox,
    ):
        phone, second = await gateway.phone("1001"), await gateway.phone("1002", 1046)
        phone.on_incoming(200)
        second.on_incoming(200)
        await firefox.open(gateway.app.signed_in_url("alice") + "&raw=1")
        await until(firefox, "return document.body.dataset.view", "idle")
        await firefox.run("document.getElementById('dial').value = '1001'")
        await press(firefox, "#call")
        await until(firefox, TEXT, "Connected.")
        await phone.listen()
        tone = float((await phone.expect("tone")).details["hz"])
        await press(firefox, "#hold")
        await until(firefox, TEXT, "On hold.")
        await silent(phone)
        await press(firefox, "#hold")
        await until(firefox, TEXT, "Connected.")
        await firefox.run(INSERTED)
        for key in ("4", "#"):
            await press(firefox, f"#pad [data-key='{key}']")
            assert (await phone.expect("digit")).details["digit"] == key
        assert await firefox.run("return inserted") == ["4", "#"]
        await firefox.command("WebDriver:Refresh", {})
        await until(firefox, TEXT, "Connected.")
        await phone.listen()
        assert float((await phone.expect("tone")).details["hz"]) == pytest.approx(tone, abs=15)
        await press(firefox, "#transfer")
        await firefox.run("document.getElementById('target').value = '1002'")
        await press(firefox, "#transferring [type=submit]")
        await until(firefox, TEXT, "The call was transferred.")
        await phone.listen()
        assert float((await phone.expect("tone")).details["hz"]) == pytest.approx(1046, abs=15)
        phone.hangup()
        await second.expect("state", state="ended")
        await gateway.idle()


SEES = """
  return (async () => {
    const video = document.getElementById('picture');
    const before = video.currentTime;
    await new Promise((done) => setTimeout(done, 300));
    return !video.hidden && video.videoWidth > 0 && video.currentTime > before;
  })();
"""


async def test_firefox_and_chromium_see_each_other(executable: str, tmp_path: Path) -> None:
    """A call with video from one to the other; a camera goes off and on again, and a reload keeps both pictures."""
    peers.network()
    async with (
        gateway_with(config_on_free_ports(tmp_path), tmp_path / "gateway.log") as gateway,
        Firefox(executable) as firefox,
        SoftphoneBrowser(peers.chromium(), BROWSER_HZ) as chromium,
    ):
        bob = chromium.page
        await bob.context.grant_permissions(["microphone", "camera"])
        await chromium.open(gateway.app.signed_in_url("bob"))
        await firefox.open(gateway.app.signed_in_url("alice") + "&raw=1")
        await until(firefox, "return document.body.dataset.view", "idle")
        await firefox.run("document.getElementById('dial').value = 'bob'")
        await press(firefox, "#video")
        await bob.click("#accept-video")
        await until(firefox, SEES, True)
        await sees(bob)
        await press(firefox, "#camera")
        await bob.locator("#picture").wait_for(state="hidden")
        await press(firefox, "#camera")
        await sees(bob)
        await bob.click("#camera")
        await until(firefox, "return document.getElementById('picture').hidden", True)
        await bob.click("#camera")
        await until(firefox, SEES, True)
        await firefox.command("WebDriver:Refresh", {})
        await until(firefox, TEXT, "Connected.")
        await until(firefox, SEES, True)
        await sees(bob)
        await bob.click("#hangup")
        await until(firefox, TEXT, "The call ended.")
        await gateway.idle()
