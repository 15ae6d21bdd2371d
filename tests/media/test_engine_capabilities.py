"""Every field of an engine's capabilities beside what it does: said is done, not said is refused."""

from __future__ import annotations

import dataclasses
import wave
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.engine import Capabilities, Kind, MediaEngine, MediaError, Party, RecordingFile
from gateway.media.rtpengine.engine import RtpengineEngine
from sdp import SessionDescription, read_codecs
from tests.media import rtpengine_support
from tests.media.engine_support import browser_sdp, config, phone_sdp
from tests.rows import by_row

pytestmark = pytest.mark.wall

ENGINES: dict[str, Callable[[], MediaEngine]] = {
    "embedded": lambda: EmbeddedEngine(config()),
    "embedded, which transcodes nothing": lambda: EmbeddedEngine(config(transcode=False)),
    "rtpengine": lambda: RtpengineEngine(rtpengine_support.config(rtpengine_support.shared().address)),
}
BROWSER, PHONE, THIRD = Party("browser", Kind.WEBRTC), Party("phone", Kind.RTP), Party("third", Kind.RTP)
PICTURES = {"vp8": "96 VP8/90000", "h264": "97 H264/90000", "vp9": "98 VP9/90000", "av1": "99 AV1/90000"}


@asynccontextmanager
async def in_a_call(make: Callable[[], MediaEngine]) -> AsyncIterator[MediaEngine]:
    """With a browser and a phone that talk in the call "call"."""
    engine = make()
    await engine.start()
    try:
        await engine.offer("call", BROWSER, PHONE, browser_sdp())
        await engine.answer("call", PHONE, BROWSER, phone_sdp())
        yield engine
    finally:
        await engine.close()


async def can(request: Callable[[], object], refusal: int = 501) -> bool:
    """Whether that is done, and not refused with that status."""
    try:
        done = request()
        if isinstance(done, Awaitable):
            await done
    except MediaError as error:
        if error.status != refusal:
            raise
        return False
    return True


async def early_answer(engine: MediaEngine, folder: Path) -> bool:
    await engine.offer("early", BROWSER, PHONE, browser_sdp())
    return await can(lambda: engine.accept("early", BROWSER))


async def services(engine: MediaEngine, folder: Path) -> set[str]:
    found = set()
    for name in ("echo", "tone", "silence"):
        service = Party(name, Kind.SERVICE, service=name)
        if await can(lambda name=name, service=service: engine.offer(name, BROWSER, service, browser_sdp()), 488):  # type: ignore[misc]
            found.add(name)
    return found


async def transcodes(engine: MediaEngine, folder: Path) -> set[str]:
    """Codecs of offers to a phone that the browser does not speak."""
    found: set[str] = set()
    for spoken in ("opus", "pcmu"):
        offer = await engine.offer(spoken, BROWSER, PHONE, browser_sdp(codecs=(spoken,)))
        codecs = read_codecs(SessionDescription.parse(offer).media[0])
        found |= {codec.key[0] for codec in codecs if codec.is_media} - {spoken}
    return found


async def create_offer(engine: MediaEngine, folder: Path) -> bool:
    """To who comes in, and once more to who is there."""
    comes = await can(lambda: engine.create_offer("call", THIRD, BROWSER))
    assert comes == await can(lambda: engine.create_offer("call", PHONE, BROWSER))
    return comes


async def first_offer(engine: MediaEngine, folder: Path) -> bool:
    return await can(lambda: engine.create_offer("first", PHONE, BROWSER))


async def programs(engine: MediaEngine, folder: Path) -> bool:
    program = Party("program", Kind.SERVICE, service="program")
    offered = await can(lambda: engine.offer("program", BROWSER, program, browser_sdp()), 488)
    assert offered == await can(lambda: engine.audio("program", "program"))
    return offered


async def conferences(engine: MediaEngine, folder: Path) -> bool:
    with wave.open(str(folder / "sound.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(1600))
    played = await can(lambda: engine.play("call", str(folder / "sound.wav")))
    assert played == await can(lambda: engine.stop_playing("call"))
    assert played == await can(engine.conference)
    return played


async def recording(engine: MediaEngine, folder: Path) -> bool:
    wanted = RecordingFile(path=str(folder / "said.wav"))
    return await can(lambda: engine.record("call", wanted, lambda why: None))


async def video(engine: MediaEngine, folder: Path) -> set[str]:
    found = set()
    for name, coding in PICTURES.items():
        section = f"m=video 5006 RTP/AVP {coding.split()[0]}\r\na=rtpmap:{coding}\r\n"
        offer = await engine.offer(name, PHONE, THIRD, phone_sdp() + section)
        if any(media.kind == "video" and media.port for media in SessionDescription.parse(offer).media):
            found.add(name)
    return found


async def ringbacks(engine: MediaEngine, folder: Path) -> set[str]:
    """None is configured in these; tests/media/test_ringback.py has some."""
    return set()


async def protections(engine: MediaEngine, folder: Path) -> set[Kind]:
    found = set()
    for kind in (Kind.SDES, Kind.DTLS, Kind.BEST_EFFORT):
        offer = await engine.offer(kind.value, BROWSER, Party("callee", kind), browser_sdp())
        protocol, keys = (media := SessionDescription.parse(offer).media[0]).protocol, media.value("crypto")
        if (protocol, bool(keys)) == {
            Kind.SDES: ("RTP/SAVP", True),
            Kind.DTLS: ("UDP/TLS/RTP/SAVP", False),
            Kind.BEST_EFFORT: ("RTP/AVP", True),
        }[kind]:
            found.add(kind)
    return found


async def srtp_suites(engine: MediaEngine, folder: Path) -> set[str]:
    offer = await engine.offer("suites", BROWSER, Party("callee", Kind.SDES), browser_sdp())
    return {value.split()[1] for value in SessionDescription.parse(offer).media[0].values("crypto")}


async def keeps(engine: MediaEngine, folder: Path) -> bool:
    return engine.values("call") is not None


async def join(engine: MediaEngine, folder: Path) -> bool:
    """And, of parties that need no other offer for that, `adopt` and `release`."""
    joined = await can(lambda: engine.isolate("call", "browser")) and await can(
        lambda: engine.join("call", "browser", "phone")
    )
    await engine.offer("other", PHONE, THIRD, phone_sdp())
    await engine.answer("other", THIRD, PHONE, phone_sdp())
    assert joined == await can(lambda: engine.adopt("call", "other", "third"))
    assert not joined or await can(lambda: engine.release("call", "third"))
    return joined


async def key_frames(engine: MediaEngine, folder: Path) -> bool:
    return await can(lambda: engine.request_key_frame("call", "browser"))


PROBES: tuple[Callable[[MediaEngine, Path], Coroutine[Any, Any, object]], ...] = (
    early_answer, services, transcodes, create_offer, first_offer, programs, conferences, recording, key_frames, video,
    ringbacks, protections, srtp_suites, keeps, join,
)  # fmt: skip


def test_every_capability_is_looked_at() -> None:
    """A new field has a look below."""
    assert [each.__name__ for each in PROBES] == [each.name for each in dataclasses.fields(Capabilities)]


@by_row("name", ENGINES)
@by_row("does", PROBES, ids=lambda probe: probe.__name__)
async def test_what_is_said_is_what_is_done(
    name: str, does: Callable[[MediaEngine, Path], Coroutine[Any, Any, object]], tmp_path: Path
) -> None:
    """In both directions, so that who asks first is refused nothing and goes without nothing that there is."""
    async with in_a_call(ENGINES[name]) as engine:
        assert await does(engine, tmp_path) == getattr(engine.capabilities, does.__name__)
