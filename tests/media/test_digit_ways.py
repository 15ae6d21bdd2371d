"""Each way in which a party takes digits: events, signalling only, tones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gateway.media.embedded.sources.digits import TelephoneEvent
from gateway.media.engine import Dtmf, DtmfReceived, Kind, MediaError, Party
from tests.media.engine_support import Phone, config, phone_sdp, running, until
from tests.rows import by_row

LEFT = Party("left", Kind.RTP, private_source="127.0.0.1")
RIGHT = Party("right", Kind.RTP, private_source="127.0.0.1")


@pytest.mark.parametrize("way", [Dtmf.INFO, Dtmf.INBAND])
async def test_a_phone_that_takes_no_events_is_neither_offered_nor_answered_any(way: Dtmf) -> None:
    """Whichever side it is on; and one that may is."""
    async with running() as (engine, _):
        phone = phone_sdp(codecs=("pcmu", "event"))
        assert "telephone-event" not in await engine.offer("a", LEFT, replace(RIGHT, dtmf=way), phone)
        await engine.offer("b", replace(LEFT, dtmf=way), RIGHT, phone)
        assert "telephone-event" not in await engine.answer("b", RIGHT, replace(LEFT, dtmf=way), phone)
        assert "telephone-event" in await engine.offer("c", LEFT, replace(RIGHT, dtmf=Dtmf.RFC4733), phone)


async def test_a_digit_that_the_other_side_takes_by_signalling_only_is_reported_as_not_passed_on() -> None:
    """So that whoever hears of it passes it on; the media itself refuses to."""
    right = replace(RIGHT, dtmf=Dtmf.INFO)
    async with running() as (engine, events):
        caller, callee = await Phone(("pcmu", "event"), ssrc=1).open(), await Phone(("pcmu",), ssrc=2).open()
        try:
            callee.take(await engine.offer("call", LEFT, right, caller.sdp()))
            caller.take(await engine.answer("call", right, LEFT, callee.sdp()))
            caller.send(bytes(TelephoneEvent(5, True, 10, 480)), 101, step=0)
            await until(lambda: DtmfReceived("call", "left", "5", 60) in events)
            for tones in (False, True):
                with pytest.raises(MediaError) as raised:
                    await engine.send_dtmf("call", "right", "5", tones=tones)
                assert raised.value.status == 488
        finally:
            await caller.close()
            await callee.close()


@by_row("codec", ["pcmu", "pcma", "g722", "opus"])
@by_row("way", [Dtmf.INBAND, Dtmf.AUTO])
async def test_a_digit_is_heard_as_its_two_tones(codec: str, way: Dtmf) -> None:
    """Row and column of the keypad (ITU-T Q.23), nothing louder, in every codec that can be made."""
    right = replace(RIGHT, dtmf=way)
    async with running(config(silence_after=0.0)) as (engine, _):
        caller, callee = await Phone((codec,), ssrc=1).open(), await Phone((codec,), ssrc=2).open()
        try:
            callee.take(await engine.offer("call", LEFT, right, caller.sdp()))
            caller.take(await engine.answer("call", right, LEFT, callee.sdp()))
            for digit in "x", "":
                with pytest.raises(MediaError) as raised:
                    await engine.send_dtmf("call", "right", digit, tones=True)
                assert raised.value.status == 400
            await engine.send_dtmf("call", "right", "8", 400, tones=way is Dtmf.AUTO)
            await until(lambda: len(callee.packets) == 20)
            pcm, rate = callee.heard(codec)
            middle = pcm[len(pcm) // 4 : 3 * len(pcm) // 4].astype(np.float64)
            spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
            power = spectrum**2
            hertz = np.fft.rfftfreq(len(middle), 1 / rate)
            row, column = (power[np.abs(hertz - tone) < 20].sum() / power.sum() for tone in (852, 1336))
            assert row + column > 0.9
            assert row > 0.3
            assert column > 0.3
        finally:
            await caller.close()
            await callee.close()
