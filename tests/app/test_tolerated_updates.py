"""Later offers in an UPDATE (RFC 3311) with lines that a call does not need, or cannot do without."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.app.tolerated import ENDS, ENGINES, GOES_ON, UNPROTECTED, Call, Line, outcomes

SIDES = pytest.mark.parametrize("by_callee", [False, True], ids=["caller", "callee"])


@pytest.mark.parametrize("engine", ENGINES)
@SIDES
async def test_an_update_with_a_line_that_no_call_needs_is_taken(engine: str, by_callee: bool, tmp_path: Path) -> None:
    """Each side hears the other after the 200."""
    calls = {name: Call(change=edit, by_callee=by_callee, by_update=True) for name, edit in GOES_ON.items()}
    assert await outcomes(engine, tmp_path, calls) == dict.fromkeys(GOES_ON, Line(200, "talks"))


@pytest.mark.parametrize("engine", ENGINES)
@SIDES
async def test_an_update_that_nothing_can_come_of_leaves_the_call(engine: str, by_callee: bool, tmp_path: Path) -> None:
    """The UPDATE gets 488, and each side hears the other as before."""
    edits = ENDS | UNPROTECTED
    calls = {name: Call(change=edit, by_callee=by_callee, by_update=True) for name, edit in edits.items()}
    assert await outcomes(engine, tmp_path, calls) == dict.fromkeys(edits, Line(488, "talks"))
