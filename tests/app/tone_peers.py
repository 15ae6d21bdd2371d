"""Phones and pages that each say a tone of their own, and tell several tones apart."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gateway.app import GatewayApp
from gateway.net.user_agent import UserAgent
from gateway.sip.auth.account import Credentials
from gateway.sip.invite import events
from tests.interop.gateway import PASSWORDS, RpcBrowser
from tests.media.engine_support import Phone as RtpPhone

RATE = 48_000
TONES = {"1001": 400.0, "1002": 700.0, "alice": 1000.0, "bob": 1300.0, "carol": 1600.0}


def tones_in(pcm: NDArray[Any], rate: int) -> set[float]:
    """Which of TONES are in the last half second, each within 20 dB of the loudest."""
    last = pcm[-rate // 2 :].astype(float)
    if len(last) < rate // 2 or np.abs(last).max() < 100:
        return set()
    spectrum = np.abs(np.fft.rfft(last * np.hanning(len(last))))
    near = {each: float(spectrum[round(each / 2) - 4 : round(each / 2) + 5].max()) for each in TONES.values()}
    return {each for each, strength in near.items() if strength > 0.1 * max(spectrum)}


def others(name: str, names: Iterable[str] = TONES) -> set[float]:
    return {TONES[one] for one in names} - {TONES[name]}


class Running(Protocol):
    """Whoever has a gateway that runs."""

    @property
    def app(self) -> GatewayApp: ...


class Ear:
    """What a browser hears, in the place of the demo's ear for one tone."""

    def __init__(self) -> None:
        self.pcm: NDArray[np.int16] = np.zeros(0, np.int16)
        self.first_sound: float | None = None

    def hear(self, frame: NDArray[np.int16], now: float) -> None:
        self.pcm = np.concatenate((self.pcm, frame))[-RATE:]

    def forget(self) -> None:
        self.pcm = self.pcm[:0]


class Browser(RpcBrowser):
    """A page that is aiortc, with a tone and an ear for many."""

    def __init__(self, name: str) -> None:
        super().__init__(TONES[name])
        self.ear = Ear()
        self._ear = self.ear  # type: ignore[assignment]  # all that is asked of it here

    def hears(self) -> set[float]:
        return tones_in(self.ear.pcm, RATE)

    async def call_id(self) -> str:
        return str((await self.ask("call.list"))["calls"][-1]["call_id"])


class Phone:
    """A desk phone: SIP by our own stack, RTP from a plain socket that says a tone in PCMU."""

    def __init__(self, agent: UserAgent, gateway: Running, user: str) -> None:
        self.user = user
        self.rtp = RtpPhone(("pcmu", "event"), ssrc=int(user))
        self._agent = agent
        self._gateway = gateway
        self.over: asyncio.Future[events.SessionEvent]

    async def dial(self, number: str, tone: float | None = None) -> int:
        """200 and the tone goes out, or what it was refused with."""
        await self.rtp.open()
        outcome = asyncio.get_running_loop().create_future()
        self.over = asyncio.get_running_loop().create_future()

        def heard(event: events.SessionEvent) -> None:
            if isinstance(event, events.Answered | events.Failed) and not outcome.done():
                outcome.set_result(event)
            if isinstance(event, events.Ended) and not self.over.done():
                self.over.set_result(event)

        app = self._gateway.app
        self.session = self._agent.invite(
            f"sip:{number}@{app.sip_hostport}",
            caller=f"<sip:{self.user}@{app.config.domain}>",
            body=self.rtp.sdp().encode(),
            credentials=Credentials(self.user, PASSWORDS[self.user]),
        )
        self.session.listen(heard)
        event = await asyncio.wait_for(outcome, 30)
        if isinstance(event, events.Failed):
            await self.rtp.close()
            return event.status
        self.rtp.take(event.body.decode())
        self.rtp.play(tone or TONES[self.user])
        return 200

    def hears(self) -> set[float]:
        self.rtp.packets = self.rtp.packets[-100:]
        return tones_in(*self.rtp.heard("pcmu"))

    async def press(self, digits: str) -> None:
        """RFC 4733, three packets of each event's end."""
        for digit in digits:
            self.rtp.press(digit)
            self.rtp.timestamp = (self.rtp.timestamp + 1600) & 0xFFFFFFFF
            await asyncio.sleep(0.1)  # as a finger does

    async def hang_up(self) -> None:
        self.session.hangup()
        await self.rtp.close()


def loudest(pcm: NDArray[Any]) -> float:
    """Hz of the loudest tone of the last fifth of a second."""
    last = pcm[-RATE // 5 :].astype(float)
    if len(last) < RATE // 5:
        return 0.0
    return float(np.argmax(np.abs(np.fft.rfft(last * np.hanning(len(last)))))) * 5
