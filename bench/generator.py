"""The load generator of `bench/load`: built with the cargo that is there, told of calls, asked what it counted."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

CRATE: Final = Path(__file__).parent / "load"
BUILT: Final = Path(__file__).parents[1] / "plane" / "target" / "release"
"""Folder of the programs: `load` belongs to the Cargo workspace of `plane`."""


class GeneratorError(RuntimeError):
    """It cannot be built, or has ended with words on standard error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionKey:
    """Session key and salt of one direction (RFC 7714), AES-GCM."""

    key: bytes = field(repr=False)
    salt: bytes = field(repr=False)

    def __str__(self) -> str:
        return f"{self.key.hex()}:{self.salt.hex()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """One end of a call: a socket, where it sends to, what it sends and what it wants to hear."""

    call: int
    direction: int
    """0 or 1: which end of the call it is, and so which direction it sends."""
    fd: int
    """Datagram socket, bound; the generator connects it."""
    remote: tuple[str, int]
    payload_type: int
    """Of the packets it sends."""
    ssrc: int
    ticks: int = 160
    """RTP clock ticks of a packet."""
    source: str = "pattern:160"
    """"pattern:OCTETS", or "frames:NAME" of the run's frames."""
    check: str = "pattern"
    """"pattern", "tone:HZ" of mu-law, or "any"."""
    send: SessionKey | None = None
    receive: SessionKey | None = None
    consent: bytes = b""
    """A whole Binding request that is sent again and again; b"" for ends without ICE."""

    def __str__(self) -> str:
        host, port = self.remote
        return (
            f"end call={self.call} direction={self.direction} fd={self.fd} remote={host}:{port} "
            f"pt={self.payload_type} ssrc={self.ssrc} ticks={self.ticks} source={self.source} check={self.check} "
            f"send={self.send or '-'} receive={self.receive or '-'} consent={self.consent.hex() or '-'}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How long, how often, and what is spoiled on purpose."""

    seconds: float = 10.0
    """Measured time."""
    warmup: float = 2.0
    """Seconds before it."""
    interval_us: int = 20_000
    tick_us: int = 200
    """Sends that are due within one are done together."""
    corrupt: int = 0
    """Every so many packets one bit of the payload is changed after it was made; 0: none."""
    consent: float = 5.0
    """Seconds between two Binding requests of an end."""
    first: int = 0
    """RTP number of the first packet: a number that comes again under the same key is a replay."""
    frames: dict[str, Sequence[bytes]] = field(default_factory=dict)
    """Encoded audio by name."""

    @property
    def packets(self) -> int:
        """How many numbers an end uses up."""
        return round((self.warmup + self.seconds) * 1e6 / self.interval_us) + 1

    def __str__(self) -> str:
        lines = [
            f"run seconds={self.seconds} warmup={self.warmup} interval_us={self.interval_us} tick_us={self.tick_us} "
            f"corrupt={self.corrupt} consent={self.consent} first={self.first}"
        ]
        lines += [" ".join(["frames", name, *[each.hex() for each in frames]]) for name, frames in self.frames.items()]
        return "\n".join(lines)


def build() -> Path:
    """The generator's program, compiled where its sources are newer; raises GeneratorError without cargo."""
    cargo = shutil.which("cargo")
    if cargo is None:
        raise GeneratorError("the load generator needs cargo (package cargo) to be built")
    command = [cargo, "build", "--release", "--locked", "--quiet", "--jobs=2"]
    done = subprocess.run(command, cwd=CRATE, capture_output=True, text=True, check=False)
    if done.returncode:
        raise GeneratorError(f"the load generator does not build: {done.stderr[-2000:]}")
    return BUILT / "media-load"


async def generate(
    program: Path, run: Run, ends: Sequence[End], mark: Callable[[str], None] = lambda word: None
) -> dict[str, Any]:
    """Run it over these ends; what it reports.

    `mark` hears "begin" and "end" around the measured time. Raises GeneratorError with what it said.
    """
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        program, stdin=pipe, stdout=pipe, stderr=pipe, pass_fds=[end.fd for end in ends]
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    errors = asyncio.ensure_future(process.stderr.read())
    try:
        process.stdin.write("\n".join([str(run), *map(str, ends), ""]).encode())
        process.stdin.close()
        while line := (await process.stdout.readline()).decode().strip():
            if line.startswith("{"):
                report: dict[str, Any] = json.loads(line)
                return report
            mark(line)
        raise GeneratorError((await errors).decode() or "the load generator ended without a report")
    finally:
        if process.returncode is None:
            await asyncio.wait([asyncio.ensure_future(process.wait())], timeout=5)
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        await errors
