"""Many two-way calls through a whole gateway: a browser's leg over HTTP, ICE and DTLS, a phone's over SIP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import httpx

from bench.browser import Browser, Connected, Identity
from bench.callee import Callee, PhoneCall
from bench.generator import End, Run, generate
from bench.process import PASSWORD, USER, Gateway, cpu_of, memory_of, threads_waited_for_a_core
from sdp import SessionDescription

AT_ONCE: Final = 8
"""Calls that are being set up at one time."""
TRIES: Final = 10
"""How often a call is tried that the gateway refuses for its load, each time as much later as it says."""
TONE: Final = 1000
"""Hz that each side of a transcoded call sends and the phone is to hear."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Codecs:
    """What both legs speak and what goes over them."""

    browser: tuple[str, ...] = ("0 PCMU/8000",)
    browser_ticks: int = 160
    browser_source: str = "pattern:160"
    browser_check: str = "pattern"
    phone: tuple[int, ...] = (0,)
    phone_source: str = "pattern:160"
    phone_check: str = "pattern"


FORWARDED: Final = Codecs()
TRANSCODED: Final = Codecs(
    browser=("111 opus/48000/2",),
    browser_ticks=960,
    browser_source="frames:opus",
    browser_check="any",
    phone_source="frames:pcmu",
    phone_check=f"tone:{TONE}",
)


@dataclass(slots=True)
class Leg:
    """One call, set up."""

    number: int
    browser: Browser
    connected: Connected
    payload_type: int
    """What the browser sends under."""
    phone: PhoneCall
    session: str


@dataclass(slots=True, kw_only=True)
class Measured:
    """What one number of calls cost; CPU in seconds within the measured time."""

    calls: int
    report: dict[str, Any]
    cpu: dict[str, float] = field(default_factory=dict)
    """By process: "gateway", "plane", "rtpengine"."""
    memory: dict[str, float] = field(default_factory=dict)
    """Octets a call, by process."""
    waited: dict[str, float] = field(default_factory=dict)
    """Seconds that the threads of a process could have run while others had the cores."""

    @property
    def packets(self) -> int:
        """Those that came through in both directions."""
        return sum(int(each["received"]) + int(each["corrupted"]) for each in self.report["directions"])

    @property
    def loss(self) -> float:
        """Share of the packets sent, in percent."""
        sent = sum(int(each["sent"]) for each in self.report["directions"])
        return 100.0 * sum(int(each["lost"]) for each in self.report["directions"]) / sent

    @property
    def wrong(self) -> int:
        """Packets that came and were not what was sent."""
        kinds = ("corrupted", "misdelivered", "duplicated", "unauthentic")
        return sum(int(each[kind]) for each in self.report["directions"] for kind in kinds)


