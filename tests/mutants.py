"""Delete a row of a data table or swap its next state, each in a fork, or apply a patch to a copy.

A test must fail: of a table one that looks at the row, of a patch one that its first lines name.
"""

import gc
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

HOME, RUN = Path(__file__).parent.parent, ("-xq", "-n0", "-p", "no:cacheprovider")
PATCHES = {file.stem: file.read_text() for file in sorted((HOME / "tests/data/mutants").glob("*.patch"))}
_SIP, _TRANSACTIONS, _SUBSCRIPTIONS = "gateway.sip", "sip/test_transaction*.py", "sip/test_[rs]*.py"
TABLES = {
    "attempt": ("gateway.call.attempt_table", "call/test_*.py"),
    "bridge": ("gateway.call.bridge_table", "call/test_*.py"),
    "dialog": (f"{_SIP}.invite.states", "sip/test_[diu]*.py"),
    "invite-client": (f"{_SIP}.transactions.invite_client", _TRANSACTIONS),
    "invite-server": (f"{_SIP}.transactions.invite_server", _TRANSACTIONS),
    "client": (f"{_SIP}.transactions.non_invite_client", _TRANSACTIONS),
    "server": (f"{_SIP}.transactions.non_invite_server", _TRANSACTIONS),
    "offer-answer": (f"{_SIP}.invite.offer_answer", "sip/test_offer_answer.py"),
    "notifier": (f"{_SIP}.subscription.states", _SUBSCRIPTIONS),
    "subscriber": (f"{_SIP}.subscription.subscriber_states", _SUBSCRIPTIONS),
    "registration": (f"{_SIP}.registration.client", "sip/test_registration_client.py"),
    "webrtc-leg": ("gateway.media.embedded.webrtc.states", "media/test_webrtc_leg.py"),
}
"""Name -> (module, tests)."""
_out = os.dup(1)


def say(line: str) -> None:
    """Print beside what pytest captures."""
    os.write(_out, f"{line}\n".encode())


class Mutator:
    """pytest plugin that runs all tests in a fork, then in a fork for each mutant the tests that look at its row."""

    def __init__(self, name: str) -> None:
        self.name, self.survivors, self.note = name, 0, dict[str, Any]()
        module, self.noted = importlib.import_module(TABLES[name][0]), set[Any]()
        plain = getattr(module, "TABLE", None) or module.TRANSITIONS
        looks = ("get", "__getitem__", "__contains__", "__iter__", "items", "values")
        self.rows, self.table = (
            list(plain.items()),
            type("Table", (dict,), {each: self.look(each) for each in looks})(plain),
        )
        for holder in [each for title, each in sys.modules.items() if title.startswith("gateway.")]:
            for key, value in list(vars(holder).items()):
                if value is plain:
                    setattr(holder, key, self.table)
                elif isinstance(value, type) and value.__dict__.get("table") is plain:
                    value.table = self.table  # type: ignore[attr-defined]

    def look(self, name: str) -> Any:
        """Return a method of dict that notes the row it looks up; None stands for all."""

        def noted(table: dict[Any, Any], *key: Any) -> Any:
            self.noted.add(key[0] if key else None)
            return getattr(dict, name)(table, *key)

        return noted

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        gc.freeze()
        notes, kills = self.forked(session.items, range(len(session.items))), [0] * len(session.items)
        if not notes or any(note["failed"] for note in notes):
            raise pytest.UsageError(f"{self.name}: the tests fail without a mutant")
        states = list(dict.fromkeys(row[-1] if isinstance(row, tuple) else row for _, row in self.rows))
        for at, (key, row) in enumerate(self.rows):
            tests = [note for note in notes if {-1, at} & {*note["rows"]}]
            other = states[states.index(row[-1] if isinstance(row, tuple) else row) - 1]
            for mutant in (None, (row[0], other) if isinstance(row, tuple) else other):
                tests.sort(key=lambda note: (-kills[note["test"]], note["seconds"]))
                ran = self.forked(session.items, [note["test"] for note in tests], key, mutant)
                if ran and ran[-1]["failed"]:
                    kills[ran[-1]["test"]] += 1
                else:
                    self.survivors += 1
                    say(f"{self.name}: {' '.join(map(str, key))} survives {f'-> {other}' if mutant else 'deleted'}")
        say(f"{self.name}: {self.survivors} of {2 * len(self.rows)} mutants survive")
        return True

    def forked(self, items: list[pytest.Item], numbers: Iterable[int], *mutant: Any) -> list[dict[str, Any]]:
        """Run tests in a fork, with a mutant until one fails; return a note of each."""
        reading, self.pipe = os.pipe()
        if not (child := os.fork()):
            self.mutant, places = mutant, {None: -1} | {key: at for at, (key, _) in enumerate(self.rows)}
            if mutant:
                self.table.update([mutant]) if mutant[1] else self.table.pop(mutant[0])
            for number in numbers:
                self.note, begun = {"test": number, "failed": False}, perf_counter()
                self.noted.clear()
                items[number].ihook.pytest_runtest_protocol(item=items[number], nextitem=None)
                self.note["rows"] = [places[key] for key in self.noted if key in places]
                self.write(seconds=perf_counter() - begun)
            os._exit(0)
        os.close(self.pipe)
        with open(reading) as lines:
            notes = [json.loads(line) for line in lines]
        return notes if os.waitpid(child, 0)[1] == 0 else [*notes, {"test": 0, "failed": True}]

    def write(self, **more: float) -> None:
        os.write(self.pipe, f"{json.dumps(self.note | more)}\n".encode())

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.note["failed"] |= report.failed
        if report.failed and self.mutant:  # one row of a test is enough
            self.write()
            os._exit(0)


def survives(name: str) -> bool:
    """Run the tests of a table against its mutants, or those that a patch names against its code."""
    if name in TABLES:
        mutator = Mutator(name)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        files = map(str, sorted((HOME / "tests").glob(TABLES[name][1])))
        return pytest.main([*RUN[:0], "-q", *RUN[1:], *files], plugins=[mutator]) != 0 or mutator.survivors > 0
    with tempfile.TemporaryDirectory() as copy:
        for folder in ("gateway", "sdp", "tests"):
            shutil.copytree(HOME / folder, f"{copy}/{folder}")
        shutil.copy2(HOME / "pyproject.toml", copy)
        subprocess.run(["patch", "-sp1"], cwd=copy, check=True, input=PATCHES[name], text=True)
        tests = [line for line in PATCHES[name].splitlines() if line.startswith("tests/")]
        run = [sys.executable, "-m", "pytest", *RUN, *tests]
        code = subprocess.run(run, cwd=copy, stdout=subprocess.DEVNULL, check=False).returncode
    say(f"{name}: {'dies' if code == 1 else 'survives'}")
    return code != 1


if __name__ == "__main__":
    chosen = sys.argv[1:] or [*TABLES, *PATCHES]
    if len(chosen) == 1:
        sys.exit(survives(*chosen))
    sys.exit(
        max(subprocess.run([sys.executable, "-m", "tests.mutants", each], check=False).returncode for each in chosen)
    )
