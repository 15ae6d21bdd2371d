"""`python -m tests.chaos`: what is lost when gateway, plane or what they stand on dies or is flooded, as tables."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from itertools import cycle, islice
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from tests.chaos import flood, kills, messages, page_messages, pages, reoffers, troubles
from tests.chaos.fates import Fate
from tests.chaos.kills import Kill
from tests.chaos.troubles import Trouble

KILLS = 20
MOST = 1000
CALLS = 50
FLOODED = 60
PARTS = ("messages", "page-messages", "reoffers", "troubles", "pages", "kills", "flood")


async def of_messages(folder: Path, console: Console) -> bool:
    """A kill at every message of a call; whether what became of each may be."""
    made, right = Table("killed at", "", "", "seconds", title="kill -9 of the gateway at a message of a call"), True
    try:
        async for death, after, may_be in messages.deaths_of_a_call(folder, lambda _: True):
            right &= may_be
            fate = str(after.fate) if may_be else f"[red]{after.fate}[/]"
            made.add_row(str(death), fate, after.told, f"{after.seconds:.2f}")
    finally:
        console.print(made)
    return right


async def of_page_messages(folder: Path, console: Console) -> bool:
    """A kill at every message of the calls of a page and of a program; whether what became of each may be."""
    names = ("", "killed at", "", "", "seconds")
    made, right = Table(*names, title="kill -9 of the gateway at a message of a page's call"), True
    try:
        async for kind, death, after, may_be in page_messages.deaths_of_page_calls(folder, lambda *_: True):
            right &= may_be
            fate = str(after.fate) if may_be else f"[red]{after.fate}[/]"
            made.add_row(kind, str(death), fate, after.told, f"{after.seconds:.2f}")
    finally:
        console.print(made)
    return right


async def of_reoffers(folder: Path, console: Console) -> bool:
    """A kill of the plane at every message of a change of a call; whether each went on soon, or may have ended."""
    names = ("", "plane killed at", "", "", "heard after")
    made, right = Table(*names, title="kill -9 of the packet plane at a message of a re-offer"), True
    try:
        async for change, message, after in reoffers.deaths_of_planes(folder, lambda *_: True):
            may_be = after.is_right(change)
            right &= may_be
            fate = str(after.fate) if may_be else f"[red]{after.fate}[/]"
            made.add_row(change, str(message), fate, after.told, f"{after.seconds:.2f}")
    finally:
        console.print(made)
    return right


async def of_troubles(folder: Path, console: Console, calls: int) -> bool:
    """Everything that may happen to a gateway with many calls; whether no call was lost, and nobody left alone."""
    names = ("", "calls up", *Fate, "ringing", *Fate, "back after", "longest gap", "new calls")
    made, right = Table(*names, title=f"{calls} calls with sound, {troubles.RINGING} that ring"), True
    try:
        async for each in troubles.troubles(folder, list(Trouble), calls):
            right &= each.is_right
            figures: list[object] = []
            for fates in (each.up, each.ringing):
                figures += [len(fates), *(fates.count(fate) for fate in Fate)]
            times = (f"{each.back:.2f} s", f"{each.longest_gap:.2f} s", "yes" if each.calls_after else "no")
            made.add_row(f"[red]{each.trouble}[/]" if not each.is_right else each.trouble, *map(str, figures), *times)
    finally:
        console.print(made)
    return right


async def of_pages(folder: Path, console: Console, wanted: Sequence[Kill], calls: int) -> bool:
    """Kills with calls between pages and sipp up; whether each call was kept."""
    outcomes = [each async for each in pages.strikes(folder, wanted, calls)]
    console.print(kills.table(outcomes, "Calls between pages and sipp"))
    return kills.is_kept(outcomes)


async def of_kills(folder: Path, console: Console, wanted: Sequence[Kill]) -> bool:
    """Kills with calls of real phones up; whether each call was kept."""
    outcomes = list[kills.Outcome]()
    try:
        async for each in kills.strikes(folder, wanted):
            outcomes.append(each)
            console.print(f"{len(outcomes)}/{len(wanted)} {each.kill}: {', '.join(each.fates)}; {each.back:.2f} s")
    finally:
        console.print(kills.table(outcomes))
    return kills.is_kept(outcomes)


async def of_flood(folder: Path, console: Console, seconds: int) -> bool:
    """Strangers who flood the SIP port; whether others' calls were set up within a second, in bounded memory."""
    found = await flood.flooded(folder, seconds)
    console.print(f"[{'green' if found.is_right else 'red'}]{found}[/]", soft_wrap=True)
    return found.is_right


async def _all(parts: Sequence[Callable[[Path], Awaitable[bool]]]) -> int:
    right = True
    for part in parts:
        with tempfile.TemporaryDirectory(prefix="gateway-chaos-") as folder:
            right &= await part(Path(folder))
    return 0 if right else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Do as the command line says; 0 when nothing was lost, 1 otherwise, 2 where a peer is not installed."""
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # a page's WebSocket that a kill ended
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=(__doc__ or "").partition(": ")[2])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all otherwise")
    parser.add_argument("--kills", type=int, default=KILLS, metavar="N", help=f"so many kills (default {KILLS})")
    parser.add_argument(
        "--of", choices=list(Kill), action="append", help="kills of these; in turns otherwise (may come more than once)"
    )
    parser.add_argument(
        "--calls", type=int, default=CALLS, metavar="N", help=f"up in troubles and pages (default {CALLS})"
    )
    parser.add_argument("--seconds", type=int, default=FLOODED, metavar="N", help=f"of a flood (default {FLOODED})")
    given = parser.parse_args(arguments)
    if not 1 <= given.kills <= MOST:
        parser.error(f"--kills is 1 to {MOST}")
    if not 1 <= given.calls <= MOST:
        parser.error(f"--calls is 1 to {MOST}")
    if not 1 <= given.seconds <= MOST:
        parser.error(f"--seconds is 1 to {MOST}")
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    console = Console(width=None if sys.stdout.isatty() else 120)
    wanted = list(islice(cycle(map(Kill, given.of or list(Kill))), given.kills))
    parts: dict[str, Callable[[Path], Awaitable[bool]]] = {
        "messages": lambda folder: of_messages(folder, console),
        "page-messages": lambda folder: of_page_messages(folder, console),
        "reoffers": lambda folder: of_reoffers(folder, console),
        "troubles": lambda folder: of_troubles(folder, console, given.calls),
        "pages": lambda folder: of_pages(folder, console, wanted[: 2 * len(Kill)], given.calls),
        "kills": lambda folder: of_kills(folder, console, wanted),
        "flood": lambda folder: of_flood(folder, console, given.seconds),
    }
    try:
        return asyncio.run(_all([parts[name] for name in PARTS if name in (given.parts or PARTS)]))
    except (pytest.skip.Exception, pytest.fail.Exception) as error:
        Console(stderr=True).print(str(error))
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