@dataclass(slots=True)
class Calls:
    """The calls of one run through one gateway; more may be added."""

    gateway: Gateway
    callee: Callee
    codecs: Codecs
    client: httpx.AsyncClient
    identity: Identity
    legs: list[Leg] = field(default_factory=list)
    _sent: int = 0
    """RTP numbers that earlier runs have used up."""

    async def grow(self, count: int) -> None:
        """Set up calls until there are `count`. Raises what setting one up raises."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> None:
            async with gate:
                self.legs.append(await self._set_up(number))

        async with asyncio.TaskGroup() as group:
            for number in range(len(self.legs), count):
                group.create_task(one(number))

    async def _set_up(self, number: int) -> Leg:
        codecs = self.codecs
        types = " ".join(each.split()[0] for each in codecs.browser)
        browser = Browser(self.identity, types, codecs.browser)
        offer = {"sdp": {"type": "offer", "sdp": browser.offer()}, "to": f"9{number:05}"}
        for _ in range(TRIES):
            response = await self.client.post("/webrtc/offer", json=offer)
            if response.status_code != 503 or "Retry-After" not in response.headers:
                break
            await asyncio.sleep(int(response.headers["Retry-After"]))
        if response.status_code != 200:
            raise RuntimeError(f"call {number}: {response.status_code} {response.text[:300]}")
        said = response.json()
        answer = SessionDescription.parse(said["sdp"]["sdp"])
        connected = await asyncio.to_thread(browser.connect, answer)
        phone = await self.callee.call(f"9{number:05}")
        return Leg(number, browser, connected, int(answer.media[0].formats[0]), phone, said["session_id"])

    def ends(self) -> list[End]:
        """All ends, the browsers' first."""
        codecs = self.codecs
        browsers = [
            End(
                call=leg.number,
                direction=0,
                fd=leg.browser.socket.fileno(),
                remote=leg.connected.remote,
                payload_type=leg.payload_type,
                ssrc=2 * leg.number + 1,
                ticks=codecs.browser_ticks,
                source=codecs.browser_source,
                check=codecs.browser_check,
                send=leg.connected.send,
                receive=leg.connected.receive,
                consent=leg.connected.consent,
            )
            for leg in self.legs
        ]
        phones = [
            End(
                call=leg.number,
                direction=1,
                fd=leg.phone.socket.fileno(),
                remote=leg.phone.remote,
                payload_type=leg.phone.payload_type,
                ssrc=2 * leg.number + 2,
                source=codecs.phone_source,
                check=codecs.phone_check,
            )
            for leg in self.legs
        ]
        return browsers + phones

    async def measure(self, program: Path, run: Run, processes: dict[str, int], idle: dict[str, int]) -> Measured:
        """Run the generator over all calls; `processes` are watched by name, `idle` is their memory without calls.

        Raises RuntimeError where the gateway has ended calls meanwhile: what is measured is not what is said.
        """
        spent: dict[str, list[float]] = {name: [] for name in processes}
        waited: dict[str, list[float]] = {name: [] for name in processes}

        def mark(word: str) -> None:
            for name, pid in processes.items():
                spent[name].append(cpu_of(pid))
                waited[name].append(threads_waited_for_a_core(pid))

        report = await generate(program, replace(run, first=self._sent), self.ends(), mark)
        if self.callee.ended:
            raise RuntimeError(f"{self.callee.ended} of {len(self.legs)} calls have ended while they were measured")
        self._sent += run.packets
        memory = {name: (memory_of(pid) - idle[name]) / max(1, len(self.legs)) for name, pid in processes.items()}
        cpu = {name: after - before for name, (before, after) in spent.items()}
        stood = {name: after - before for name, (before, after) in waited.items()}
        return Measured(calls=len(self.legs), report=report, cpu=cpu, memory=memory, waited=stood)


@contextlib.asynccontextmanager
async def calls_through(found: Gateway, callee: Callee, codecs: Codecs) -> AsyncIterator[Calls]:
    """A table of calls, empty; all their sockets are closed with the context."""
    limits = httpx.Limits(max_connections=2 * AT_ONCE)
    async with httpx.AsyncClient(
        base_url=found.url, auth=(USER, PASSWORD), limits=limits, timeout=30, trust_env=False
    ) as client:
        calls = Calls(found, callee, codecs, client, Identity.make())
        try:
            yield calls
        finally:
            for leg in calls.legs:
                leg.browser.socket.close()


def frames() -> dict[str, Sequence[bytes]]:
    """A second of the tone in both codecs of a transcoded call, a packet each 20 ms."""
    from gateway.media.embedded.audio.codecs import make_encoder
    from gateway.media.embedded.audio.pcm import tone

    made: dict[str, Sequence[bytes]] = {}
    for codec in ("opus", "pcmu"):
        encoder = make_encoder(codec, 48000, 20)
        samples = tone(float(TONE), -10.0, encoder.rate, 1.0)
        starts = range(0, len(samples) - encoder.frame + 1, encoder.frame)
        made[codec] = [encoder.encode(samples[start : start + encoder.frame]) for start in starts]
    return made
