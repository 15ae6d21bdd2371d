"""What answered calls cost in which nobody speaks: silence for the phones, and the timers of each call.

`python -m bench.silence [CALLS] [SECONDS]`: calls through a whole gateway, set up over HTTP and SIP, ICE and DTLS,
after which neither side sends anything. The CPU of the gateway and of its plane, with the default interval of silence
(`rtp.silence_interval`) and at full rate (0.02 s), and how many packets of silence the phones have received.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import resource
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop

from bench.callee import Callee
from bench.calls import FORWARDED, Leg, calls_through
from bench.process import cpu_of, gateway

_SETTLED = 7.0
"""Seconds from the last call to the measurement: past `rtp.silence_after` and the first interval."""


async def measured(count: int, seconds: float, **settings: Any) -> str:
    """One gateway with so many calls, as a line."""
    log = Path(tempfile.gettempdir()) / "gateway-bench-silence.log"
    callee = await Callee.open(FORWARDED.phone)
    silent = {"WEBRTC__SETUP_TIMEOUT": 120, "CODECS__WEBRTC": ["pcmu"], "CODECS__RTP": ["pcmu"]}
    with contextlib.closing(callee):
        async with gateway(callee.port, log, **silent, **settings) as running:
            processes = {"gateway": running.process.pid}
            if (plane := running.plane()) is not None:
                processes["plane"] = plane
            async with calls_through(running, callee, FORWARDED) as calls:
                await calls.grow(count)
                await _heard(calls.legs, _SETTLED)
                before = {name: cpu_of(pid) for name, pid in processes.items()}
                began = asyncio.get_running_loop().time()
                packets = await _heard(calls.legs, seconds)
                took = asyncio.get_running_loop().time() - began
                cpu = {name: 100 * (cpu_of(pid) - before[name]) / took for name, pid in processes.items()}
                if callee.ended:
                    raise RuntimeError(f"{callee.ended} of {count} calls have ended while they were measured")
    shares = ", ".join(f"{name} {share:.2f} %" for name, share in cpu.items())
    return f"{count} calls, {packets / took:.0f} packets of silence a second: {shares} of a core"


async def _heard(legs: Sequence[Leg], seconds: float) -> int:
    """How many packets come to the phones in that time; all are read each second, before a buffer is full."""
    end, heard = asyncio.get_running_loop().time() + seconds, 0
    while (left := end - asyncio.get_running_loop().time()) > 0:
        await asyncio.sleep(min(1.0, left))
        for leg in legs:
            with contextlib.suppress(BlockingIOError):
                while leg.phone.socket.recv(2048, socket.MSG_DONTWAIT):
                    heard += 1
    return heard


def main(arguments: Sequence[str]) -> None:
    """Measure what the command line asks for."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(prog="python -m bench.silence", description=__doc__.partition("\n")[0])
    parser.add_argument("calls", nargs="?", type=int, default=300, help="how many (300)")
    parser.add_argument("seconds", nargs="?", type=float, default=10.0, help="of each measurement (10)")
    asked = parser.parse_args(arguments)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for name, settings in (("default interval", {}), ("each 20 ms", {"RTP__SILENCE_INTERVAL": 0.02})):
        load = os.getloadavg()[0]
        print(f"{name}: {uvloop.run(measured(asked.calls, asked.seconds, **settings))} (load {load:.1f})", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
