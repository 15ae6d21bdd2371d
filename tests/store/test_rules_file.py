"""Forwarding rules over a restart."""

from __future__ import annotations

import stat
from pathlib import Path

from gateway.call.rules import NO_RULES, Rules
from gateway.store.rules_file import FileRules
from tests.rows import by_row


async def test_rules_outlive_a_restart(tmp_path: Path) -> None:
    """The latest of several changes in one breath; nobody else may read the file."""
    path = tmp_path / "forwarding.json"
    rules = FileRules(path)
    for number in ("1", "2"):
        rules.put("alice", Rules(always=number, after=7))
    rules.put("bob", Rules(do_not_disturb=True))
    await rules.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = FileRules(path)
    assert again.of("alice") == Rules(always="2", after=7)
    assert again.of("bob") == Rules(do_not_disturb=True)
    again.put("bob", NO_RULES)
    await again.close()
    assert FileRules(path).of("bob") is NO_RULES


@by_row("text", ["", "[]", '{"a": 1}', '{"a": {"unknown": 1}}', "\x00"])
def test_a_file_that_cannot_be_read_counts_as_empty(tmp_path: Path, text: str) -> None:
    """The gateway starts all the same."""
    path = tmp_path / "forwarding.json"
    path.write_text(text)
    assert FileRules(path).of("a") is NO_RULES


async def test_a_folder_that_cannot_be_written_changes_nothing_else(tmp_path: Path) -> None:
    """The rules hold until the end of the process."""
    (tmp_path / "file").touch()
    rules = FileRules(tmp_path / "file" / "forwarding.json")
    rules.put("alice", Rules(always="1"))
    await rules.close()
    assert rules.of("alice").always == "1"
