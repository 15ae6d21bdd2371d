"""SIGTERM and SIGHUP while `gateway run` still imports wait until it can answer them. Imported before what takes time.

By themselves they end a process, and a gateway that starts may have the calls of the one before to keep, or to end.
"""

from __future__ import annotations

import gateway.interrupted  # noqa: F401  # lets through what a program before has held back: not after this

import signal
import sys

_SIGNALS = {signal.SIGTERM, signal.SIGHUP}


def release() -> None:
    """Let them come, those that waited first; call it once both have a handler, before another program is started."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


if sys.argv[1:2] == ["run"]:
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
