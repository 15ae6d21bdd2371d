"""Ctrl-C, also while a program still imports, SIGTERM and SIGHUP: one sentence, and a status as shells have it.

Imported before all that takes time.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType, TracebackType

NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}
"""What ends a program: its keyboard, `kill` and `timeout`, a terminal that is closed."""
SIGNALLED = 128
"""Exit status of what a signal has ended, as shells have it: this and the signal's number."""
_ended_by: list[signal.Signals] = []


def stopped() -> SystemExit:
    """Say what has ended the program; what it is to raise then. No other signal changes how it ends from here on."""
    for each in NAMES:
        signal.signal(each, signal.SIG_IGN)
    [number] = _ended_by or [signal.SIGINT]
    try:
        sys.stderr.write(f"Stopped by {NAMES[number]}.\n")
    except OSError:  # its terminal is closed; what waits to be written would end it with status 120
        for stream in (sys.stdout, sys.stderr):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return SystemExit(SIGNALLED + number)


def end_as_by_ctrl_c() -> None:
    """Have SIGTERM and SIGHUP end the program as Ctrl-C does, unless they are ignored, as behind `nohup`."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _as_ctrl_c)


@asynccontextmanager
async def interruptible() -> AsyncIterator[None]:
    """Around what `asyncio.run` runs: after Ctrl-C that is what counts, whatever goes wrong while it cleans up."""
    import asyncio  # what takes time

    task = asyncio.current_task()
    try:
        yield
    finally:
        if task is not None and task.cancelling():
            raise asyncio.CancelledError


def _as_ctrl_c(number: int, frame: FrameType | None) -> None:
    """The first of them alone: a second Ctrl-C waits for nothing, but shells and `timeout` send theirs twice."""
    if _ended_by:
        return
    _ended_by.append(signal.Signals(number))
    interrupt = signal.getsignal(signal.SIGINT)
    if not callable(interrupt):  # ignored, as in the background of a script
        raise KeyboardInterrupt
    interrupt(signal.SIGINT, frame)


def _end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__cause__ or cause.__context__  # a package in C makes an ImportError of it
    if cause is not None:
        raise stopped() from None
    sys.__excepthook__(kind, error, trace)


sys.excepthook = _end
signal.pthread_sigmask(signal.SIG_UNBLOCK, NAMES)  # `gateway examples run` holds them back until here
