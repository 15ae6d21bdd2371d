"""Ctrl-C while a program still imports: one sentence and status 130, as later. Imported before all that takes time."""

from __future__ import annotations

import signal
import sys
from types import TracebackType

INTERRUPTED = 130
"""Exit status of what Ctrl-C has ended, as shells have it: 128 and the number of SIGINT."""


def stopped() -> SystemExit:
    """Say that Ctrl-C has ended the program; what it is to raise then."""
    sys.stderr.write("Stopped by Ctrl-C.\n")
    return SystemExit(INTERRUPTED)


def _end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__cause__ or cause.__context__  # a package in C makes an ImportError of it
    if cause is not None:
        raise stopped() from None
    sys.__excepthook__(kind, error, trace)


sys.excepthook = _end
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # `gateway examples run` holds it back until here
