"""JsSIP and SIP.js in Firefox: register, call, be called, digits, and a call that outlives its socket."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from gateway.media.embedded.addresses import own_addresses
from tests.browser.sip_pages import LIBRARIES, desk_phone, firefox_stage, hears
from tests.peers import missing

pytestmark = [pytest.mark.peer, pytest.mark.browser]

FIREFOX_HZ = 1000
"""What its fake microphone says."""


@pytest.fixture
def executable() -> str:
    """Path of a Firefox, and a machine where its ICE finds a way: it refuses loopback candidates."""
    found = shutil.which("firefox-esr") or shutil.which("firefox")
    if found is None:
        missing("Firefox", "the Debian package firefox-esr")
    if not own_addresses():
        if os.environ.get("CI"):
            pytest.fail("this machine has no address but loopback")
        pytest.skip("this machine has no address but loopback")
    return found


@pytest.mark.parametrize("library", LIBRARIES)
async def test_the_core_of_both_libraries_in_firefox(executable: str, tmp_path: Path, library: str) -> None:
    """Its tone is found at the phone by frequency; without a sound card it plays nothing, so packets are counted."""
    async with (
        firefox_stage(tmp_path, executable) as stage,
        desk_phone(stage.gateway) as desk,
        stage.phone(library) as page,
    ):
        await page.do("call", "601")
        await page.until("confirmed")
        await page.packets()
        await page.do("hangup")
        await page.until("ended")
        desk.dial(stage.gateway.uri("1002"))
        assert await page.until("incoming") == "1001"
        await page.do("answer")
        await page.until("confirmed")
        await page.packets()
        await hears(desk, FIREFOX_HZ)
        await page.do("digit", "5", "rtp")
        assert (await desk.expect("digit")).details["digit"] == "5"
        await page.get("phone.lose()")
        await page.until("registered")
        await page.do("restart")
        await page.packets()
        await hears(desk, FIREFOX_HZ)
        desk.hangup()
        await page.until("ended")
