"""The clock on a gateway's wall, in the hand of a test: what `time.time` says there may be set while it runs.

Only Python's: the packet plane looks at no clock that can be set (it has CLOCK_MONOTONIC alone).
"""

from __future__ import annotations

import mmap
import struct
import time
from pathlib import Path

_OFFSET = struct.Struct("=d")


class Clock:
    """Set by who has made it, looked at by every process that hangs it up."""

    def __init__(self, file: Path) -> None:
        self.file = file
        if not file.exists():
            file.write_bytes(_OFFSET.pack(0.0))
        with file.open("r+b") as opened:
            self._shared = mmap.mmap(opened.fileno(), _OFFSET.size)

    @property
    def offset(self) -> float:
        """Seconds that it is before the machine's."""
        return float(_OFFSET.unpack_from(self._shared)[0])

    @offset.setter
    def offset(self, seconds: float) -> None:
        _OFFSET.pack_into(self._shared, 0, seconds)

    def hang_up(self) -> None:
        """Have this process look at it: before anything is imported that keeps `time.time`."""
        real, real_ns = time.time, time.time_ns
        time.time = lambda: real() + self.offset
        time.time_ns = lambda: real_ns() + round(self.offset * 1e9)
