"""Delete a row of a data table, or swap its next state: a test that looks at the row must fail.

Each mutant of a table lives in a fork. With `--patches` each patch of tests/data/mutants is applied to a copy of the
repository instead, and one of the tests that its first lines name must fail.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.table_mutants import Mutator

HOME = Path(__file__).parent.parent
PATCHES = HOME / "tests/data/mutants"
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


def mutated(name: str) -> bool:
    """Run the tests of a table against its mutants; tell whether one survives."""
    mutator = Mutator(name, TABLES[name][0], say)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    files = map(str, sorted((HOME / "tests").glob(TABLES[name][1])))
    if pytest.main(["-q", "-n0", "-p", "no:cacheprovider", *files], plugins=[mutator]) != 0:
        return True
    say(f"{name}: {mutator.survivors} of {2 * len(mutator.rows)} mutants survive")
    return mutator.survivors > 0


def patched(name: str, copy: str) -> bool:
    """Apply a patch to a copy and run the tests that it names, one a line; tell whether it survives."""
    patch = (PATCHES / f"{name}.patch").read_text()
    tests = [line for line in patch.splitlines() if line.startswith("tests/")]
    subprocess.run(["patch", "-sp1"], cwd=copy, check=True, input=patch, text=True)
    run = [sys.executable, "-m", "pytest", "-xq", "-n0", "-p", "no:cacheprovider", *tests]
    code = subprocess.run(run, cwd=copy, stdout=subprocess.DEVNULL, check=False).returncode
    subprocess.run(["patch", "-sRp1"], cwd=copy, check=True, input=patch, text=True)
    say(f"{name}: {'dies' if code == 1 else 'survives'}")
    return code != 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"tables ({', '.join(TABLES)}), or patches; all without a name")
    parser.add_argument("--patches", action="store_true", help="apply patches instead")
    options = parser.parse_args()
    if options.patches:
        names = options.names or sorted(each.stem for each in PATCHES.glob("*.patch"))
        with tempfile.TemporaryDirectory() as copy:
            for folder in ("gateway", "sdp", "tests"):
                shutil.copytree(HOME / folder, f"{copy}/{folder}")
            shutil.copy2(HOME / "pyproject.toml", copy)
            return int(sum(patched(name, copy) for name in names) > 0)
    if len(options.names) == 1:
        return int(mutated(options.names[0]))
    each = [sys.executable, "-m", "tests.mutants"]
    return max(subprocess.run([*each, name], check=False).returncode for name in options.names or TABLES)


if __name__ == "__main__":
    sys.exit(main())
