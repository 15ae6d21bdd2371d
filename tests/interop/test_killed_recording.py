"""kill -9 of `gateway run` while it records: what was said until then is in the file, by the clock."""

from __future__ import annotations

import asyncio
import contextlib
import time
import wave
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from bench.callee import Callee
from bench.calls import FORWARDED, calls_through
from bench.process import environment, running
from gateway.media.embedded.audio.pcm import Pcm
from tests.media.engine_support import frequency_of
from tests.media.tone_support import frames, speak
from tests.ports import listening

RATE, TONE = 16_000, 1000
LOOKS, BETWEEN = 16, 0.3
LATE = 1.0
"""Seconds that may be missing at the end of a file whose writer was killed."""
PATIENCE = 30.0

pytestmark = [pytest.mark.wall, pytest.mark.serial]


def phones_side(path: Path) -> Pcm:
    """What the file holds of who was called; nothing where it cannot be read yet."""
    parts = [np.zeros(0, np.int16)]
    with contextlib.suppress(av.error.FFmpegError, IndexError), av.open(str(path)) as container:
        resampler = av.AudioResampler(format="s16p", layout="stereo", rate=RATE)
        for frame in container.decode(audio=0):
            parts += [each.to_ndarray()[1] for each in resampler.resample(frame)]
    return np.concatenate(parts)


async def found(look: Callable[[], Path | None]) -> Path:
    """What the gateway is to make."""
    async with asyncio.timeout(PATIENCE):
        while (path := look()) is None:  # noqa: ASYNC110  # files tell nobody
            await asyncio.sleep(0.02)
    return path


@pytest.mark.parametrize("form", ["wav", "opus"])
async def test_a_recording_whose_gateway_was_killed_lacks_less_than_its_last_second(form: str, tmp_path: Path) -> None:
    """At each of many moments, and at its death: as long as the call has lasted, with what the phone said."""
    changes = {"RECORDING__CALLS": ["*"], "RECORDING__FORMAT": form, "RECORDING__MIN_FREE": "0"}
    phone = await Callee.open()
    settings = {"CODECS__WEBRTC": ["pcmu"], "CODECS__RTP": ["pcmu"], "MEDIA__PLANE": "python", **changes}
    environ = environment(str(tmp_path), phone.port, **listening(), **settings)
    folder = tmp_path / "recordings"
    with contextlib.closing(phone):
        async with running(environ, tmp_path / "log") as gateway, calls_through(gateway, phone, FORWARDED) as calls:
            await calls.grow(1)
            leg = calls.legs[0].phone
            over = asyncio.Event()
            speaking = asyncio.ensure_future(
                speak(
                    lambda packet: leg.socket.sendto(packet, leg.remote),
                    frames(TONE),
                    10_000,
                    asyncio.get_running_loop().time(),
                    over.is_set,
                )
            )
            path = await found(lambda: next(folder.glob(f"*.{form}"), None))
            await found(lambda: path if len(phones_side(path)) else None)
            held: list[tuple[float, float]] = []
            for _ in range(LOOKS):
                await asyncio.sleep(BETWEEN)
                now = time.monotonic()
                held.append((now, len(phones_side(path)) / RATE))
            gateway.process.kill()
            killed = time.monotonic()
            await asyncio.to_thread(gateway.process.wait)
            over.set()
            await speaking
    heard = phones_side(path)
    # The file that lags least behind the clock tells when the recording began, at the latest.
    began = min(now - seconds for now, seconds in held)
    assert max(now - began - seconds for now, seconds in held) < LATE
    assert killed - began - len(heard) / RATE < LATE
    assert abs(frequency_of(heard[-RATE:], RATE) - TONE) < 15
    if form == "wav":
        with wave.open(str(path)) as told:
            assert told.getnframes() == len(heard)
