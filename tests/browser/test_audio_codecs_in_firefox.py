"""G.711 and G.722 by a Firefox that offers nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests import peers
from tests.browser.audio_codecs import CODECS, ONLY, USED
from tests.browser.firefox_page import dialled

pytestmark = [pytest.mark.wall, pytest.mark.nightly]

LOUDNESS = """
  return (async () => {
    const stats = await window.__peer?.getStats() ?? [];
    for (const each of stats.values())
      if (each.type === 'inbound-rtp' && each.packetsReceived > 100)
        return Math.sqrt(each.totalAudioEnergy / each.totalSamplesDuration);
    return null;
  })();
"""


@pytest.mark.parametrize("codec", CODECS)
async def test_firefox_hears_its_own_tone_in_it(executable: str, tmp_path: Path, codec: str) -> None:
    """The echo is as loud as what Firefox says in place of a microphone, and in no other codec."""
    peers.network()
    async with dialled(executable, tmp_path, watch=ONLY.replace("NAME", codec)) as firefox:
        async with asyncio.timeout(60):
            while (loudness := await firefox.run(LOUDNESS)) is None:  # noqa: ASYNC110  # only asking tells
                await asyncio.sleep(0.2)
        used = await firefox.run(f"return ({USED})();")
    assert loudness > 0.03
    assert used == dict.fromkeys(("inbound-rtp", "outbound-rtp"), f"audio/{codec}")
