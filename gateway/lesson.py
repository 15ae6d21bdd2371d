"""How a program that teaches speaks and ends: claims that are checked, tables, ladders, PASS or FAIL."""

from __future__ import annotations

from gateway.interrupted import end_as_by_ctrl_c, interruptible, stopped

import asyncio
import itertools
import logging
import os
import sys
from argparse import ArgumentParser
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

from gateway.errors import GatewayError

__all__ = ["arrow", "beside", "check", "run", "table", "within"]


def run(
    main: Callable[[], Coroutine[Any, Any, None] | None],
    options: ArgumentParser | str | None,
    *,
    log: bool = False,
    seconds: float | None = None,
) -> None:
    """Run `main`, a function or a coroutine function, and end the program as it went; the last line is PASS or FAIL.

    `options` are those of its command line, or its description where there are none. With `log`, --verbose shows the
    gateway's log. A coroutine has `seconds`. FAIL, and why, goes to standard error with status 1: for a claim that does
    not hold, a GatewayError and a TimeoutError. After Ctrl-C the program cleans up and ends with status 130, so that
    this holds while it imports, too, it imports this module first; after SIGTERM with 143, after SIGHUP with 129.
    """
    end_as_by_ctrl_c()
    parser = options if isinstance(options, ArgumentParser) else ArgumentParser(description=options)
    if log:
        parser.add_argument("--verbose", action="store_true", help="the gateway's log")
    given = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    finish_log = _logging(given.verbose) if log else None
    try:
        if (made := main()) is not None:
            asyncio.run(_whole(made, seconds))
    except (KeyboardInterrupt, SystemExit) as end:
        logging.disable()  # tasks, and a browser's driver that Ctrl-C has ended as well, were not waited for
        if isinstance(end, SystemExit):
            raise
        raise stopped() from None
    except (GatewayError, TimeoutError) as error:
        late = "not done in time" if seconds is None else f"not done after {seconds:g} s"
        more = "; --verbose shows the gateway's log" if log else ""
        sys.exit(f"FAIL: {str(error) or late + more}")
    except BrokenPipeError:  # whoever reads has read enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    finally:
        if finish_log is not None:
            finish_log()
    _say("PASS")


def _logging(verbose: bool) -> Callable[[], None]:
    from gateway.log import configure  # a tenth of a second, which lessons without a gateway do without

    return configure("info" if verbose else "error")


async def _whole(main: Awaitable[None], seconds: float | None) -> None:
    async with interruptible(), asyncio.timeout(seconds):
        await main


def check(condition: bool, words: str) -> None:
    """Print what holds; where it does not hold, say so and end the program with status 1."""
    if not condition:
        sys.exit(f"FAIL: {words}")
    _say(f"  ok: {words}")


@asynccontextmanager
async def within(seconds: float, words: str) -> AsyncIterator[None]:
    """Wait so long for what these words say; TimeoutError with them."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise TimeoutError(f"{words}: not within {seconds:g} s") from None


def table(*rows: Sequence[object], widest: int = 62) -> None:
    """Print rows of cells in columns; what is longer than `widest` characters is cut."""
    cut = [[_cut(str(cell), widest) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in itertools.zip_longest(*cut, fillvalue="")]
    for row in cut:
        cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=False))
        _say(f"  | {' | '.join(cells)}".rstrip())


def beside(left: Sequence[str], right: Sequence[str]) -> None:
    """Print two columns of lines; long lines are cut, and ICE passwords and SDES keys are left out."""
    table(*itertools.zip_longest(map(_hidden, left), map(_hidden, right), fillvalue=""))


def arrow(left: str, label: str, right: str, *, back: bool = False, width: int = 54) -> None:
    """Print one step of a ladder between two peers; with `back` from right to left."""
    line = f"{f' {label} ':-^{width}}"
    _say(f"  {left} |{f'<{line}' if back else f'{line}>'}| {right}")


def _cut(cell: str, widest: int) -> str:
    return cell if len(cell) <= widest else f"{cell[: widest - 1]}…"


def _hidden(line: str) -> str:
    name, colon, _ = line.partition(":")
    return f"{name}:…" if colon and name in ("a=ice-pwd", "a=crypto") else line


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
