"""A program that listens and speaks: a spoken sentence comes to it through a real call, and its answer comes back."""

from __future__ import annotations

import asyncio
import fractions
import runpy
import subprocess
import time
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import pytest_asyncio
from aiortc import MediaStreamTrack, RTCPeerConnection
from numpy.typing import NDArray

from gateway import Application, Cause, Gateway, HungUp, Session, SessionError, Utterance
from gateway.demo.tones import sine
from tests import peers
from tests.docs_blocks import ROOT, blocks_of
from tests.interop.gateway import RpcBrowser, config_on_free_ports

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.wall]

RATE = 16_000
PATIENCE = 30.0
ANSWER_HZ = 1000


class Voice(MediaStreamTrack):
    """Says samples of 48 kHz when `speak` is called, and nothing before and after, paced in real time."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._line = np.zeros(0, np.int16)
        self._sent = 0
        self._began = time.monotonic()
        self.silent = asyncio.Event()
        self.silent_at = 0.0

    def speak(self, pcm: NDArray[np.int16]) -> None:
        self._line = np.concatenate([self._line, pcm])
        self.silent.clear()

    async def recv(self) -> av.AudioFrame:
        await asyncio.sleep(max(0.0, self._began + self._sent / 48_000 - time.monotonic()))
        part, self._line = self._line[:960], self._line[960:]
        if len(part) and not len(self._line):
            self.silent_at = time.monotonic()
            self.silent.set()
        samples = np.concatenate([part, np.zeros(960 - len(part), np.int16)])
        frame = av.AudioFrame.from_ndarray(samples[None, :], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, self._sent, fractions.Fraction(1, 48_000)
        self._sent += 960
        return frame


class Speaker(RpcBrowser):
    """A browser with a voice in the place of its tone."""

    def __init__(self) -> None:
        super().__init__()
        self.voice = Voice()

    def _new_connection(self) -> RTCPeerConnection:
        connection = super()._new_connection()
        self.voice = Voice()
        connection.getSenders()[0].replaceTrack(self.voice)
        return connection


class Agents:
    """Programs of one gateway, and what they have seen."""

    def __init__(self) -> None:
        self.application = Application(may_call=("6*",))
        self.utterances: asyncio.Queue[Utterance] = asyncio.Queue()
        self.played: asyncio.Queue[bool] = asyncio.Queue()
        self.seen: asyncio.Queue[object] = asyncio.Queue()
        self.application.call("80")(self.answers)
        self.application.call("81")(self.talks_on)
        self.application.call("82", plays="tone")(self.has_no_voice)

    async def answers(self, session: Session) -> None:
        """Says a tone after each utterance."""
        await session.answer()
        async for utterance in session.utterances(silence=0.4):
            self.utterances.put_nowait(utterance)
            self.played.put_nowait(await session.play(sine(ANSWER_HZ, 1.0, RATE), RATE))

    async def talks_on(self, session: Session) -> None:
        """Says a long tone until it is interrupted, then a short one, and hangs up."""
        await session.answer()
        self.played.put_nowait(await session.play(sine(ANSWER_HZ, 20.0, 48_000), 48_000, until_speech=True))
        self.played.put_nowait(await session.play(sine(ANSWER_HZ, 0.2, RATE)))

    async def has_no_voice(self, session: Session) -> None:
        """The engine plays for it."""
        try:
            session.audio()
        except SessionError as error:
            self.seen.put_nowait(error)
        await session.answer()
        try:
            await session.play(sine(ANSWER_HZ, 0.1, RATE))
        except SessionError as error:
            self.seen.put_nowait(error)
        async for event in session:
            self.seen.put_nowait(event)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def agents() -> Agents:
    return Agents()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(agents: Agents, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    config = config_on_free_ports(tmp_path_factory.mktemp("gateway"))
    async with Gateway(config, application=agents.application) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def alice(gateway: Gateway) -> AsyncIterator[Speaker]:
    async with Speaker() as browser:
        await browser.sign_in(gateway)
        yield browser


@pytest.fixture(scope="module")
def sentence(tmp_path_factory: pytest.TempPathFactory) -> NDArray[np.int16]:
    """A spoken sentence at 48 kHz."""
    file = tmp_path_factory.mktemp("speech") / "sentence.wav"
    subprocess.run(
        [peers.program("espeak-ng", "espeak-ng"), "-w", str(file), "Hello, is anybody there?"], check=True, timeout=30
    )
    with wave.open(str(file)) as spoken:
        rate, pcm = spoken.getframerate(), np.frombuffer(spoken.readframes(spoken.getnframes()), np.int16)
    moments = np.arange(0, len(pcm) / rate, 1 / 48_000)
    return np.interp(moments, np.arange(len(pcm)) / rate, pcm).astype(np.int16)


@pytest.mark.serial
async def test_an_agent_hears_a_sentence_and_answers_within_a_second(
    gateway: Gateway, agents: Agents, alice: Speaker, sentence: NDArray[np.int16]
) -> None:
    """One utterance as long as what was said; the answer's tone is at the ear within a second of the last word."""
    await alice.dial("80")
    await alice.status("talking")
    for _ in range(2):
        alice.voice.speak(sentence)
        await asyncio.wait_for(alice.voice.silent.wait(), PATIENCE)
        alice.listen_anew()
        await alice.tone(ANSWER_HZ)
        assert time.monotonic() - alice.voice.silent_at < 1.0
        utterance = await asyncio.wait_for(agents.utterances.get(), PATIENCE)
        assert utterance.seconds == pytest.approx(len(sentence) / 48_000 + 0.4, abs=0.6)
        assert await asyncio.wait_for(agents.played.get(), PATIENCE) is True
    await alice.hang_up()
    await gateway.idle()
    assert agents.utterances.empty()


