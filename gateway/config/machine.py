"""Facts about the machine that determine defaults."""

from __future__ import annotations

import os

_UNKNOWN_MEMORY = 4 * 1024**3


def cpus() -> int:
    """Return the number of CPUs available to the process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int:
    """Return the physical memory of the machine in bytes."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return _UNKNOWN_MEMORY
