"""How many of the calls that are offered complete, from few to far too many, at one gateway and at two of a cluster.

Run as `python -m bench.curve`; three minutes. sipp calls two users by turns, whose phones are both at the one gateway,
or one at each of the two: then each gateway is offered half of the calls, and half of them are for the other one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path

from bench.cluster import OTHER, gateways
from bench.overload import Caller, capacity, offer
from bench.sip import USER, _callee, _ended, _Phone
from bench.table import Result, report
from gateway.demo.ports import free_ports

STEPS = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0)
"""Rates that are offered, of the one that was carried."""
_LONG = 5.0
"""Seconds of each."""
_LOAD = "0.95"
"""limits.load, its default."""


def _curve(ports: list[int], name: str) -> list[Result]:
    """The rate that these gateways carry, and what completes of the others."""
    [callee] = free_ports(1)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        stack.enter_context(gateways(folder, ports, _LOAD))
        for user, port in zip((USER, OTHER), (ports[0], ports[-1]), strict=True):
            with contextlib.closing(_Phone(port, callee, user)) as phone:
                phone.register(f"sip:{user}@127.0.0.1:{callee}")
        stack.callback(_ended, _callee(callee))
        time.sleep(0.5)  # sipp says nowhere that it listens
        callers = []
        for port in ports:
            own = Path(folder) / f"caller-{port}"
            own.mkdir()
            callers.append(Caller(str(own), port, (USER, OTHER)))
        carried = max(found.rate for _, found in capacity(callers))
        results = [Result(f"{name}: calls that complete at most", carried, "calls/s")]
        for step in STEPS:
            time.sleep(2)  # until all calls are taken again
            found = offer(callers, carried * step, _LONG)
            fate = f"{found.rate:6.0f} completed, {found.refused} refused, {found.failed} lost"
            print(f"{name}: {carried * step:6.0f} calls/s offered ({step:g}), {fate}")
            results.append(Result(f"{name}: completed at {step:g} times that rate, of it", found.rate / carried, ""))
    return results


def main() -> bool:
    """Measure, print, write bench/results/curve.json."""
    missing = [name for name in ("sipp", "redis-server") if shutil.which(name) is None]
    if missing:
        print(f"{' and '.join(missing)} not installed: nothing is measured.")
        return True
    print(f"{os.cpu_count()} cores for gateways, Redis and sipp together; load average {os.getloadavg()[0]:.1f}")
    one, *two = free_ports(3)
    return report("curve", [*_curve([one], "one gateway"), *_curve(two, "two gateways")])


if __name__ == "__main__":
    raise SystemExit(0 if main() else 1)
