"""A flood from two addresses (sipp): memory stays, and others set up calls as if nothing were."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.flood import STRANGERS, flooded

pytestmark = [pytest.mark.wall, pytest.mark.serial]


@pytest.mark.nightly
async def test_a_flood_costs_bounded_memory_and_nobody_else_a_second(tmp_path: Path) -> None:
    """1,500 REGISTERs a second and a scanner; calls of another address are set up all the while.

    Six seconds of what `python -m tests.chaos flood` does for a minute.
    """
    flood = await flooded(tmp_path, 6)
    assert flood.sent == 6 * sum(rate for _, rate in STRANGERS.values())
    assert flood.is_right, str(flood)
