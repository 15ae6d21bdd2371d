"""G.711 and G.722 by a Chromium that offers nothing else: what both sides hear, and in which codec."""

from __future__ import annotations

import pytest

from gateway.demo.browser import SoftphoneBrowser
from gateway.demo.phone import DeskPhone
from tests.browser.audio_codecs import CODECS, ONLY, USED
from tests.browser.softphone import talk

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]


@pytest.mark.parametrize("codec", CODECS)
async def test_chromium_speaks_it_with_the_phone(page: SoftphoneBrowser, phone: DeskPhone, codec: str) -> None:
    """Each hears the other's tone; the browser sends and receives nothing else."""
    await page.page.evaluate(f"() => {{ {ONLY.replace('NAME', codec)} }}")
    await talk(page, phone)
    assert await page.page.evaluate(USED) == dict.fromkeys(("inbound-rtp", "outbound-rtp"), f"audio/{codec}")
    await page.hang_up()