async def test_a_caller_interrupts_an_agent(
    gateway: Gateway, agents: Agents, alice: Speaker, sentence: NDArray[np.int16]
) -> None:
    """What it says stops when the caller speaks; what it says then is said to its end, and it hangs up."""
    await alice.dial("81")
    await alice.status("talking")
    await alice.tone(ANSWER_HZ)
    assert agents.played.empty()
    alice.voice.speak(sentence)
    assert await asyncio.wait_for(agents.played.get(), PATIENCE) is False
    assert await asyncio.wait_for(agents.played.get(), PATIENCE) is True
    await alice.status("ready")
    await gateway.idle()


async def test_a_caller_that_hangs_up_ends_what_is_said(gateway: Gateway, agents: Agents, alice: Speaker) -> None:
    """`play` returns, and says that it was not said to its end."""
    await alice.dial("81")
    await alice.status("talking")
    await alice.tone(ANSWER_HZ)
    await alice.hang_up()
    assert await asyncio.wait_for(agents.played.get(), PATIENCE) is False
    await gateway.idle()


async def test_a_program_for_whom_the_engine_plays_has_no_voice(
    gateway: Gateway, agents: Agents, alice: Speaker
) -> None:
    """Nor has one whose call is not up: a sentence says what to do."""
    await alice.dial("82")
    await alice.status("talking")
    for _ in range(2):
        error = await asyncio.wait_for(agents.seen.get(), PATIENCE)
        assert "answer the call first, and without `plays`" in str(error)
    await alice.hang_up()
    assert await asyncio.wait_for(agents.seen.get(), PATIENCE) == HungUp(Cause.NORMAL)
    await gateway.idle()


@pytest.mark.serial
async def test_the_agent_of_lesson_12_answers_a_sentence_within_a_second(
    tmp_path: Path, sentence: NDArray[np.int16]
) -> None:
    """Its answer to what its recogniser of pitches cannot understand, each time it is spoken to."""
    lesson = runpy.run_path(str(ROOT / "examples/12_voice_agent/agent.py"))
    pitch = lesson["PITCH"]
    async with Gateway(config_on_free_ports(tmp_path), application=lesson["app"]) as running, Speaker() as browser:
        await browser.sign_in(running)
        await browser.dial("700")
        await browser.tone(pitch[lesson["GREETING"]][0])
        for _ in range(2):
            browser.voice.speak(sentence)
            await asyncio.wait_for(browser.voice.silent.wait(), PATIENCE)
            browser.listen_anew()
            await browser.tone(pitch[lesson["SORRY"]][0])
            assert time.monotonic() - browser.voice.silent_at < 1.0
            await asyncio.wait_for(lesson["new_turn"].wait(), PATIENCE)
            lesson["new_turn"].clear()
        await browser.hang_up()
        await running.idle()
    assert [(turn.heard, turn.answer, turn.whole) for turn in lesson["turns"]] == [("", lesson["SORRY"], True)] * 2


async def test_the_program_of_the_page_says_back_what_it_hears(tmp_path: Path, sentence: NDArray[np.int16]) -> None:
    """That of docs/api.md as it stands: who has said a sentence hears something; it is silent before."""
    [text] = [block.text for block in blocks_of(ROOT / "docs/api.md") if "parrot" in block.text]
    space: dict[str, Any] = {"__name__": "page"}
    exec(compile(text, "api.md", "exec"), space)
    async with Gateway(config_on_free_ports(tmp_path), application=space["app"]) as running, Speaker() as browser:
        await browser.sign_in(running)
        await browser.dial("700")
        await browser.status("talking")
        browser.voice.speak(sentence)
        await asyncio.wait_for(browser.voice.silent.wait(), PATIENCE)
        browser.listen_anew()
        await browser.first_sound()
        await browser.hang_up()
        await running.idle()
