"""`gateway`, which writes down what it holds whenever it gets SIGUSR2: argument 1 is the file, the rest are its own.

Its collector has looked through everything by then, and what `lru_cache` remembers is forgotten: neither is a leak.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import json
import os
import signal
import sys
import weakref
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

_NAMES = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")


class _Heap(ctypes.Structure):
    """`mallinfo2` of glibc."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in _NAMES)


def _remembered(known: weakref.WeakSet[Any]) -> Callable[..., Any]:
    """`lru_cache` whose memories stand in `known`."""
    real = functools.lru_cache

    def lru_cache(*arguments: Any, **options: Any) -> Any:
        made = real(*arguments, **options)
        if hasattr(made, "cache_clear"):
            known.add(made)
            return made

        def decorate(function: Callable[..., Any]) -> Any:
            known.add(remembering := made(function))
            return remembering

        return decorate

    return lru_cache


def _held(file: Path, known: weakref.WeakSet[Any]) -> None:
    for each in tuple(known):
        each.cache_clear()
    gc.collect()
    ask = ctypes.CDLL(None).mallinfo2
    ask.restype = _Heap
    heap = ask()
    kinds = Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects())
    held = {"blocks": sys.getallocatedblocks(), "heap": heap.uordblks + heap.hblkhd, "kinds": kinds}
    draft = file.with_suffix(".new")
    draft.write_text(json.dumps(held))
    os.replace(draft, file)


if __name__ == "__main__":
    memories: weakref.WeakSet[Any] = weakref.WeakSet()
    functools.lru_cache = _remembered(memories)
    from gateway.cli import main

    where = Path(sys.argv.pop(1))
    signal.signal(signal.SIGUSR2, lambda *_: _held(where, memories))
    sys.argv[0] = "gateway"
    main()
