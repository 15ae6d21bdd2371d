"""What whole calls cost: 1 to 1,000 of them through a whole gateway, beside rtpengine with the same generator.

Every call has a browser's leg (HTTP, ICE, DTLS-SRTP with AES-GCM) and a phone's (SIP, plain RTP) on sockets of its
own, 50 packets/s each way, every payload checked to the last octet at the far end. The gateway, its plane,
rtpengine and the generator are processes of their own, and the CPU of each is told by the scheduler's count.
Run as `python -m bench.media`; `python -m bench.media 1 50` for those numbers of calls alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import shutil
import socket
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import uvloop

from bench.callee import Callee
from bench.calls import FORWARDED, TRANSCODED, Codecs, Measured, calls_through, frames
from bench.generator import End, GeneratorError, Run, SessionKey, build, generate
from bench.process import gateway, memory_of
from bench.rtpengine import rtpengine
from bench.table import Result, report

COUNTS: Final = (1, 50, 200, 500, 1_000)
TRANSCODED_CALLS: Final = 20
SECONDS: Final = 10.0
_GOALS_FROM: Final = 200
"""Calls from which on the goals hold: fewer cost more each, since the system calls are shared by less."""
_WARMUP: Final = 3.0
"""Seconds: the first packets of a stream go another way than the rest."""
_PORTS_A_CALL: Final = 4
_KEY: Final = SessionKey(key=bytes(16), salt=bytes(12))
_PEER: Final = "rtpengine, user space"


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Who carries the media of a series of measurements."""

    name: str
    settings: dict[str, Any]
    """Of the gateway."""
    daemon: int | None = None
    """Process id of rtpengine, where it is that."""


async def measured(program: Path, engine: Engine, codecs: Codecs, counts: Sequence[int]) -> list[Measured]:
    """One gateway on that engine with ever more calls; its log is kept where a call fails."""
    log = Path(tempfile.gettempdir()) / f"gateway-bench-{engine.name}.log"
    callee = await Callee.open(codecs.phone)
    run = Run(seconds=SECONDS, warmup=_WARMUP, frames=frames() if codecs is TRANSCODED else {})
    found: list[Measured] = []
    with contextlib.closing(callee):
        async with gateway(callee.port, log, **engine.settings) as running:
            processes = {"gateway": running.process.pid}
            if engine.daemon is not None:
                processes["rtpengine"] = engine.daemon
            elif (plane := running.plane()) is not None:
                processes["plane"] = plane
            async with calls_through(running, callee, codecs) as calls:
                await calls.grow(1)
                one = {name: memory_of(pid) for name, pid in processes.items()}
                for count in counts:
                    await calls.grow(count)
                    found.append(await calls.measure(program, run, processes, one))
                    print(f"{engine.name}: {count} calls measured", file=sys.stderr)
    return found


def series(program: Path, codecs: Codecs, counts: Sequence[int], **settings: Any) -> dict[str, list[Measured]]:
    """Ours, and rtpengine's where it is installed, one after the other."""
    found = {}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        ours = Engine(name="ours", settings=settings)
        found["ours"] = runner.run(measured(program, ours, codecs, counts))
        binary = shutil.which("rtpengine")
        if binary is None:
            print("There is no rtpengine here to measure beside.", file=sys.stderr)
            return found
        with rtpengine(binary, ports=_PORTS_A_CALL * (max(counts) + 10)) as daemon:
            host, port = daemon.address
            theirs = Engine(
                name="rtpengine",
                settings=settings
                | {
                    "MEDIA__ENGINE": f"rtpengine:{host}:{port}",
                    # What it does without help: these calls see no re-offer.
                    "MEDIA__RTPENGINE_RENUMBERS": "false",
                },
                daemon=daemon.process.pid,
            )
            found["rtpengine"] = runner.run(measured(program, theirs, codecs, counts))
    return found


def _micros(one: Measured, *names: str) -> float:
    """CPU in us a packet of those processes, as far as they are there."""
    return sum(one.cpu.get(name, 0.0) for name in names) / max(1, one.packets) * 1e6


def _compared(name: str, unit: str, ours: float, theirs: float | None, goal: str | None) -> Result:
    if theirs is None:
        return Result(name, ours, unit, None if goal and goal.startswith("ratio") else goal)
    return Result(name, ours, unit, goal, _PEER, theirs, theirs / ours if ours else None)


