"""The check for leaks names what a module leaves open, and where it was made."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.rows import by_row

pytestmark = pytest.mark.wall
ROOT = Path(__file__).parent.parent

LEAKS = {
    "socket": "import socket\n\nkept = []\n\ndef test_one():\n    kept.append(socket.socket())\n",
    "collected while it was open": "import socket\n\ndef test_one():\n    socket.socket()\n",
    "event loop": "import asyncio\n\nkept = []\n\ndef test_one():\n    kept.append(asyncio.new_event_loop())\n",
    "thread": "import threading, time\n\ndef test_one():\n    threading.Thread(target=time.sleep, args=(4,)).start()\n",
}


@by_row("leak", LEAKS)
def test_a_leak_fails_the_module_that_made_it(leak: str, tmp_path: Path) -> None:
    """The next module, which leaks nothing, passes."""
    (tmp_path / "test_a.py").write_text(LEAKS[leak])
    (tmp_path / "test_b.py").write_text("def test_two():\n    pass\n")
    options = ("-q", "-p", "tests.leaks", "-p", "no:cacheprovider", "--rootdir", str(tmp_path))
    command = [sys.executable, "-m", "pytest", *options, str(tmp_path)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert found.returncode == 1
    assert f"\n{leak}" in found.stdout.partition("test_a.py leaves open:")[2]
    assert "2 passed, 1 error" in found.stdout
