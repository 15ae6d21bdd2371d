"""Mutate what the gateway accepts for as long as asked: `python -m tests.fuzzing --seconds 60`.

Each kind is a module with `hunt(chance)`, which gives None for every mutation that is served, else a sentence.
"""

from __future__ import annotations

import argparse
import importlib
import random
import sys
import time
from collections.abc import Iterator

KINDS = {"headers": "tests.fuzzing.headers", "descriptions": "tests.fuzzing.descriptions"}
"""Module of each kind."""
_SHOWN = 20
"""Faults of one kind that are written out."""


def main(arguments: list[str] | None = None) -> int:
    """Hunt through every kind, or those named; return 1 where a mutation was refused."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzzing", description="Mutate what the gateway accepts.")
    parser.add_argument("--seconds", type=float, default=60, help="of a processor, for each kind (default 60)")
    parser.add_argument("--kind", choices=list(KINDS), action="append", help="of these alone (may come more than once)")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations (default 0)")
    given = parser.parse_args(arguments)
    found = 0
    for name in given.kind or KINDS:
        hunt: Iterator[str | None] = importlib.import_module(KINDS[name]).hunt(random.Random(given.seed))
        until, tried, faults = time.process_time() + given.seconds, 0, list[str]()
        while time.process_time() < until:
            fault = next(hunt)
            tried += 1
            faults += [] if fault is None else [fault]
        for fault in faults[:_SHOWN]:
            sys.stdout.write(f"{name}: {fault}\n")
        sys.stdout.write(f"{name}: {tried} tried, {len(faults)} refused\n")
        found += len(faults)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
