"""`gateway demo`: the main job done once for all to see, with real peers and no microphone."""

from __future__ import annotations

from gateway.interrupted import end_as_by_ctrl_c, interruptible, stopped

import asyncio
from contextlib import nullcontext

from rich.console import Console

from gateway.demo.report import DemoReport, print_report
from gateway.demo.runner import Demo, DemoOptions
from gateway.log.setup import silenced


def run_demo(browser: str, rounds: int, output: Console, *, verbose: bool = False) -> bool:
    """Run the demo and print its table; True when every step passed. Raises SystemExit after a signal."""
    with nullcontext() if verbose else silenced():
        return _run(browser, rounds, output)


def _run(browser: str, rounds: int, output: Console) -> bool:
    demo = Demo(DemoOptions(browser=browser, rounds=rounds), progress=lambda text: output.print(f"[dim]{text}[/]"))
    end_as_by_ctrl_c()
    try:
        report = asyncio.run(_whole(demo))
    except KeyboardInterrupt:
        raise stopped() from None
    print_report(report, output)
    return report.passed


async def _whole(demo: Demo) -> DemoReport:
    async with interruptible():
        return await demo.run()
