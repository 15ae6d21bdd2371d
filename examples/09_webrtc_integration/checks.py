"""What a lesson says of itself: each claim is checked, and the first that does not hold ends the program."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from gateway import log

COLUMN = 62


def run(lesson: Callable[[], Awaitable[None]]) -> None:
    """Run a lesson or a part of it; the last line is PASS."""

    async def timed() -> None:
        try:
            await lesson()
        except TimeoutError as error:
            sys.exit(f"FAIL: {error}")

    options = argparse.ArgumentParser()
    options.add_argument("--verbose", action="store_true", help="the gateway's log")
    finish_log = log.configure("info" if options.parse_args().verbose else "error")
    asyncio.run(timed())
    finish_log()
    print("PASS")


def check(condition: bool, words: str) -> None:
    """Print what holds; where it does not hold, say so and end the program with status 1."""
    if not condition:
        sys.exit(f"FAIL: {words}")
    print(f"  ok: {words}")


@asynccontextmanager
async def within(seconds: float, words: str) -> AsyncIterator[None]:
    """Wait so long for what these words say; TimeoutError with them."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise TimeoutError(f"{words}: not within {seconds:g} s; --verbose shows the gateway's log") from None


def near(heard: float, hz: float) -> bool:
    """Whether a frequency that was heard is the one that was said."""
    return abs(heard - hz) <= 15


def beside(left: list[str], right: list[str]) -> None:
    """Print two columns of lines; long lines are cut, and secrets are left out."""
    for pair in itertools.zip_longest(left, right, fillvalue=""):
        cells = [one if len(one) <= COLUMN else one[: COLUMN - 1] + "…" for one in map(hidden, pair)]
        print(f"  | {cells[0]:{COLUMN}} | {cells[1]}")


def hidden(line: str) -> str:
    """The line without an ICE password."""
    return "a=ice-pwd:…" if line.startswith("a=ice-pwd:") else line
