"""What a file of wrong passwords holds, and how much of it."""

from __future__ import annotations

import json
from pathlib import Path

from gateway.identity.guesses import Guesses, LockOut

HOUR = 3_600.0


class Clocks:
    """A clock of the counts, and the clock on the wall."""

    def __init__(self) -> None:
        self.own, self.wall = 100.0, 1_700_000_000.0

    def guesses(self, path: Path) -> Guesses:
        """The counts of the next process, whose clock begins again."""
        self.own = 7.0
        found = Guesses(LockOut(), lambda name: name.startswith("user"))
        found.keep_in(path, lambda: self.own, lambda: self.wall)
        return found

    def turn(self, seconds: float) -> None:
        self.own, self.wall = self.own + seconds, self.wall + seconds


async def test_a_wait_ends_when_it_would_have_without_the_restart(tmp_path: Path) -> None:
    """Whatever the clock of the process begins with; a wall clock that was set back begins the wait again."""
    clocks = Clocks()
    first = clocks.guesses(tmp_path / "guesses")
    for _ in range(10):
        first.failed("192.0.2.1", "user1", clocks.own)
    await first.written()
    clocks.wall += 59.0
    assert clocks.guesses(tmp_path / "guesses").locked("192.0.2.1", None, clocks.own)
    clocks.wall += 1.0
    assert not clocks.guesses(tmp_path / "guesses").locked("192.0.2.1", None, clocks.own)
    clocks.wall -= 24 * HOUR
    again = clocks.guesses(tmp_path / "guesses")
    assert again.locked("192.0.2.1", None, clocks.own)
    clocks.turn(60.0)
    assert not again.locked("192.0.2.1", None, clocks.own)


async def test_the_file_is_bounded_and_holds_no_made_up_name(tmp_path: Path) -> None:
    """The sources with the most wrong passwords stay; of each user the latest sources, without connections."""
    clocks, path = Clocks(), tmp_path / "guesses"
    guesses = clocks.guesses(path)
    for number in range(9_000):
        guesses.failed(f"10.{number >> 8}.{number & 255}.1", f"made-up-{number}", clocks.own)
        guesses.succeeded(f"10.0.0.{number % 50}", "user1", f"tcp:10.0.0.1:{number}/x")
    for _ in range(5):
        guesses.failed("192.0.2.9", "user1", clocks.own)
    guesses.succeeded("192.0.2.10", "user1", "udp:192.0.2.10:5060")
    await guesses.written()
    values = json.loads(path.read_text())
    assert len(values["counts"]) == 2_001
    assert ["", "192.0.2.9", 5] in [row[:3] for row in values["counts"]]
    assert "made-up" not in path.read_text()
    assert len(values["sources"]["user1"]) == 8
    assert values["sources"]["user1"][-2:] == ["udp:192.0.2.10:5060", "192.0.2.10"]
    assert len(path.read_bytes()) < 200_000
