"""Sound by signal through real calls: a sweep and speech in every codec pair."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bench import quality
from bench.pjsip import bridges
from bench.quality import Sound
from gateway.media.embedded.plane.packet import RtpPacket
from gateway.media.engine import MediaEngine
from tests import peers
from tests.media.engine_support import config, running

pytestmark = [pytest.mark.nightly, pytest.mark.serial, pytest.mark.timeout(180)]  # real time

WORST = 1.0
"""dB."""
HEARD = 6.0
"""dB by which what is heard of something is off at most."""


MOST_LATE = 20.0
"""ms that a sender may be behind its time: what comes later is concealed, which is no fault of a codec."""


async def measured(engine: MediaEngine, codecs: Sequence[str] = quality.CODECS) -> dict[tuple[str, str], Sound]:
    """What was said in time, of three times."""
    for _ in range(3):
        found = await quality.pairs(engine, codecs)
        if max(sound.late for sound in found.values()) < MOST_LATE:
            break
    return found


async def test_every_codec_pair_is_within_a_decibel() -> None:
    """Sweep, 300 to 3,400 Hz, to 7,000 Hz between G.722 and Opus; speech within two; both directions of ten calls."""
    async with quality.ours() as engine:
        found = await measured(engine)
    assert len(found) == 16
    assert {pair: sound for pair, sound in found.items() if sound.sweep > WORST or sound.speech > 2 * WORST} == {}


async def test_codecs_are_within_a_decibel_on_the_python_plane() -> None:
    """A pair of each kind: what is resampled, coded anew, forwarded."""
    async with running(config(silence_after=0.0)) as (engine, _):
        found = await measured(engine, ("g722", "pcmu"))
    assert {pair: sound for pair, sound in found.items() if sound.sweep > WORST or sound.speech > WORST} == {}


async def test_the_same_signal_is_heard_through_a_bridge_of_another_make() -> None:
    """By plain SIP through pjsua2, for the figures of docs/transcoding.md; how well it keeps time is not ours."""
    peers.pjsua2()
    async with bridges() as bridge:
        assert bridge is not None
        found = await quality.pairs(bridge, ("g722", "pcmu"))
    assert len(found) == 4
    assert {pair: sound for pair, sound in found.items() if sound.sweep > HEARD or sound.speech > HEARD} == {}


async def test_what_is_heard_may_wrap_and_is_of_the_far_end_alone() -> None:
    """Timestamps go on at 0 after the last one; a packet that was for somebody else who had the port is none of it."""
    end = await quality.End("pcmu").open()
    try:
        end.take(end.sdp().replace("127.0.0.1", "127.0.0.2"))
        _, port = end._transport.get_extra_info("sockname")
        for number in range(100):
            packet = RtpPacket(0, number, (2**32 - 4001 + 160 * number) % 2**32, 7, b"\x80" * 160, False)
            end.datagram_received(bytes(packet), ("127.0.0.2", port))
        end.datagram_received(bytes(RtpPacket(0, 5, 2**31, 8, b"\x80" * 160, False)), ("127.0.0.3", port))
        sound, _ = end.heard()
        assert len(end.came) == 100
        assert len(sound) == 99 * 160 + 4000  # the last packet's, cut after half a second
    finally:
        end.close()
