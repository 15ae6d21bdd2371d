"""docs/security.md names the tests that try each attack: they are there."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent


def test_every_attack_of_the_table_is_tried_by_a_test_that_is_there() -> None:
    """By file and name, at least one a row."""
    text = (TESTS.parent / "docs/security.md").read_text()
    rows = [line for line in text.partition("## The attacks that are tried")[2].splitlines() if line.startswith("| ")]
    assert len(rows) > 25
    for row in rows[1:]:
        named = re.findall(r"`([\w/]+\.py)::(\w+)`", row)
        assert named, row
        for file, name in named:
            assert re.search(rf"^(async )?def {name}\(", (TESTS / file).read_text(), re.MULTILINE), f"{file}::{name}"
