"""The demo's page stand-in hears a call whatever its codec becomes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import av
import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from gateway.demo.aiortc_browser import AiortcBrowser
from gateway.demo.tones import sine

_CODECS = ((48_000, "stereo", 440), (8_000, "mono", 700), (16_000, "mono", 1_000), (48_000, "stereo", 1_300))
"""Rate and layout that Opus, PCMU, G.722 and Opus again are decoded to, each with a tone of its own (Hz)."""


class Spoken(MediaStreamTrack):
    """Half a second of each codec, one after the other."""

    kind = "audio"

    def __init__(self, heard: list[float | None], browser: AiortcBrowser) -> None:
        super().__init__()
        self._frames = self._all(heard, browser)

    @staticmethod
    def _all(heard: list[float | None], browser: AiortcBrowser) -> Iterator[av.AudioFrame]:
        for rate, layout, hz in _CODECS:
            samples = sine(hz, 0.5, rate)
            for place in range(0, len(samples), rate // 50):
                mono = samples[place : place + rate // 50]
                packed = np.repeat(mono, 2) if layout == "stereo" else mono
                frame = av.AudioFrame.from_ndarray(packed[None], format="s16", layout=layout)
                frame.sample_rate = rate
                yield frame
            heard.append(browser._ear.tone())

    async def recv(self) -> av.AudioFrame:
        frame = next(self._frames, None)
        if frame is None:
            raise MediaStreamError
        return frame


async def test_the_page_stand_in_hears_on_when_the_codec_changes() -> None:
    """Each change brings another rate or layout, in the middle of one track."""
    browser, heard = AiortcBrowser(300), list[float | None]()
    await asyncio.wait_for(browser._listen(Spoken(heard, browser)), 30)
    assert [round(hz or 0, -1) for hz in heard] == [hz for _, _, hz in _CODECS]
