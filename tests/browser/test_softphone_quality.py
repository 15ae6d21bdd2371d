"""What the page says of a network that loses packets: a real call in Chromium over a way that does."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.demo.browser import SoftphoneBrowser
from tests import peers
from tests.browser.lossy_link import LossyLink
from tests.interop.gateway import BROWSER_HZ, config_on_free_ports, gateway_with
from tests.ports import free_ports

pytestmark = [pytest.mark.wall, pytest.mark.nightly]


async def test_packets_that_get_lost_are_said_as_long_as_they_do(tmp_path: Path) -> None:
    """Four bars; with every fifth packet lost fewer, and a sentence with the share; then all is well again."""
    near, far = free_ports(2)
    changes = {"WEBRTC__LISTEN": f"127.0.0.1:{near}", "WEBRTC__ADVERTISED": f'["127.0.0.1:{far}"]'}
    config = config_on_free_ports(tmp_path, WEBRTC__OWN_ADDRESSES="false", **changes)
    async with (
        gateway_with(config, tmp_path / "gateway.log") as gateway,
        LossyLink(far, ("127.0.0.1", near)) as link,
        SoftphoneBrowser(peers.chromium(), BROWSER_HZ) as browser,
    ):
        await browser.open(gateway.app.signed_in_url("alice"))
        await browser.dial("600")
        await browser.status("talking")
        page = browser.page
        await page.locator("#quality[data-bars='4']").wait_for(timeout=30_000)
        assert not await page.is_visible("#trouble")
        link.share = 0.2
        await page.locator("#trouble", has_text="Your network loses packets").wait_for(timeout=30_000)
        assert int(await page.get_attribute("#quality", "data-bars") or 4) <= 2
        assert "of 4" in (await page.get_attribute("#quality", "aria-label") or "")
        link.share = 0.0
        await page.locator("#quality[data-bars='4']").wait_for(timeout=30_000)
        assert not await page.is_visible("#trouble")
        await browser.hang_up()
