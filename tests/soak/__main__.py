"""`python -m tests.soak`: calls, transfers and reloads for a while, and whether what the gateway holds stays level."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from tests.soak.collectors import HEP_RTCP, HEP_SIP, Collectors
from tests.soak.levels import Level, faults, show
from tests.soak.phones import FRESH, RECORDS, Outcomes, mistakes, soaking

RATE = 20.0
_SAMPLES = 60


async def run(minutes: float, rate: float, output: Console) -> bool:
    """Whether everything stayed level, no exception was logged, and the calls were as they should be."""
    with tempfile.TemporaryDirectory(prefix="soak") as name, Collectors() as collectors:
        folder = Path(name)
        async with soaking(folder, collectors) as (soak, config, log):
            loop, begun = asyncio.get_running_loop(), asyncio.get_running_loop().time()
            rests, calls = list[Level](), list[int]()
            samples: list[tuple[float, Level]] = []

            async def sample() -> None:
                while True:
                    await asyncio.sleep(max(1.0, minutes * 60 / _SAMPLES))
                    samples.append((loop.time() - begun, await soak.level()))

            # The first part warms up; what is held is compared from the middle to the end.
            for part in (0.2, 0.4, 0.4):
                sampling = asyncio.create_task(sample())
                await soak.load(minutes * 60 * part, rate, config)
                sampling.cancel()
                await asyncio.gather(sampling, return_exceptions=True)
                rests.append(await soak.rest())
                calls.append(soak.outcomes.calls)
            untold = await collectors.faults(folder / RECORDS)
        found = [*mistakes(log)[:5], *faults(rests[1], rests[2], calls[2] - calls[1]), *untold]
    show(output, rests, samples)
    found += _wrong(soak.outcomes)
    _say(soak.outcomes, minutes * 60, output)
    output.print(
        f"{len(collectors.records)} call records and {len(collectors.traces)} traces came; copies for Homer: "
        f"{collectors.copies[HEP_SIP]} messages, {collectors.copies[HEP_RTCP]} reports"
    )
    for line in found:
        output.print(line, markup=False, soft_wrap=True, style="red")
    return not found


def _say(outcomes: Outcomes, seconds: float, output: Console) -> None:
    each = ", ".join(f"{count} {what}" for what, count in sorted(outcomes.right.items()))
    output.print(
        f"{outcomes.calls} calls, {outcomes.calls / seconds:.1f} a second: {each}; "
        f"{outcomes.reloads} reloads, "
        f"{outcomes.refreshes.total()} refreshes"
    )
    if outcomes.starved or outcomes.held_back:
        output.print(
            f"{outcomes.starved} went otherwise while the machine had no core for them, and {outcomes.held_back:.0f} s "
            f"long others had to end first (load average {os.getloadavg()[0]:.1f})"
        )


def _wrong(outcomes: Outcomes) -> list[str]:
    """What went wrong, where more than one call of a thousand did; or where no registration was kept fresh."""
    if outcomes.refreshes[200] <= len(FRESH):
        return [f"of registrations that stay: {dict(outcomes.refreshes)}"]
    if outcomes.wrong.total() * 1000 <= outcomes.calls:
        return []
    return [f"{count} times {what}" for what, count in outcomes.wrong.most_common(10)]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=RATE, help="calls a second")
    given = parser.parse_args()
    sys.exit(0 if asyncio.run(run(given.minutes, given.rate, Console())) else 1)


if __name__ == "__main__":
    main()
