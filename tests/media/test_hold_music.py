"""Who is on hold hears music, and the other side again when it is taken back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.app.media_settings import _hold_music_of
from gateway.config import Config
from gateway.media.embedded.describe import SERVICE_DESCRIPTION
from gateway.media.embedded.sources.music import GENERATED, prepare_music
from gateway.media.engine import Kind, MediaError, Party
from tests.media.engine_support import Phone, config, frequency_of, running, until
from tests.media.tone_support import sine

A = Party("a", Kind.RTP, private_source="127.0.0.1")
B = Party("b", Kind.RTP, private_source="127.0.0.1")


def near(value: float, wanted: float) -> bool:
    return abs(value - wanted) <= 8.0


@pytest.fixture
def music(tmp_path: Path) -> str:
    """Two seconds of 1500 Hz in a file."""
    path = str(tmp_path / "music.wav")
    sine(path, 1500)
    return path


@pytest.mark.parametrize("codec", ["pcmu", "g722", "opus"])
async def test_who_is_held_hears_music(codec: str, music: str) -> None:
    """In its own codec, though the holder goes on sending; taken back, they hear each other, and twice."""
    async with running(config(hold_music=music)) as (engine, _):
        a, b = await Phone((codec,)).open(), await Phone((codec,), ssrc=0x77).open()
        try:
            b.take(await engine.offer("call", A, B, a.sdp()))
            a.take(await engine.answer("call", B, A, b.sdp()))
            a.play(500.0, codec)
            b.play(900.0, codec)
            await until(lambda: near(frequency_of(*b.heard(codec)), 500.0))
            for _ in range(2):
                await engine.offer("call", A, B, a.sdp(direction="sendonly"))
                await engine.answer("call", B, A, b.sdp(direction="recvonly"))
                b.packets.clear()
                await until(lambda: near(frequency_of(*b.heard(codec)), 1500.0))
                a.packets.clear()
                b.packets.clear()
                await until(lambda: len(b.packets) >= 50)
                assert len(a.packets) <= 2  # keep-alive
                assert near(frequency_of(*b.heard(codec)), 1500.0)
                await engine.offer("call", A, B, a.sdp())
                await engine.answer("call", B, A, b.sdp())
                b.packets.clear()
                await until(lambda: near(frequency_of(*b.heard(codec)), 500.0))
                await until(lambda: near(frequency_of(*a.heard(codec)), 900.0))
        finally:
            await a.close()
            await b.close()


async def test_each_holder_has_music_of_its_own(tmp_path: Path, music: str) -> None:
    """As the entry of a user and of a trunk says, which a reload may change; others have the default."""
    lower = str(tmp_path / "lower.wav")
    sine(lower, 700)
    users = [{"id": "alice", "web": True, "hold_music": music}]
    entries = {"users": users, "trunks": [{"name": "t", "uri": "sip:t.test", "hold_music": lower}]}
    wanted = config(hold_music=GENERATED, hold_music_of=_hold_music_of(Config.model_validate(entries)))
    async with running(wanted) as (engine, _):

        async def heard(owner: str | None, hertz: float) -> None:
            a, b = await Phone(("pcmu",)).open(), await Phone(("pcmu",), ssrc=0x77).open()
            holder, call = replace(A, owner=owner), f"call-{owner}-{hertz}"
            try:
                b.take(await engine.offer(call, holder, B, a.sdp(direction="sendonly")))
                a.take(await engine.answer(call, B, holder, b.sdp(direction="recvonly")))
                await until(lambda: near(frequency_of(*b.heard("pcmu")), hertz))
            finally:
                await engine.delete(call)
                await a.close()
                await b.close()

        await heard("alice", 1500.0)
        await heard("trunk:t", 700.0)
        late = str(tmp_path / "late.wav")
        engine.change(replace(wanted, hold_music_of={"alice": late}))
        await engine._changing_music  # type: ignore[misc]  # it is there
        await heard("alice", 1500.0)
        sine(late, 1100)
        engine.change(replace(wanted, hold_music_of={"alice": late}))
        await engine._changing_music  # type: ignore[misc]  # it is there
        await heard("alice", 1100.0)
        engine.change(replace(wanted, hold_music_of={"alice": lower}))
        await engine._changing_music  # type: ignore[misc]  # it is there
        await heard("alice", 700.0)
        assert engine._resources is not None
        assert engine._resources.music.of("trunk:t") == engine._resources.music.of(None) != {}


async def test_the_default_music_is_changed_while_calls_go_on(tmp_path: Path, music: str) -> None:
    """Which a holder with music of its own does not notice; taken back before it is prepared, it stays what it was."""
    lower = str(tmp_path / "lower.wav")
    sine(lower, 700)
    before = config(hold_music=music, hold_music_of={"alice": music})
    async with running(before) as (engine, _):
        assert engine._resources is not None
        found = engine._resources.music
        first, own = found.of(None), found.of("alice")
        engine.change(replace(before, hold_music=lower))
        engine.change(before)
        engine.change(before)
        assert engine._changing_music is not None
        await asyncio.gather(engine._changing_music, return_exceptions=True)
        assert found.of(None) is first
        engine.change(replace(before, hold_music=lower))
        await engine._changing_music
        assert found.of(None) not in ({}, first)
        assert found.of("alice") is own
        engine.change(replace(before, hold_music=None))
        await engine._changing_music
        assert found.of(None) == {}
        assert found.of("alice") is own


async def test_the_music_of_a_holder_that_cannot_be_played_is_said_at_the_start(tmp_path: Path) -> None:
    """With whose it is."""
    with pytest.raises(MediaError, match="hold_music of alice"):
        async with running(config(hold_music_of={"alice": str(tmp_path / "none.wav")})):
            pytest.fail("it started")


async def test_who_is_parked_hears_music(music: str) -> None:
    """The service that is silent otherwise."""
    async with running(config(hold_music=music)) as (engine, _):
        phone, park = await Phone(("pcmu",)).open(), Party("park", Kind.SERVICE, service="silence")
        try:
            await engine.offer("call", A, park, phone.sdp())
            phone.take(await engine.answer("call", park, A, SERVICE_DESCRIPTION))
            await until(lambda: near(frequency_of(*phone.heard("pcmu")), 1500.0))
        finally:
            await phone.close()


async def test_music_that_cannot_be_played_is_said_at_the_start(tmp_path: Path) -> None:
    """With the key, and nothing runs."""
    for path in (tmp_path / "none.wav", tmp_path):
        with pytest.raises(MediaError, match=r"media\.hold_music"):
            async with running(config(hold_music=str(path))):
                pytest.fail("it started")


def test_generated_music_is_some_seconds_of_every_codec() -> None:
    """And is not silent."""
    frames = prepare_music(GENERATED)
    assert {name: len(each) for name, each in frames.items()} == dict.fromkeys(("g722", "opus", "pcma", "pcmu"), 300)
    assert len(set(frames["pcmu"])) > 200