def rows(ours: Measured, theirs: Measured | None, ratio: str, *, forwarded: bool) -> list[Result]:
    """The figures of one number of calls; `ratio` is the goal of the CPU a packet."""
    what = f"{ours.calls:,} calls" if forwarded else f"{ours.calls:,} calls, Opus and PCMU"
    counted = ours.calls >= _GOALS_FROM

    def pair(read: Any) -> tuple[float, float | None]:
        return read(ours), read(theirs) if theirs is not None else None

    found = [
        _compared(
            f"{what}: CPU a packet, gateway and plane",
            "µs",
            _micros(ours, "gateway", "plane"),
            _micros(theirs, "rtpengine") if theirs is not None else None,
            ratio if counted or not forwarded else None,
        ),
        _compared(f"{what}: of it the gateway", "µs", *pair(lambda one: _micros(one, "gateway")), None),
        _compared(f"{what}: loss", "%", *pair(lambda one: one.loss), "value <= 0.1"),
        _compared(f"{what}: packets that are not what was sent", "packets", *pair(lambda one: one.wrong), "value <= 0"),
    ]
    if forwarded:
        for quantile, goal in (("median", None), ("p99", "value <= 5"), ("max", None)):
            delay = pair(lambda one, quantile=quantile: one.report["delay_us"][quantile] / 1e3)
            found.append(_compared(f"{what}: added delay, {quantile}", "ms", *delay, goal))
    if ours.calls > 1:
        memory = {name: ours.memory.get(name, 0.0) / 1000 for name in ("gateway", "plane")}
        full = counted and forwarded
        found += [
            Result(f"{what}: memory a call, plane", memory["plane"], "kB", "value <= 60" if full else None),
            Result(f"{what}: memory a call, in all", sum(memory.values()), "kB", "value <= 160" if full else None),
        ]
    cpu = pair(lambda one: 100.0 * one.report["cpu_seconds"] / one.report["seconds"])
    late = pair(lambda one: one.report["late_us"]["p99"] / 1e3)
    stood = pair(lambda one: 1e6 * sum(one.waited.get(name, 0.0) for name in ("plane", "rtpengine")) / one.packets)
    return [
        *found,
        _compared(f"{what}: the generator's CPU, of one core", "%", *cpu, None),
        _compared(f"{what}: how late the generator sends, p99", "ms", *late, None),
        # What a delay owes to the machine: while its threads stand here, no packet is worked on.
        _compared(f"{what}: waited for a core, plane or peer, a packet", "µs", *stood, None),
    ]


async def alone(program: Path, count: int) -> list[Result]:
    """What the generator is good for by itself: the same calls, each end sending to the other's socket."""
    with contextlib.ExitStack() as stack:
        ends: list[End] = []
        for call in range(count):
            pair = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2)]
            for one in pair:
                one.bind(("127.0.0.1", 0))
            ends += [
                End(
                    call=call,
                    direction=direction,
                    fd=one.fileno(),
                    remote=pair[1 - direction].getsockname(),
                    payload_type=0,
                    ssrc=2 * call + direction + 1,
                    send=_KEY,
                    receive=_KEY,
                )
                for direction, one in enumerate(pair)
            ]
        found = Measured(calls=count, report=await generate(program, Run(seconds=5.0, warmup=1.0), ends))
    what = f"the generator alone, {count:,} calls with SRTP at both ends"
    report = found.report
    return [
        Result(f"{what}: packets", found.packets / report["seconds"], "packets/s"),
        Result(f"{what}: CPU", 100.0 * report["cpu_seconds"] / report["seconds"], "% of one core"),
        Result(f"{what}: loss", found.loss, "%", "value <= 0"),
        Result(f"{what}: how late it sends, p99", report["late_us"]["p99"] / 1e3, "ms", "value <= 5"),
        Result(f"{what}: delay, p99", report["delay_us"]["p99"] / 1e3, "ms"),
    ]


def results(counts: Sequence[int]) -> list[Result]:
    """All of them. Raises GeneratorError where the generator cannot be built."""
    program = build()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # Nobody speaks until the last call is up; rtpengine hears of a browser by its packets alone.
    silent = {"WEBRTC__SETUP_TIMEOUT": 120}
    one_codec = silent | {"CODECS__WEBRTC": ["pcmu"], "CODECS__RTP": ["pcmu"]}
    two_codecs = silent | {"CODECS__WEBRTC": ["opus"], "CODECS__RTP": ["pcmu"]}
    found = asyncio.run(alone(program, max(counts)))
    plain = series(program, FORWARDED, counts, **one_codec)
    for place, ours in enumerate(plain["ours"]):
        theirs = plain["rtpengine"][place] if "rtpengine" in plain else None
        found += rows(ours, theirs, "ratio >= 2.5", forwarded=True)
    mixed = series(program, TRANSCODED, (TRANSCODED_CALLS,), **two_codecs)
    theirs = mixed["rtpengine"][0] if "rtpengine" in mixed else None
    return found + rows(mixed["ours"][0], theirs, "ratio >= 1.43", forwarded=False)


def main(counts: Sequence[int] = COUNTS) -> bool:
    """Measure, print the table, write bench/results/media.json; False when a goal is missed."""
    try:
        return report("media", results(counts))
    except GeneratorError as error:
        print(error, file=sys.stderr)
        return False


if __name__ == "__main__":
    sys.exit(0 if main(tuple(map(int, sys.argv[1:])) or COUNTS) else 1)
