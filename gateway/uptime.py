"""How long ago a process wrote something down, though the clock of its machine was set since."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def clock() -> float:
    """Return seconds since the machine started, those in which it slept included."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def boot() -> tuple[str, float]:
    """What this start of the machine is called, "" where that is not known, and seconds since then."""
    try:
        return _BOOT.read_text(encoding="ascii").strip(), clock()
    except (OSError, UnicodeDecodeError):
        return "", 0.0


def elapsed(values: Mapping[str, Any], wall: float, now: tuple[str, float]) -> float:
    """Seconds since `values` were taken; `wall` is now, since 1970, and `now` what `boot` says.

    By the wall where they are another machine's, or of before its last start.
    """
    name, at = values.get("on_boot") or ("", 0.0)
    return max(now[1] - at if name and name == now[0] else wall - float(values["taken_at"]), 0.0)
