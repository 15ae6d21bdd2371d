"""Tables that lose a row or swap a next state, each in a fork in which a test that looks at the row must fail."""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any

import pytest


class Table(dict[Any, Any]):
    """Table that notes which rows are looked up; None stands for all."""

    noted: set[Any] = set()  # noqa: RUF012


def _noting(name: str) -> Any:
    plain = getattr(dict, name)

    def look(self: Table, *key: Any) -> Any:
        self.noted.add(key[0] if key else None)
        return plain(self, *key)

    return look


for _name in ("get", "__getitem__", "__contains__", "__iter__", "items", "values"):
    setattr(Table, _name, _noting(_name))


class Mutator:
    """pytest plugin that runs all tests in a fork, then in a fork for each mutant the tests that look at its row."""

    def __init__(self, name: str, module_name: str, say: Callable[[str], None]) -> None:
        self.name, self.say, self.survivors, self.failed, self.pipe = name, say, 0, False, -1
        module = importlib.import_module(module_name)
        plain = getattr(module, "TABLE", None) or module.TRANSITIONS
        self.table, self.rows = Table(plain), list(plain.items())
        for holder in [each for title, each in sys.modules.items() if title.startswith("gateway.")]:
            for key, value in list(vars(holder).items()):
                if value is plain:
                    setattr(holder, key, self.table)
                elif isinstance(value, type) and value.__dict__.get("table") is plain:
                    value.table = self.table  # type: ignore[attr-defined]

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        gc.freeze()
        notes, kills = self.forked(session.items, range(len(session.items))), Counter[int]()
        if not notes or any(note["failed"] for note in notes):
            raise pytest.UsageError(f"{self.name}: the tests fail without a mutant")
        states = list(dict.fromkeys(row[-1] if isinstance(row, tuple) else row for _, row in self.rows))
        for at, (key, row) in enumerate(self.rows):
            tests = [note for note in notes if {-1, at} & {*note["rows"]}]
            other = states[states.index(row[-1] if isinstance(row, tuple) else row) - 1]
            for mutant in (None, (row[0], other) if isinstance(row, tuple) else other):
                tests.sort(key=lambda note: (-kills[note["test"]], note["seconds"]))
                ran = self.forked(session.items, [note["test"] for note in tests], key, mutant)
                kills[ran[-1]["test"] if ran and ran[-1]["failed"] else -1] += 1
                if not ran or not ran[-1]["failed"]:
                    self.say(
                        f"{self.name}: {' '.join(map(str, key))} survives {f'-> {other}' if mutant else 'deleted'}"
                    )
        self.survivors = kills[-1]
        return True

    def forked(self, items: list[pytest.Item], numbers: Iterable[int], *mutant: Any) -> list[dict[str, Any]]:
        """Run tests in a fork, with a mutant until one fails; return a note of each."""
        reading, self.pipe = os.pipe()
        if not (child := os.fork()):
            if mutant:
                self.table.update([mutant]) if mutant[1] else self.table.pop(mutant[0])
            places = {None: -1} | {key: at for at, (key, _) in enumerate(self.rows)}
            for number in numbers:
                self.table.noted, begun = set(), perf_counter()
                items[number].ihook.pytest_runtest_protocol(item=items[number], nextitem=None)
                rows = [places[key] for key in self.table.noted if key in places]
                note = {"test": number, "rows": rows, "seconds": perf_counter() - begun, "failed": self.failed}
                os.write(self.pipe, f"{json.dumps(note)}\n".encode())
                if mutant and self.failed:
                    break
            os._exit(0)
        os.close(self.pipe)
        with open(reading) as lines:
            notes = [json.loads(line) for line in lines]
        return notes if os.waitpid(child, 0)[1] == 0 else [*notes, {"test": -2, "failed": True}]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.failed = self.failed or report.failed
